"""Topics from texts, and from any embedding of a user's."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from memo.errors import RuleError
from memo.rules import apply
from memo.testing import check_rule, sample_documents
from subsets.rules.semantic import semantic

TOPICS = {
    "pond": "frog toad newt pond lily water swim leap croak",
    "sky": "star moon comet planet orbit telescope night eclipse galaxy",
    "bread": "flour dough yeast oven bake crust loaf butter wheat",
}


def topical(each: int = 12) -> pd.DataFrame:
    """Documents of six words of one topic each, in turn."""
    random = np.random.default_rng(0)
    names = list(TOPICS) * each
    texts = [" ".join(random.choice(TOPICS[name].split(), 6, replace=False)) for name in names]
    ids = [f"d{index}" for index in range(len(names))]
    return pd.DataFrame({"doc_id": ids, "text": texts, "n_tokens": 6, "topic": names})


def test_documents_about_the_same_are_a_group_named_by_its_words() -> None:
    documents = topical()
    labels = semantic(documents, clusters=3)
    table = pd.crosstab(documents["topic"], labels)
    assert table.shape == (3, 3) and (table > 0).to_numpy().sum() == 3
    for topic, row in table.iterrows():
        assert set(str(row.idxmax()).split()[:3]) <= set(TOPICS[str(topic)].split())
    notes = labels.attrs["notes"]
    assert notes["clusters"] == 3 and [each["documents"] for each in notes["topics"]] == [12, 12, 12]
    assert notes["library"].startswith("scikit-learn ") and len(notes["giants"]) == 3
    check_rule(semantic, documents, {"clusters": 3})


def test_texts_without_a_word_are_in_no_group() -> None:
    documents = pd.DataFrame({"doc_id": list("abc"), "text": ["", "?!", "a b"], "n_tokens": 1})
    assert check_rule(semantic, documents).empty
    labels = semantic(pd.concat([topical(4), documents], ignore_index=True), clusters=3)
    assert labels.isna().sum() == 3 and labels.attrs["notes"]["unlabelled"] == 3
    assert semantic(sample_documents(), clusters=1000).attrs["notes"]["clusters"] <= 11


EMBEDDINGS = """
import numpy as np
SIDES = {"pond": [1, 0], "sky": [0, 1], "bread": [-1, 0]}
def by_topic(documents):
    return [SIDES[topic] for topic in documents["topic"]]
def short(documents): return np.zeros((1, 2))
def flat(documents): return np.zeros(len(documents))
def words(documents): return [["a"]] * len(documents)
def nan(documents): return np.full((len(documents), 2), np.nan)
def raising(documents): return documents["nothing"]
number = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(EMBEDDINGS)
    return path


def test_an_embedding_of_the_users_decides(file: Path) -> None:
    documents = topical()
    groups = check_rule(semantic, documents, {"clusters": 3, "embedding": f"{file}:by_topic"})
    topic = documents.set_index("doc_id")["topic"]
    assert groups.groupby("group_id")["doc_id"].agg(lambda ids: topic[ids].nunique()).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("short", "expected an array of numbers of shape (36, dimensions), a row per document, found float64 (1, 2)"),
        ("flat", "found float64 (36,)"),
        ("words", "found <U1 (36, 1)"),
        ("nan", "expected finite numbers, found NaN or infinity for 36 documents, for instance 'd"),
        ("raising", "raised KeyError"),
        ("number", "expected a function 'number' of the documents, found int"),
        ("absent", "expected a function 'absent' of the documents, found none"),
    ],
)
def test_a_wrong_embedding_is_one_line(file: Path, name: str, message: str) -> None:
    with pytest.raises(RuleError) as error:
        apply(semantic, topical(), {"embedding": f"{file}:{name}"})
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"clusters": 1}, "clusters: expected a whole number from 2, found 1"),
        ({"seed": -1}, "seed: expected a whole number from 0"),
        ({"embedding": 3}, "embedding: expected a name or path/to/file.py:name, found 3"),
        ({"embedding": "tfdif"}, "no embedding is named 'tfdif'; did you mean 'tfidf'? known: tfidf"),
        ({"embedding": "no.py:x"}, "no such file no.py"),
    ],
)
def test_a_wrong_parameter_is_one_line(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(RuleError) as error:
        apply(semantic, sample_documents(), parameters)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)  # what Python takes for a module that cannot be found
    with pytest.raises(RuleError, match=r"pip install 'counterfactual-memo\[semantic\]'"):
        semantic(sample_documents())
