"""How large a model of a campaign is, without making one.

parameters(config.model, layout.tokenizer, config.context_tokens)
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from memo.lm.model import SIZES, build_config
from memo.lm.outside import refused
from memo.lm.tokens import load_tokenizer, vocabulary_size, window_start_id


def parameters(model: Mapping[str, Any], tokenizer_folder: Path, context_tokens: int) -> int:
    """Numbers that are trained; those that two layers share count once. Raises `UsageError` for what is no model."""
    tokenizer = load_tokenizer(tokenizer_folder)
    config = build_config(model, vocabulary_size(tokenizer), context_tokens, window_start_id(tokenizer))
    with refused(f"cannot build a {config.model_type} model", SIZES), torch.device("meta"):
        built = AutoModelForCausalLM.from_config(config)
    return sum(parameter.numel() for parameter in built.parameters())
