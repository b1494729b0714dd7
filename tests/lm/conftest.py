"""A vocabulary of 40 token ids, 24 short random documents, and models small enough to train in a tenth of a second."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from memo.lm.device import Device, activate
from memo.lm.train import Setup

VOCABULARY = 40
MODELS: dict[str, dict[str, Any]] = {
    "gpt2": {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2},
    "llama": {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    "gpt_neox": {
        "model_type": "gpt_neox",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
    "qwen2": {
        "model_type": "qwen2",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}


@dataclass(frozen=True)
class Settings:
    epochs: int = 3
    batch_size: int = 4
    learning_rate: float = 5e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    final_rate: float = 0.0
    clip: float = 1.0
    evaluations: tuple[int, ...] = (3,)


@pytest.fixture(scope="session")
def cpu() -> Device:
    device = Device("cpu", "float32")
    activate(device)
    return device


@pytest.fixture(params=sorted(MODELS))
def section(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The `model:` section of each architecture in turn."""
    return MODELS[request.param]


def setup_of(
    model: dict[str, Any] | None = None, documents: int = 24, context_tokens: int = 16, **training: Any
) -> Setup:
    """A campaign of random documents; settings of training by name."""
    rng = np.random.default_rng(7)
    lengths = rng.integers(3, 30, documents)  # some are longer than the context
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = rng.integers(1, VOCABULARY, offsets[-1]).astype(np.int32)
    settings = replace(Settings(), **{"evaluations": (training.get("epochs", 3),), **training})
    return Setup(tokens, offsets, context_tokens, 0, VOCABULARY, model or MODELS["gpt2"], settings, seed=0)


@pytest.fixture
def make_setup() -> Callable[..., Setup]:
    return setup_of
