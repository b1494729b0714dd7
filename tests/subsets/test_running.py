"""Rules that are not memo's own run in a process of their own, and whatever they do is one line."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from memo.config import RuleSpec
from memo.errors import RuleError
from memo.testing import sample_documents
from subsets import running
from subsets.running import groups_of

RULES = """
import os, signal, subprocess, sys, time
import memo
import pandas as pd

@memo.rule("frogs")
def frogs(documents, word="frog"):
    print("a rule may print")
    labels = documents["text"].str.contains(word).map({True: word})
    labels.attrs["notes"] = {"pid": os.getpid()}
    return labels

def endless(documents):
    while True:
        pass

def deaf(documents):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})  # as native code is that goes on until it is done
    time.sleep(3600)

def swallowing(documents):
    while True:
        try:
            time.sleep(3600)
        except BaseException:
            pass

def crashing(documents):
    os.abort()

def leaving(documents):
    os._exit(7)

def spawning(documents):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    open(os.environ["MEMO_TEST_CHILD"], "w").write(str(child.pid))
    time.sleep(3600)

def unknown(documents):
    return pd.DataFrame({"doc_id": ["nobody"], "group_id": ["x"]})
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(RULES)
    sample_documents().to_parquet(tmp_path / "documents.parquet")
    return tmp_path / "documents.parquet"


def run(corpus: Path, rule: str, **parameters: Any) -> pd.DataFrame:
    if rule.startswith("mine:"):
        rule = f"{corpus.parent / 'mine.py'}:{rule.removeprefix('mine:')}"
    spec = RuleSpec.model_validate({"name": "r", "rule": rule, **parameters})
    return groups_of(spec, sample_documents(), corpus)


def refusal(corpus: Path, rule: str, **parameters: Any) -> str:
    with pytest.raises(RuleError) as error:
        run(corpus, rule, **parameters)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_rule_of_the_users_has_a_process_and_its_groups_and_notes_come_back(
    corpus: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    groups = run(corpus, "mine:frogs", word="lily")
    assert groups["doc_id"].tolist() == ["toy:0", "toy:1", "toy:2"] and set(groups["group_id"]) == {"lily"}
    assert groups.attrs["notes"]["pid"] != os.getpid() and not psutil.pid_exists(groups.attrs["notes"]["pid"])
    assert "a rule may print" in capfd.readouterr().err


def test_memos_own_rules_run_here_and_may_be_limited_as_well(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)  # nothing is started
    assert len(run(corpus, "exact", timeout_s=60)) == 11
    assert set(run(corpus, "substring", contains="frog")["group_id"]) == {"r"}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("mine:endless", "within 1 s, found it still at work at "),
        ("mine:crashing", "rule 'r': expected groups, found that its process ended with signal SIGABRT"),
        ("mine:leaving", "ended with exit code 7"),
        ("mine:unknown", "rule 'unknown': expected ids of documents of the corpus, found 1 unknown"),
        ("mine:absent", "mine.py has no 'absent'; rules in it: frogs"),
    ],
)
def test_whatever_a_rule_does_is_one_line(corpus: Path, rule: str, message: str) -> None:
    assert message in refusal(corpus, rule, timeout_s=1)


@pytest.mark.parametrize("rule", ["mine:deaf", "mine:swallowing"])
def test_a_rule_that_hears_no_alarm_is_killed(corpus: Path, monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    monkeypatch.setattr(running, "_GRACE_S", 1.0)
    message = refusal(corpus, rule, timeout_s=2)
    assert message == (
        "rule 'r': expected groups within 2 s, found none and stopped it; make it faster, or raise its timeout_s"
    )


def test_a_rule_that_is_stopped_takes_what_it_started_along(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = corpus.parent / "child"
    monkeypatch.setenv("MEMO_TEST_CHILD", str(told))
    assert "within 2 s" in refusal(corpus, "mine:spawning", timeout_s=2)
    assert ended(int(told.read_text()))


def test_the_process_of_a_rule_ends_with_the_one_that_asked(corpus: Path) -> None:
    """Killed without a chance to clean up, as by the memory killer."""
    code = (
        "import sys; from subsets.running import groups_of; from memo.config import RuleSpec; import pathlib\n"
        f"spec = RuleSpec(name='r', rule={str(corpus.parent / 'mine.py') + ':spawning'!r})\n"
        f"groups_of(spec, None, pathlib.Path({str(corpus)!r}))"
    )
    told = corpus.parent / "child"
    asking = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "MEMO_TEST_CHILD": str(told)})
    try:
        deadline = time.monotonic() + 60
        while not told.exists() or not told.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (own,) = psutil.Process(asking.pid).children()
    finally:
        asking.kill()
        asking.wait()
    assert ended(own.pid)
    psutil.Process(int(told.read_text())).kill()  # a process of a rule's own is out of reach of one that was killed


def ended(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_a_catastrophic_pattern_is_one_line(corpus: Path) -> None:
    message = refusal(corpus, "substring", regex="(a+)+$(?<!a)", timeout_s=1)
    assert "rule 'r': expected to search all documents within its timeout_s" in message
    assert "document 'toy:10' after 10 of 11" in message
    assert set(run(corpus, "substring", regex="fr.g")["group_id"]) == {"r"}


def test_a_pattern_that_fills_the_memory_is_one_line(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "REGEX_MEMORY_BYTES", 64 << 20)
    message = refusal(corpus, "substring", regex="((a?){50000}){50000}b", timeout_s=60)
    assert "raised MemoryError" in message


def test_an_embedding_of_the_users_has_a_process(corpus: Path) -> None:
    (corpus.parent / "embed.py").write_text("import os\ndef embed(documents):\n    os._exit(9)\n")
    assert "exit code 9" in refusal(corpus, "semantic", embedding=f"{corpus.parent / 'embed.py'}:embed")


def test_what_the_process_answers_is_plain_data(corpus: Path) -> None:
    request = {
        "spec": {"name": "r", "rule": f"{corpus.parent / 'mine.py'}:frogs"},
        "documents": str(corpus),
        "groups": str(corpus.parent / "groups.parquet"),
        "timeout_s": 60,
        "memory_bytes": None,
    }
    command = [sys.executable, "-P", "-m", "subsets.rule_process"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        answer = process.stdout.read()
        process.wait(timeout=30)
    assert set(json.loads(answer)) == {"notes"}
