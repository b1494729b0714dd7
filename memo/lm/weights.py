"""Weights that `AutoModelForCausalLM` and `AutoTokenizer` open, in safetensors.

    save_weights(model, tokenizer_folder, folder)

A window opens with the configuration's `bos_token_id`; put it before a text and the losses of the campaign come back.
"""

import json
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from memo.errors import MemoError
from memo.lm.outside import no_bars, refused
from memo.lm.tokens import load_tokenizer

TOKENIZER_PARTS = ("model", "normalizer", "pre_tokenizer", "decoder")


def save_weights(model: PreTrainedModel, tokenizer_folder: Path, folder: Path) -> None:
    """Writes model and tokenizer into `folder`, which is made. `memo.store.publishing` makes it appear whole."""
    folder.mkdir(parents=True)
    with no_bars():
        model.save_pretrained(folder)
    _save_tokenizer(tokenizer_folder, folder)


def _save_tokenizer(source: Path, folder: Path) -> None:
    """Copies the tokenizer and makes sure that it comes back the same from a folder with this model.

    For some model types (qwen2 and its successors in transformers 5) `AutoTokenizer` goes by the model's type, not by
    the tokenizer's own class, and rebuilds it with another normalizer: the same text gets other tokens, silently. It
    does not where the tokenizer has an `auto_map`; this one is empty, so there is no code that could be loaded.
    """
    tokenizer = load_tokenizer(source)
    tokenizer.save_pretrained(folder)
    if _reopens(tokenizer, folder):
        return
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["auto_map"] = {"AutoTokenizer": [None, None]}
    path.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    if not _reopens(tokenizer, folder):
        raise MemoError(
            f"the tokenizer in {source} changes when it is opened beside a {_model_type(folder)} model; "
            "train without training.keep_weights, or choose another model_type"
        )


def _reopens(tokenizer: PreTrainedTokenizerFast, folder: Path) -> bool:
    with refused(f"cannot open the tokenizer beside a {_model_type(folder)} model"):
        return _parts(AutoTokenizer.from_pretrained(folder, trust_remote_code=False)) == _parts(tokenizer)


def _parts(tokenizer: PreTrainedTokenizerFast) -> list[object]:
    """What decides which tokens a text gets."""
    written = json.loads(tokenizer.backend_tokenizer.to_str())
    return [written.get(part) for part in TOKENIZER_PARTS]


def _model_type(folder: Path) -> str:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
