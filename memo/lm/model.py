"""From a campaign's `model:` section to a causal language model in float32.

    section = {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4}
    config = build_config(section, vocab_size, context_tokens, bos)
    model = build_model(config, seeding.key("initialization", split, seed=seed))

or, from a checkpoint, `{"name": "EleutherAI/pythia-14m", "pretrained": true}` with
`weights_from=pretrained_name(section)`; `name` without `pretrained` takes only the architecture. Whatever cannot be
meant is a `UsageError` in one line.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from memo.errors import UsageError
from memo.lm.outside import existing, no_bars, refused
from memo.model_keys import OWN_KEYS, check_model_keys, refuse_unknown

# The same function; the second is one fused kernel where the first is eight passes over memory.
FASTER_EQUIVALENT = {"gelu_new": "gelu_pytorch_tanh"}
SIZES = "the names and sizes under `model` must fit together, such as num_attention_heads and num_key_value_heads"
PROBE_TOKENS = 8
ACTIVATION_KEYS = ("activation_function", "hidden_act", "hidden_activation")


def build_config(model: Mapping[str, Any], vocab_size: int, context_tokens: int, bos: int) -> PreTrainedConfig:
    """The configuration of the models of a campaign, its sizes checked against the tokenizer and the context."""
    config = _open_config(model)
    pretrained = pretrained_name(model) is not None
    given = {config.attribute_map.get(key, key) for key in model if key not in OWN_KEYS}
    with refused(f"model: cannot configure {config.model_type}"):
        _refuse_other_than_causal(config)
        _set_vocabulary(config, vocab_size, fixed=pretrained or "vocab_size" in given)
        _set_positions(config, context_tokens, given, pretrained)
        if not pretrained:
            # No padding token: torch would hold its embedding at zero, and it is a token like any other here.
            config.eos_token_id, config.pad_token_id = bos, None
        config.bos_token_id = bos
        config.use_cache = False
        _set_defaults(config, given)
    return config


def hidden_width(model: Mapping[str, Any], vocab_size: int, context_tokens: int, bos: int) -> int:
    """Of the hidden states of the models of a campaign; 0 where the configuration does not say."""
    return int(getattr(build_config(model, vocab_size, context_tokens, bos), "hidden_size", 0) or 0)


def _set_defaults(config: PreTrainedConfig, given: set[str]) -> None:
    """No dropout, and the faster of two equal activations, unless the user said otherwise."""
    for key, value in list(vars(config).items()):
        if "drop" in key and key not in given and isinstance(value, int | float) and not isinstance(value, bool):
            setattr(config, key, 0.0)
    for key in ACTIVATION_KEYS:
        if key not in given and getattr(config, key, None) in FASTER_EQUIVALENT:
            setattr(config, key, FASTER_EQUIVALENT[getattr(config, key)])


def pretrained_name(model: Mapping[str, Any]) -> str | None:
    """The checkpoint that training starts from; None where it starts from random weights."""
    return str(model["name"]) if model.get("pretrained", False) else None


def build_model(config: PreTrainedConfig, seed_key: int, weights_from: str | None = None) -> PreTrainedModel:
    """A model in float32 on the CPU. Equal keys give equal weights; torch's global random state is left as it was."""
    with (
        torch.random.fork_rng(devices=[]),
        refused(f"cannot build a {config.model_type} model", "" if weights_from else SIZES),
    ):
        torch.manual_seed(seed_key % 2**63)
        model = _load(config, weights_from) if weights_from else _initialize(config)
        _refuse_lookahead(model)
    return model


def _open_config(model: Mapping[str, Any]) -> PreTrainedConfig:
    try:
        check_model_keys(model)
    except ValueError as error:
        raise UsageError(f"model: {error}") from error
    sizes = {key: value for key, value in model.items() if key not in OWN_KEYS}
    if "name" not in model:
        with refused(f"model: cannot configure {model['model_type']}"):
            return AutoConfig.for_model(model["model_type"], **sizes)
    name = existing(model["name"])
    with refused(f"model.name: cannot open {name}", "expected a folder or a name on the hub with a config.json"):
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    keys = frozenset({field.name for field in dataclasses.fields(config)} | set(config.attribute_map))
    for key in sizes:
        try:
            refuse_unknown(key, keys, config.model_type)
        except ValueError as error:
            raise UsageError(f"model: {error}") from error
    if not sizes:
        return config
    with refused(f"model: cannot change the sizes of {name}"):
        return AutoConfig.from_pretrained(name, trust_remote_code=False, **sizes)


def _refuse_other_than_causal(config: PreTrainedConfig) -> None:
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or config.get_text_config() is not config:
        raise UsageError(
            f"model: {config.model_type} is not a text-only causal language model; choose one such as gpt2 or llama"
        )


def _set_vocabulary(config: PreTrainedConfig, vocab_size: int, fixed: bool) -> None:
    if not fixed:
        config.vocab_size = vocab_size
    elif config.vocab_size < vocab_size:
        raise UsageError(
            f"model.vocab_size: expected at least the tokenizer's {vocab_size} entries, found {config.vocab_size}; "
            "leave it out, or use the model's own tokenizer"
        )


def _set_positions(config: PreTrainedConfig, context_tokens: int, given: set[str], pretrained: bool) -> None:
    """A window of BOS and all targets but the last needs exactly `context_tokens` positions."""
    key = config.attribute_map.get("max_position_embeddings", "max_position_embeddings")
    positions = getattr(config, key, None)
    if positions is None:
        return  # no table of positions: recurrent, or ALiBi
    if not pretrained and key not in given:
        setattr(config, key, context_tokens)
    elif positions < context_tokens:
        raise UsageError(
            f"model.{key}: expected at least context_tokens = {context_tokens}, found {positions}; lower context_tokens"
        )


def _initialize(config: PreTrainedConfig) -> PreTrainedModel:
    try:
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa")
    except ValueError as error:
        if "scaled_dot_product_attention" not in str(error):
            raise
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")


def _load(config: PreTrainedConfig, name: str) -> PreTrainedModel:
    """Weights of a checkpoint; missing ones are refused, which transformers would silently draw at random."""
    with no_bars():
        model, info = AutoModelForCausalLM.from_pretrained(
            existing(name), config=config, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
        )
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise UsageError(f"model.name: {name} has no weights for {missing[0]} (and {len(missing) - 1} more)")
    return model


def probe_tokens(model: PreTrainedModel, windows: int) -> torch.Tensor:
    """A few tokens (windows, T) to try a model on, no longer than it has positions."""
    positions = getattr(model.config, "max_position_embeddings", None) or PROBE_TOKENS
    length = max(2, min(PROBE_TOKENS, positions))
    return torch.arange(windows * length).view(windows, length) % model.config.vocab_size


def _refuse_lookahead(model: PreTrainedModel) -> None:
    """A model that sees the token it predicts has no loss to speak of, and some causal-LM classes are two-sided.

    It is also what makes right padding harmless.
    """
    was_training = model.training
    model.eval()
    probe = probe_tokens(model, 1)
    changed = probe.clone()
    changed[0, -1] = (changed[0, -1] + 1) % model.config.vocab_size
    with torch.no_grad():
        before, after = (model(input_ids=ids, use_cache=False).logits for ids in (probe, changed))
    model.train(was_training)
    moved = (before - after).abs().amax(dim=(0, 2))  # by position; only the last one may move, beyond rounding
    if not moved[:-1].max() <= 1e-4 * moved[-1]:
        raise UsageError(
            f"model: {model.config.model_type} attends to later tokens; choose a causal language model such as gpt2"
        )
