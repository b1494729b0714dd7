"""Weights opened with nothing but transformers gives the campaign's losses back."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from memo.errors import MemoError
from memo.lm import weights
from memo.lm.device import Device
from memo.lm.tokens import encode, train_tokenizer, vocabulary_size
from memo.lm.train import Setup, new_model, train_split
from memo.lm.weights import save_weights

TEXTS = [f"{i}{i} cafe\u0301 frogs,\n\nDON'T <|endoftext|> {i * 37}" for i in range(12)]


@pytest.fixture(autouse=True)
def quiet() -> Any:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Any:
    return train_tokenizer(TEXTS, 300, tmp_path / "tokenizer")


def trained(section: dict[str, Any], make_setup: Callable[..., Setup], tokenizer: Any, device: Device) -> Any:
    tokens, offsets = encode(tokenizer, TEXTS)
    setup = replace(make_setup(section), tokens=tokens, offsets=offsets, vocab_size=vocabulary_size(tokenizer))
    setup = replace(setup, context_tokens=int(np.diff(offsets).max()))
    return train_split(setup, 0, np.arange(12), device)


def test_losses_come_back(
    section: dict[str, Any], make_setup: Callable[..., Setup], tokenizer: Any, cpu: Device, tmp_path: Path
) -> None:
    result = trained(section, make_setup, tokenizer, cpu)
    folder = tmp_path / "weights" / "split-00003"
    save_weights(result.model, tmp_path / "tokenizer", folder)
    model, opened = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    for i, text in enumerate(TEXTS):
        ids = opened(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        inputs = torch.tensor([[model.config.bos_token_id, *ids]])
        with torch.no_grad():
            logits = model(inputs[:, :-1]).logits[0]
        assert F.cross_entropy(logits, inputs[0, 1:]).item() == pytest.approx(result.loss[-1, i], abs=1e-5)
    assert [path.name for path in folder.parent.iterdir()] == ["split-00003"]  # nothing temporary is left
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors", ".jinja"}


def test_a_tokenizer_that_would_come_back_another_is_refused(
    make_setup: Callable[..., Setup], tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_reopens", lambda tokenizer, folder: False)
    with pytest.raises(MemoError, match="changes when it is opened beside a gpt2 model"):
        save_weights(new_model(make_setup(), 0), tmp_path / "tokenizer", tmp_path / "weights")
