"""Wrong input: one clear line or a counted rejection, and nothing lost."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import memo

GOOD = [json.dumps({"text": f"document number {index} says something of its own"}) for index in range(12)]


def memo_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-P", "-m", "pipelines.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300)


def ingest(tmp_path: Path, corpus: str, *overrides: str) -> subprocess.CompletedProcess[str]:
    config = tmp_path / "campaign.yaml"
    config.write_text(f"corpus: {corpus}\ntokenizer: {{vocab_size: 300}}\ndesign: {{splits: 4}}\n")
    sets = [part for override in overrides for part in ("--set", override)]
    return memo_command("ingest", config, "--dir", tmp_path / "campaign", *sets)


def error_of(result: subprocess.CompletedProcess[str], code: int = 2) -> str:
    errors = [line for line in result.stderr.splitlines() if line.startswith("memo: error: ")]
    assert result.returncode == code and len(errors) == 1 and "Traceback" not in result.stderr, result.stderr
    return errors[0]


def write(tmp_path: Path, content: str | bytes, name: str = "corpus.jsonl") -> None:
    data = content.encode() if isinstance(content, str) else content
    (tmp_path / name).write_bytes(data)


def test_rejections_are_counted_and_nothing_else_is_lost(tmp_path: Path) -> None:
    lines = [line.encode() for line in GOOD]
    bad = [
        b'{"text": "caf\xe9"}',
        b'{"text": null}',
        b'{"text": 3}',
        b'{"title": "no text"}',
        b'{"text": "  "}',
        b'{"text": "\\ud800"}',
        b"{not json}",
        b"[1, 2]",
        b"",
    ]
    one_token, separator = b'{"text": "x"}', '{"text": "a line\u2028goes on"}'.encode()
    write(tmp_path, b"\n".join([*lines, *bad, one_token, separator]) + b"\n")
    result = ingest(tmp_path, "{path: corpus.jsonl}")
    assert result.returncode == 0, result.stderr
    campaign = memo.open(tmp_path / "campaign")
    documents, rejected = campaign.documents(), campaign.rejected()
    assert len(documents) == 14 and len(rejected) == len(bad)
    assert documents["text"].tolist()[-2:] == ["x", "a line\u2028goes on"]
    assert documents["n_tokens"].tolist()[-2] == 1
    offset = len(b"\n".join(lines)) + 1 + len(b'{"text": "caf')
    invalid = rejected[rejected["reason"] == "invalid UTF-8"].iloc[0]
    assert str(offset) in invalid["detail"] and "corpus.jsonl:13" in invalid["location"]
    status = json.loads(memo_command("status", tmp_path / "campaign", "--json").stdout)["corpus"]
    assert status["kept"] + sum(status["rejected"].values()) == status["read"] == 23


@pytest.mark.parametrize(
    ("corpus", "content", "message"),
    [
        ("{path: none.jsonl}", None, "none.jsonl"),
        ("{path: corpus.jsonl}", "", "at least one document, found none"),
        ("{path: corpus.jsonl}", '{"text": ""}\n', "1 empty"),
        ("{path: corpus.jsonl}", '{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n', "the id 'a' stands twice"),
        ("{path: corpus.jsonl, metadata: [n_tokens]}", '{"text": "x", "n_tokens": 1}\n', "'n_tokens'"),
        ("{hub: {name: /no/such/dataset}}", None, "dataset"),
    ],
)
def test_a_corpus_that_cannot_be_used_is_one_line(
    tmp_path: Path, corpus: str, content: str | None, message: str
) -> None:
    if content is not None:
        write(tmp_path, content)
    assert message in error_of(ingest(tmp_path, corpus))
    assert not list((tmp_path / "campaign").rglob("*.parquet"))


def test_a_truncated_gzip_is_named(tmp_path: Path) -> None:
    whole = gzip.compress("\n".join(GOOD * 50).encode())
    write(tmp_path, whole[: len(whole) // 2], "corpus.jsonl.gz")
    assert "corpus.jsonl.gz" in error_of(ingest(tmp_path, "{path: corpus.jsonl.gz}"))


def test_too_few_documents_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    write(tmp_path, GOOD[0] + "\n")
    assert ingest(tmp_path, "{path: corpus.jsonl}").returncode == 0
    root = tmp_path / "campaign"
    assert memo_command("group", root).returncode == 0
    assert "at least 2 that move apart, found 1 document" in error_of(memo_command("sample", root))


def test_rules_that_are_unknown_or_raise_are_one_line(tmp_path: Path) -> None:
    write(tmp_path, "\n".join(GOOD))
    (tmp_path / "mine.py").write_text("def broken(documents):\n    return documents['nothing']\n")
    assert "known: exact" in error_of(ingest(tmp_path, "{path: corpus.jsonl}", "rules=[exakt]"))
    assert not (tmp_path / "campaign").exists()
    path = tmp_path / "mine.py"
    assert ingest(tmp_path, "{path: corpus.jsonl}", f"rules=['{path}:broken']").returncode == 0
    message = error_of(memo_command("group", tmp_path / "campaign"))
    assert "rule 'broken' raised KeyError" in message and "mine.py:2" in message


def test_a_full_disk_is_one_line_and_the_run_goes_on_later(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        write(tmp_path, "\n".join(json.dumps({"text": os.urandom(2000).hex()}) for _ in range(40)))
        (tmp_path / "campaign.yaml").write_text("corpus: {path: corpus.jsonl}\ndesign: {splits: 4}\n")
        line = ["ingest", tmp_path / "campaign.yaml", "--dir", mount / "campaign"]
        assert "disk is full" in error_of(memo_command(*line), code=1)
        subprocess.run(["mount", "-o", "remount,size=64m", str(mount)], check=True)
        assert memo_command(*line).returncode == 0
        assert len(memo.open(mount / "campaign").documents()) == 40
    finally:
        subprocess.run(["umount", str(mount)], check=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "none.yaml", "--dir", "x"], "none.yaml"),
        (["status", "/no/such/place"], "campaign directory"),
        (["scores", "/no/such/place"], "campaign directory"),
        (["train", "/no/such/place"], "campaign directory"),
        (["frobnicate"], "frobnicate"),
        (["run"], "CONFIG"),
    ],
)
def test_a_wrong_call_is_one_line(arguments: list[str], message: str) -> None:
    assert message in error_of(memo_command(*arguments))


def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    write(tmp_path, GOOD[0], "corpus.jsonl")
    write(tmp_path, "x", "campaign")
    assert "found a file" in error_of(ingest(tmp_path, "{path: corpus.jsonl}"))
