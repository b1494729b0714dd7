"""Text survives the tokenizer exactly, and no text is taken for a special token."""

import hashlib
import itertools
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from memo.errors import UsageError
from memo.lm.tokens import (
    LONGEST_WORD,
    SPECIAL_TOKEN,
    _cut,
    decode,
    encode,
    load_tokenizer,
    save_tokenizer,
    train_tokenizer,
    vocabulary_size,
    window_start_id,
)

TEXTS = [f"In the beginning was the word {i}, and the word was with the {i % 7}th frog." for i in range(200)]
TRAIN = """
import sys
from pathlib import Path
from memo.lm.tokens import train_tokenizer
texts = [f"In the beginning was the word {i}, and the word was with the {i % 7}th frog." for i in range(200)]
train_tokenizer(texts, 400, Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(TEXTS, 400, folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    return load_tokenizer(folder)


@given(st.text())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_comes_back(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    tokens, offsets = encode(tokenizer, [text])
    assert decode(tokenizer, tokens) == text
    assert tokenizer.decode(tokens) == text
    assert offsets.tolist() == [0, len(tokens)]
    assert window_start_id(tokenizer) not in tokens


@pytest.mark.parametrize("text", [SPECIAL_TOKEN, f"a{SPECIAL_TOKEN}b", " <|endoftext|> \r\n", "e\u0301 \x00 漢 🐸"])
def test_awkward_texts_come_back_as_text(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    tokens, _ = encode(tokenizer, [text])
    assert 0 not in tokens
    assert decode(tokenizer, tokens) == text


def test_special_tokens_of_other_tokenizers_are_text_too(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    other = load_tokenizer(Path(tokenizer.name_or_path))
    other.add_special_tokens({"pad_token": "[PAD]", "eos_token": "</s>"})
    other.model_max_length = 5
    other.save_pretrained(tmp_path)
    reopened = save_tokenizer(tmp_path, tmp_path / "copy")
    before = reopened.backend_tokenizer.encode_special_tokens
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nor does the length limit matter
        tokens, _ = encode(reopened, ["well </s> then [PAD]"])
    assert decode(reopened, tokens) == "well </s> then [PAD]"
    assert tokens.max() < 400
    assert vocabulary_size(reopened) == vocabulary_size(tokenizer) + 2
    assert reopened.backend_tokenizer.encode_special_tokens == before  # the caller's tokenizer is left alone


def test_training_twice_and_elsewhere_gives_the_same_file(folder: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", TRAIN, str(tmp_path)], check=True)
    first, second = ((place / "tokenizer.json").read_bytes() for place in (folder, tmp_path))
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()


def test_every_byte_is_known_and_the_size_is_as_asked(tokenizer: PreTrainedTokenizerFast) -> None:
    assert vocabulary_size(tokenizer) == 400
    assert window_start_id(tokenizer) == tokenizer.bos_token_id == tokenizer.eos_token_id == 0
    assert tokenizer.unk_token is None
    assert isinstance(AutoTokenizer.from_pretrained(tokenizer.name_or_path), PreTrainedTokenizerFast)


def test_offsets_shapes_and_batches(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = [*TEXTS, "", "x"]
    tokens, offsets = encode(tokenizer, iter(texts), batch_texts=7)
    assert tokens.dtype == np.int32
    assert offsets.dtype == np.int64
    assert len(offsets) == len(texts) + 1
    assert offsets[-1] == len(tokens)
    for i in (0, 5, 199, 200, 201):
        assert decode(tokenizer, tokens[offsets[i] : offsets[i + 1]]) == texts[i]
    whole, _ = encode(tokenizer, texts)
    assert np.array_equal(tokens, whole)
    assert [len(part) for part in encode(tokenizer, [])] == [0, 1]


def test_a_hundred_thousand_documents_take_seconds(tokenizer: PreTrainedTokenizerFast) -> None:
    started = time.perf_counter()
    _, offsets = encode(tokenizer, (TEXTS[i % 200] for i in range(100_000)))
    assert len(offsets) == 100_001
    assert time.perf_counter() - started < 30  # about 4 s on an idle core


def test_a_long_word_is_cut_for_training_alone(tmp_path: Path) -> None:
    texts = ["z" * (LONGEST_WORD * 300 + 7), "\u5929\u5730" * 50_000, " " * 30_000 + "x"]
    started = time.process_time()
    tokenizer = train_tokenizer(texts, 400, tmp_path)
    assert time.process_time() - started < 30  # a second; whole, the first text alone takes minutes
    tokens, offsets = encode(tokenizer, texts)
    assert [decode(tokenizer, tokens[a:b]) for a, b in itertools.pairwise(offsets)] == texts


def test_words_of_usual_length_are_left_whole() -> None:
    for text in (*TEXTS, "y" * LONGEST_WORD, f"{'y' * LONGEST_WORD}{' ' * LONGEST_WORD}"):
        assert list(_cut(text)) == [text]
    cut = list(_cut(f"begin {'y' * (2 * LONGEST_WORD + 5)} end"))
    assert "".join(cut) == f"begin {'y' * (2 * LONGEST_WORD + 5)} end" and len(cut) == 3


def test_what_cannot_be_used_is_refused(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 257, found 200"):
        train_tokenizer(TEXTS, 200, tmp_path)
    with pytest.raises(UsageError, match="document 1: expected valid Unicode"):
        encode(tokenizer, ["fine", "broken \ud800"])
    with pytest.raises(UsageError, match="found no folder"):
        load_tokenizer(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="cannot open the tokenizer") as caught:
        load_tokenizer(tmp_path / "empty")
    assert "\n" not in str(caught.value)
    headless = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    headless.bos_token = headless.eos_token = None
    with pytest.raises(UsageError, match="neither a BOS nor an EOS"):
        window_start_id(headless)
