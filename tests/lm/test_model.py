"""The model that is trained is the one the campaign file describes, or there is one line that says why not."""

from pathlib import Path
from typing import Any

import pytest
import torch

from memo.errors import UsageError
from memo.lm.model import build_config, build_model, pretrained_name
from memo.lm.readout import Readout

GPT2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2}
BERT = {
    "model_type": "bert",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def config_of(model: dict[str, Any], vocab_size: int = 40, context_tokens: int = 16) -> Any:
    return build_config(model, vocab_size, context_tokens, bos=3)


def test_defaults_follow_the_campaign(section: dict[str, Any]) -> None:
    config = config_of(section)
    assert (config.vocab_size, config.max_position_embeddings) == (40, 16)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (3, 3, None)
    assert not config.use_cache
    assert all(value == 0 for key, value in vars(config).items() if "drop" in key and value is not None)


def test_equal_keys_give_equal_weights_and_leave_the_global_stream(section: dict[str, Any]) -> None:
    config = config_of(section)
    before = torch.random.get_rng_state()
    first, again, other = (build_model(config, key) for key in (2**63 - 1, 2**63 - 1, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    pairs = list(zip(first.parameters(), again.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert any(not torch.equal(a, c) for a, _, c in pairs)
    assert all(a.dtype == torch.float32 for a, _, _ in pairs)


def test_what_the_user_sets_stays() -> None:
    config = config_of({**GPT2, "attn_pdrop": 0.25, "n_positions": 64, "vocab_size": 48, "activation_function": "relu"})
    assert (config.attn_pdrop, config.resid_pdrop) == (0.25, 0)
    assert (config.n_positions, config.vocab_size, config.activation_function) == (64, 48, "relu")
    assert config_of({**GPT2, "hidden_size": 16}).n_embd == 16  # by its common name


def test_the_faster_activation_is_the_same_function() -> None:
    config = config_of(GPT2)
    assert config.activation_function == "gelu_pytorch_tanh"
    fast = build_model(config, 1).eval()
    slow = build_model(config_of({**GPT2, "activation_function": "gelu_new"}), 1).eval()
    tokens = torch.arange(32).view(2, 16)
    assert torch.allclose(fast(tokens).logits, slow(tokens).logits, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({**GPT2, "n_emdb": 64}, "unknown key 'n_emdb' for gpt2; did you mean 'n_embd'?"),
        ({"model_type": "gtp2"}, "did you mean 'gpt2'"),
        ({**GPT2, "n_positions": 8}, "at least context_tokens = 16, found 8"),
        ({**GPT2, "vocab_size": 39}, "at least the tokenizer's 40 entries, found 39"),
        ({**GPT2, "n_embd": "wide"}, "n_embd: expected a whole number of at least 1"),
        ({"model_type": "t5"}, "t5 is not a text-only causal language model"),
        ({"model_type": "gemma3"}, "gemma3 is not a text-only causal language model"),
        ({"name": "./nowhere"}, "found no folder ./nowhere"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(model: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        config_of(model)
    assert "\n" not in str(caught.value)


def test_sizes_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match=r"cannot build a gpt2 model: .*divisible"):
        build_model(config_of({**GPT2, "n_head": 5}), 1)


def test_a_model_that_looks_ahead_is_refused() -> None:
    with pytest.raises(UsageError, match="bert attends to later tokens"):
        build_model(config_of(BERT), 1)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    build_model(config_of(GPT2), 1).save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def test_a_saved_model_is_a_start_or_an_architecture(saved: Path) -> None:
    original = build_model(config_of(GPT2), 1)
    start = {"name": str(saved), "pretrained": True}
    loaded = build_model(config_of(start), 2, pretrained_name(start))
    assert all(torch.equal(a, b) for a, b in zip(original.parameters(), loaded.parameters(), strict=True))

    shape = {"name": str(saved), "n_layer": 1}
    assert pretrained_name(shape) is None
    fresh = build_model(config_of(shape, vocab_size=50, context_tokens=32), 1)
    assert (fresh.config.n_layer, fresh.config.vocab_size, fresh.config.n_positions) == (1, 50, 32)
    assert not torch.equal(fresh.transformer.wpe.weight[:16], original.transformer.wpe.weight)


def test_a_start_that_does_not_fit_is_refused(saved: Path, tmp_path: Path) -> None:
    start = {"name": str(saved), "pretrained": True}
    with pytest.raises(UsageError, match="expected at least the tokenizer's 50 entries, found 40"):
        config_of(start, vocab_size=50)
    with pytest.raises(UsageError, match="at least context_tokens = 32, found 16"):
        config_of(start, context_tokens=32)
    with pytest.raises(UsageError, match="unknown key 'n_layers' for gpt2; did you mean 'n_layer'"):
        config_of({**start, "n_layers": 1})
    deeper = {**start, "n_layer": 3}
    with pytest.raises(UsageError, match=r"has no weights for transformer\.h\.2"):
        build_model(config_of(deeper), 1, pretrained_name(deeper))
    (saved / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"cannot build a gpt2 model: .*safetensors"):
        build_model(config_of(start), 1, pretrained_name(start))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"cannot open .*config\.json"):
        config_of({"name": str(tmp_path / "empty")})


@pytest.mark.parametrize("context_tokens", [2, 7, 9])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_short_contexts_are_no_trouble(architecture: str, context_tokens: int) -> None:
    sizes = {"gpt2": {"n_embd": 8, "n_layer": 1, "n_head": 2}, "llama": {"hidden_size": 8, "intermediate_size": 8}}
    more = {"num_hidden_layers": 1, "num_attention_heads": 2} if architecture == "llama" else {}
    config = build_config({"model_type": architecture, **sizes[architecture], **more}, 20, context_tokens, 0)
    assert Readout(build_model(config, 0)).head is not None
