"""Groups from a table: every format, what is missing, what is too much, and when they are stale."""

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from memo.config import RuleSpec
from memo.errors import RuleError
from memo.rules import apply
from memo.testing import check_rule, sample_documents
from subsets.registry import source_of
from subsets.rules.labels import labels

ROWS = [("toy:0", "a"), ("toy:1", "a"), ("toy:2", "b"), ("toy:3", None), ("other", "c")]


def write(path: Path, rows: list[tuple[Any, Any]], names: tuple[str, str] = ("doc_id", "group_id")) -> str:
    frame = pd.DataFrame(rows, columns=list(names), dtype=object)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif ".jsonl" in path.name:
        text = "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    else:
        frame.to_csv(path, sep="\t" if ".tsv" in path.name else ",", index=False)
    return str(path)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.tsv", "t.jsonl", "t.jsonl.gz", "t.csv.gz"])
def test_every_format_gives_the_same_groups(tmp_path: Path, name: str) -> None:
    groups = check_rule(labels, parameters={"path": write(tmp_path / name, ROWS)})
    assert groups.to_numpy().tolist() == [["toy:0", "a"], ["toy:1", "a"], ["toy:2", "b"]]


def test_what_is_missing_on_either_side_is_noted(tmp_path: Path) -> None:
    found = labels(sample_documents(), path=write(tmp_path / "t.csv", ROWS))
    assert found.attrs["notes"] == {
        "rows": 5,
        "labelled": 3,
        "unlabelled": 8,
        "unknown_ids": 1,
        "unknown_examples": ["other"],
    }
    assert json.loads(json.dumps(found.attrs["notes"])) == found.attrs["notes"]


def test_the_columns_are_named_by_parameters(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", [("toy:0", 7), ("toy:1", 7)], ("key", "family"))
    groups = apply(labels, sample_documents(), {"path": path, "id": "key", "group": "family"})
    assert groups["group_id"].tolist() == ["7", "7"]
    with pytest.raises(RuleError, match=r"expected a column 'doc_id', found key, family; set id to one of them"):
        apply(labels, sample_documents(), {"path": path})
    with pytest.raises(RuleError, match=r"expected a column 'group_id', found key, family; set group"):
        apply(labels, sample_documents(), {"path": path, "id": "key"})


def test_two_groups_of_one_document_need_overlap(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [("toy:0", "a"), ("toy:0", "a"), ("toy:0", "b"), ("no", "a"), ("no", "b")])
    with pytest.raises(RuleError, match=r"found 'toy:0' in 'a' and 'b'; correct the table, or set overlap: true"):
        apply(labels, sample_documents(), {"path": path})
    groups = check_rule(labels, parameters={"path": path, "overlap": True})
    assert groups.to_numpy().tolist() == [["toy:0", "a"], ["toy:0", "b"]]


def test_numbers_in_text_stay_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("doc_id,group_id\n007,1.0\n8,NA\n")
    documents = pd.DataFrame({"doc_id": ["007", "8", "7"], "text": "x", "n_tokens": 1})
    assert apply(labels, documents, {"path": str(path)}).to_numpy().tolist() == [["007", "1.0"], ["8", "NA"]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "doc_id,group_id\nx,a\n", "such as 'toy:0', found none of them but 'x'; set id to the column"),
        ("t.csv", "doc_id,group_id\n", "found none of them, the table has no rows"),
        ("t.csv", "", "cannot be read: No columns to parse"),
        ("t.jsonl", "[1]\n", ":1: expected an object, found [1]"),
        ("t.jsonl", "{\n", "cannot be read"),
        ("t.jsonl", '{"doc_id": "toy:0"}\n', ":1: expected a column 'group_id', found doc_id"),
        ("t.parquet", "no", "cannot be read"),
        ("t.csv.gz", "no", "cannot be read"),
        ("t.xlsx", "no", "expected one of .parquet, .csv, .tsv, .jsonl, .ndjson, found .xlsx"),
        (None, "", "expected a file on this machine, found no such file"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str | None, content: str, message: str) -> None:
    path = tmp_path / (name or "missing.csv")
    if name:
        path.write_text(content)
    with pytest.raises(RuleError) as error:
        apply(labels, sample_documents(), {"path": str(path)})
    assert message in str(error.value) and "\n" not in str(error.value)


def test_parameters_of_another_type_are_one_line() -> None:
    for parameters in ({"path": 3}, {"path": "t.csv", "overlap": "yes"}, {}):
        with pytest.raises(RuleError) as error:
            apply(labels, sample_documents(), parameters)
        assert "\n" not in str(error.value)


def test_an_edited_table_makes_the_groups_stale(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    spec = RuleSpec.model_validate({"name": "l", "rule": "labels", "path": write(path, ROWS)})
    before = source_of(spec)
    write(path, ROWS[:-1])
    assert source_of(spec) != before
    path.unlink()
    with pytest.raises(RuleError, match="expected a file, found"):
        source_of(spec)
