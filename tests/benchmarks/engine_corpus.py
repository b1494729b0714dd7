"""What the benchmark of the training engine trains on, and its models.

    corpus = build()                     512 docstrings of the standard library, or a synthetic stand-in
    save(corpus, path); load(path)       for the processes that train
    documents = half(corpus, split)      the documents of a split
    section = MODELS["llama"]["1.3M"]    a campaign's `model:` section

All variants read the same tokens. A window is 128 positions in each: for memo BOS and all of 128 targets but the last,
for transformers BOS and 127 targets, since it shifts the labels itself. Either way every token of a document is a
target exactly once, so targets per second compare; the number of windows differs by less than 2 %.
"""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DOCUMENTS = 512
VOCABULARY = 1024
WINDOW = 128
BATCH = 16

# Tokens of a document at 0, 5, ..., 100 %, of the docstrings of CPython 3.11 under their own vocabulary of 1024.
QUANTILES = [76, 97, 104, 111, 117, 124, 132, 142, 149, 161, 169, 184, 203, 220, 248, 279, 314, 374, 477, 680, 1863]


class Corpus(NamedTuple):
    name: str
    tokens: np.ndarray  # (N,) int32
    offsets: np.ndarray  # (D+1,) int64
    vocab_size: int
    bos: int


def build() -> Corpus:
    """Docstrings where memo's readers can be imported, else documents of the same lengths."""
    try:
        from subsets.readers import Document
        from subsets.readers.stdlib import DEFAULT_MIN_CHARS, stdlib_documents
    except ImportError:
        return synthetic(QUANTILES, DOCUMENTS)
    from memo.lm.tokens import encode, train_tokenizer, vocabulary_size, window_start_id

    found = (item.text for item in stdlib_documents() if isinstance(item, Document))
    texts = [text for text in found if len(text) >= DEFAULT_MIN_CHARS]
    chosen = np.sort(np.random.default_rng(0).permutation(len(texts))[:DOCUMENTS])
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = train_tokenizer((texts[index] for index in chosen), VOCABULARY, Path(folder) / "tokenizer")
    tokens, offsets = encode(tokenizer, [texts[index] for index in chosen])
    name = f"{len(chosen)} docstrings of the standard library"
    return Corpus(name, tokens, offsets, vocabulary_size(tokenizer), window_start_id(tokenizer))


def synthetic(quantiles: list[int], documents: int) -> Corpus:
    """Random tokens, frequent ones first, in documents whose lengths follow the quantiles."""
    rng = np.random.default_rng(0)
    places = (np.arange(documents) + 0.5) / documents
    lengths = np.interp(places, np.linspace(0, 1, len(quantiles)), quantiles).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(rng.permutation(lengths))])
    weights = 1 / (np.arange(1, VOCABULARY) + 2.7)
    tokens = rng.choice(np.arange(1, VOCABULARY), size=offsets[-1], p=weights / weights.sum()).astype(np.int32)
    name = f"{documents} synthetic documents of {lengths.min()} to {lengths.max()} random tokens"
    return Corpus(name, tokens, offsets, VOCABULARY, 0)


def save(corpus: Corpus, path: Path) -> None:
    np.savez(path, **corpus._asdict())


def load(path: Path) -> Corpus:
    with np.load(path) as file:
        return Corpus(str(file["name"]), file["tokens"], file["offsets"], int(file["vocab_size"]), int(file["bos"]))


def half(corpus: Corpus, split: int, share: float = 1.0) -> np.ndarray:
    """The documents of a split, or that share of them; another half for each split."""
    count = len(corpus.offsets) - 1
    chosen = np.random.default_rng([1, split]).permutation(count)[: count // 2]
    return np.sort(chosen[: max(1, round(share * len(chosen)))])


def targets(corpus: Corpus, documents: np.ndarray) -> int:
    return int(np.diff(corpus.offsets)[documents].sum())


def positions(corpus: Corpus, documents: np.ndarray) -> list[list[int]]:
    """Windows as a user of transformers cuts them: BOS and at most 127 tokens."""
    windows = []
    for document in documents:
        text = corpus.tokens[corpus.offsets[document] : corpus.offsets[document + 1]].tolist()
        windows += [[corpus.bos, *text[at : at + WINDOW - 1]] for at in range(0, len(text), WINDOW - 1)]
    return windows


def _gpt2(width: int, layers: int, heads: int) -> dict[str, Any]:
    return {"model_type": "gpt2", "n_embd": width, "n_layer": layers, "n_head": heads}


def _neox(width: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "gpt_neox",
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }


def _grouped(model_type: str, width: int, layers: int, heads: int) -> dict[str, Any]:
    """Llama and its like: half as many key and value heads, and three matrices of 8/3 the width in the MLP."""
    return {
        "model_type": model_type,
        "hidden_size": width,
        "intermediate_size": width * 43 // 16,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2,
    }


# Width, layers, heads. The names count GPT-2's parameters; the table shows each model's own.
SIZES = {"0.2M": (64, 2, 4), "1.3M": (128, 6, 4), "5M": (256, 6, 4), "25M": (512, 8, 8)}
MODELS = {
    "gpt2": {size: _gpt2(*shape) for size, shape in SIZES.items()},
    "llama": {size: _grouped("llama", *shape) for size, shape in SIZES.items()},
    "gpt_neox": {size: _neox(*shape) for size, shape in SIZES.items()},
    "qwen2": {size: _grouped("qwen2", *shape) for size, shape in SIZES.items()},
}
