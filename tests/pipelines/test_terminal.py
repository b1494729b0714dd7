"""The terminal: tables that fit it, colour where it is wanted, no control character, help with examples, completion,
JSON whose keys stay."""

import csv
import io
import json
import os
import pty
import re
import shlex
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from memo.document import FIELDS
from memo.spectrum import COLUMNS as SPECTRUM_COLUMNS
from memo.tables import COLUMNS
from memo.text import columns_of
from pipelines.cli import app
from pipelines.completion import rule_names
from pipelines.terminal import fitting, print_table

from ..conftest import HOSTILE, memo_command

WIDTHS = (40, 60, 80, 120, 200)
COMMANDS: dict[str, click.Command] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
TABLES = (
    ("scores",),
    ("scores", "--rule", "hostile", "--top", "40"),
    ("scores", "--rule", "near", "--siblings"),
    ("spectrum",),
    ("status",),
)


def printed(*arguments: object, columns: int = 120, code: int = 0, **settings: str) -> str:
    environment = {**os.environ, "COLUMNS": str(columns), **settings}
    result = memo_command(*arguments, env=environment)
    assert result.returncode == code, result.stderr
    assert result.stderr.replace("\n", "").isprintable()
    return result.stdout


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The same in this process, which starts faster."""

    def call(*arguments: object, columns: int = 120) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        app([str(argument) for argument in arguments], standalone_mode=False)
        return capsys.readouterr().out

    return call


def hostile_ids(root: Path) -> list[str]:
    import memo

    return [i for i in memo.open(root).doc_ids if any(i.startswith(text[:60]) for text in HOSTILE.values())]


def unseen(text: str) -> set[str]:
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")} - {"\n"}


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("arguments", TABLES, ids=" ".join)
def test_tables_fit_the_terminal(
    arguments: tuple[str, ...], columns: int, small_campaign: Path, here: Callable[..., str]
) -> None:
    command, *options = arguments
    out = here(command, small_campaign, *options, columns=columns)
    assert not unseen(out)
    table = [line for line in out.splitlines() if line.startswith("  ")]
    assert len(table) > 3 or command == "status"
    if command != "status":
        assert max(columns_of(line.rstrip()) for line in table) <= columns


def test_hostile_documents_are_shown_without_a_control_character(
    small_campaign: Path, here: Callable[..., str]
) -> None:
    found = hostile_ids(small_campaign)
    assert any("\x00" in doc_id for doc_id in found)
    for doc_id in found:
        out = here("show", small_campaign, doc_id, columns=60)
        assert not unseen(out)
        table = [line.rstrip() for line in out.splitlines() if line.startswith("  ") and "\u2026" in line]
        assert all(columns_of(line) <= 60 for line in table)
    assert not unseen(here("spectrum", small_campaign, "--doc", found[0]))


def test_spreadsheets_get_no_formula_and_no_escape(small_campaign: Path, here: Callable[..., str]) -> None:
    for arguments in (("scores", "--rule", "hostile"), ("spectrum",)):
        out = here(arguments[0], small_campaign, *arguments[1:], "--csv")
        assert not unseen(out) - {"\t", "\u200d"}
        rows = list(csv.reader(io.StringIO(out)))
        cells = [cell for row in rows for cell in row]
        assert any(cell.startswith("'=HYPERLINK") for cell in cells)
        numbers = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")
        assert not [c for c in cells if c.lstrip().startswith(("=", "+", "-", "@")) and not numbers.fullmatch(c)]


def test_a_table_gives_up_text_before_numbers_and_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    columns, rows = ("name", "score", "n", "text"), [("a" * 30, "1.00 [0.50, 1.50]", "24/24", "\u5929" * 40)]
    monkeypatch.setenv("COLUMNS", "60")
    print_table("A table", columns, rows)
    lines = capsys.readouterr().out.splitlines()
    assert "1.00 [0.50, 1.50]   24/24" in lines[-2] and columns_of(lines[-2].rstrip()) <= 60 and "\u2026" in lines[-2]
    monkeypatch.setenv("COLUMNS", "40")
    print_table("A table", columns, rows)
    assert "not shown at this width: n, text" in capsys.readouterr().out
    assert fitting(columns, rows, 10) == [8]
    print_table("A table", columns, [])
    assert capsys.readouterr().out.strip() == "A table: none"


def on_a_terminal(*arguments: object, **settings: str) -> bytes:
    """What the command prints where stdout is a terminal."""
    reader, writer = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **settings}
    line = [sys.executable, "-P", "-m", "pipelines.cli", *map(str, arguments)]
    process = subprocess.Popen(line, stdout=writer, stderr=subprocess.DEVNULL, env=environment)
    os.close(writer)
    found = b""
    while True:
        try:
            found += (part := os.read(reader, 65536))
        except OSError:  # the other end is closed
            break
        if not part:
            break
    os.close(reader)
    assert process.wait(timeout=60) == 0
    return found


def test_colour_is_for_terminals_that_want_it(small_campaign: Path) -> None:
    line = ("show", small_campaign, "planted:repeated:00")
    coloured = on_a_terminal(*line, NO_COLOR="")
    assert b"\x1b[30;48" in coloured and b"coloured from" in coloured
    for settings in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = on_a_terminal(*line, **{"NO_COLOR": "", **settings})
        assert b"\x1b" not in plain and b"coloured from" not in plain
        assert b"most memorized of" in plain
    assert "\x1b" not in printed(*line)


def test_a_terminal_without_unicode_gets_escapes(small_campaign: Path) -> None:
    out = printed("scores", small_campaign, "--top", 40, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert out.isascii()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_parses(name: str) -> None:
    command = COMMANDS[name]
    examples = re.findall(r"Example: (memo .*)", command.help or "")
    assert examples, f"memo {name} has no example in its help"
    for example in examples:
        program, first, *arguments = shlex.split(example)
        assert (program, first) == ("memo", name)
        command.make_context(name, arguments)  # raises where an option is unknown or an argument is missing


def test_every_command_that_prints_results_has_json() -> None:
    without = {n for n, c in COMMANDS.items() if not any("--json" in p.opts for p in c.params)}
    # These print nothing but progress, or the name of the file that they wrote.
    assert without <= {"init", "ingest", "sample", "train", "aggregate", "report"}


def test_completion_is_offered(small_campaign: Path) -> None:
    assert "--show-completion" in printed("--help") and "--install-completion" in printed("--help")
    script = as_memo("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "_MEMO_COMPLETE=complete_bash" in script
    for words, expected in (
        ("memo sco", ["scores"]),
        (f"memo scores {shlex.quote(str(small_campaign))} --rule ", ["document", "exact", "near", "hostile"]),
        (f"memo scores {shlex.quote(str(small_campaign))} --rule ne", ["near"]),
        ("memo scores nowhere --rule ", []),
    ):
        offered = completed(words)
        assert [name for name in offered if name] == expected


def completed(words: str) -> list[str]:
    """As bash asks."""
    number = len(shlex.split(words)) - (0 if words.endswith(" ") else 1)
    return as_memo(_MEMO_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(number)).splitlines()


def as_memo(*arguments: str, **settings: str) -> str:
    """With the name that the installed command has."""
    script = f"import sys; sys.argv = {['memo', *arguments]}; from pipelines.cli import main; main()"
    line = [sys.executable, "-P", "-c", script]
    return subprocess.run(line, capture_output=True, text=True, env={**os.environ, **settings}, timeout=60).stdout


def test_rule_names_come_from_the_campaign_file_alone(tmp_path: Path) -> None:
    (tmp_path / "campaign.yaml").write_text("rules: [exact, {name: near, rule: near_duplicate}]")
    context = typer.Context(click.Command("scores"))
    context.params["directory"] = tmp_path
    assert rule_names(context, "") == ["document", "exact", "near"] and rule_names(context, "e") == ["exact"]
    for broken in ("rules: 3", "[", "- x", "rules: [{rule: x}]", ""):
        (tmp_path / "campaign.yaml").write_text(broken)
        assert rule_names(context, "x") == []


def test_errors_name_the_next_step(small_campaign: Path, tmp_path: Path) -> None:
    for arguments, step in (
        (("scores", tmp_path), "memo run"),
        (("scores", small_campaign, "--rule", "frogs"), "known: document, exact, near, hostile"),
        (("show", small_campaign, "planted:uid:00"), "did you mean 'planted:uuid:00'"),
        (("show", small_campaign, "zzzz"), "campaign.documents()"),
        (("spectrum", small_campaign, "--json", "--csv"), "expected --json or --csv"),
        (("scores", small_campaign, "--siblings"), "--rule near"),
    ):
        result = memo_command(*arguments)
        assert result.returncode == 2 and result.stdout == ""
        assert result.stderr.startswith("memo: error: ") and step in result.stderr and result.stderr.count("\n") == 1
        assert result.stderr.replace("\n", "").isprintable()


SCORE = set(COLUMNS)
KEYS: dict[tuple[str, ...], set[str]] = {
    ("scores",): SCORE,
    ("scores", "--rule", "near", "--siblings"): {
        "siblings", "memorization", "se", "ci_low", "ci_high", "groups", "documents", "losses_in", "losses_out",
    },
    ("show", "planted:uuid:00"): set(FIELDS),
    ("spectrum",): {"margin", "verdicts", "controls", "rules", "entries"},
    ("status",): {
        "campaign", "running", "stages", "complete", "failed", "diverged", "training", "interrupted", "speed", "corpus",
        "design", "diagnostics",
    },
    ("status", "--missing"): {"missing", "coins"},
    ("verify",): {"checked", "bytes", "findings"},
}  # fmt: skip


@pytest.mark.parametrize("arguments", KEYS, ids=" ".join)
def test_the_keys_of_json_stay(arguments: tuple[str, ...], small_campaign: Path, here: Callable[..., str]) -> None:
    command, *rest = arguments
    out = here(command, small_campaign, *rest, "--json")
    assert out.isascii() and not unseen(out)
    data: Any = json.loads(out)
    found = [set(row) for row in data] if isinstance(data, list) else [set(data)]
    assert found and all(keys >= KEYS[arguments] for keys in found)
    if command == "spectrum":
        assert set(data["entries"][0]) >= set(SPECTRUM_COLUMNS)


def test_a_document_as_json_has_its_members(small_campaign: Path, here: Callable[..., str]) -> None:
    data = json.loads(here("show", small_campaign, "planted:family:0:1", "--json"))
    assert {frozenset(member) for member in data["members"]["near"]} == {
        frozenset({"doc_id", "text", "differences", "complete"})
    }


def test_the_keys_of_the_json_of_what_makes_files(
    small_campaign: Path, tmp_path: Path, here: Callable[..., str]
) -> None:
    out = tmp_path / "bank.npz"
    exported = json.loads(here("export", small_campaign, "--format", "npz", "--out", out, "--json"))
    assert exported == {"path": str(out), "models": 48, "bytes": out.stat().st_size}
    imported = json.loads(here("import", "--losses", out, "--dir", tmp_path / "bank", "--json"))
    assert imported == {"models": 48, "already_imported": False, "scored": True}
    run = json.loads(printed("run", small_campaign.parent / "campaign.yaml", "--dir", small_campaign, "--json"))
    assert {"models", "of", "already_complete", "diagnostics"} <= set(run) and run["already_complete"]
    plan = json.loads(here("plan", small_campaign.parent / "campaign.yaml", "--dir", small_campaign, "--json"))
    assert {"documents", "tokens", "splits", "rungs", "disk_bytes", "pilot", "time"} <= set(plan)
    assert {"python", "platform", "devices", "shadowed"} <= set(json.loads(here("doctor", "--json")))
