"""Every command that the README prints is executed, or stands here with the reason why it is not."""

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import yaml

from memo.campaign_file import build
from pipelines.cli import app

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PROGRAMS = ("memo", "make", "pip", "dask", "sbatch", "jupyter")
NEEDS_MORE = "needs a scheduler or SLURM: test_dispatch.py and test_slurm_real.py run it"
INSTALLS = "installs packages: the make commands of continuous integration do"
NO_TEXT = "its text is no part of the project"
NOT_RUN = {
    "make demo": "test_demo.py runs the demo",
    "memo demo": "test_demo.py runs it",
    "make demo PYTHON=python3.12": "the same with another interpreter",
    "make test": "would run this test",
    "make lint": "part of `make test`",
    "make slow": "takes minutes, and runs tests",
    "make benchmark": "takes minutes, and runs tests",
    "pip install .": INSTALLS,
    "pip install 'counterfactual-memo[slurm]'": INSTALLS,
    "pip install 'counterfactual-memo[semantic]'": INSTALLS,
    "pip install 'counterfactual-memo[notebook]'": INSTALLS,
    "dask scheduler --host 127.0.0.1 --scheduler-file scheduler.json": NEEDS_MORE,
    "dask worker --scheduler-file scheduler.json --nthreads 1": NEEDS_MORE,
    "memo run campaign.yaml --dir DIR --scheduler scheduler.json": NEEDS_MORE,
    "memo run ... --slurm": NEEDS_MORE,
    "memo run --no-report": "only the option is meant; test_report_command.py tests it",
    "memo run --until-se 0.1": "only the option is meant; test_plan.py tests the goal",
    **{f"memo {name}": "only the name is meant" for name in ("run", "status", "sample", "scores", "plan", "spectrum")},
    "memo scores DIR --copies": "of a design that copies documents: test_copies.py runs it",
    "memo run leviticus.yaml --dir campaigns/leviticus": NO_TEXT,
    "memo spectrum campaigns/leviticus --doc KJV:03.4.1": NO_TEXT,
    "memo --install-completion": "would change the shell's own files; test_terminal.py asks for the script",
}
NAMES = {"DIR": "campaigns/first", "DOC": "planted:uuid:00", "CONFIG": "campaign.yaml"}


def printed() -> list[str]:
    """Command lines of indented blocks, without what is said about them, and of code in running text."""
    blocks = re.findall(r"^    (\S.*)$", README, re.MULTILINE)
    lines = [part.removeprefix("then ") for line in blocks for part in re.split(r" {2,}", line)]
    text = re.sub(r"^(    .*|```.*)$", "", README, flags=re.MULTILINE)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]
    found = [line for line in (*lines, *spans) if line.split()[0] in PROGRAMS and len(line.split()) > 1]
    return list(dict.fromkeys(one for line in found for one in alternatives(line)))


def alternatives(line: str) -> list[str]:
    """`a|b DIR [--c]` means four calls."""
    words = [[word] if "'" in word else word.split("|") for word in re.sub(r" \[(--\S+)\]", r" \1|", line).split()]
    return [" ".join(word for word in words if word) for words in itertools.product(*words)]


COMMANDS = printed()


def test_commands_are_found() -> None:
    some = ("memo plan campaign.yaml", "memo show campaigns/first DOC", "memo group DIR", "memo verify DIR --repair")
    assert set(some) <= set(COMMANDS) and len(COMMANDS) > 35


def test_what_is_not_run_is_printed() -> None:
    assert set(NOT_RUN) <= set(COMMANDS)


@pytest.fixture(scope="module")
def project(small_campaign: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's names stand for a small campaign."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("first", "demo"):
        shutil.copytree(small_campaign, folder / "campaigns" / name)
    shutil.copy(small_campaign / "campaign.yaml", folder / "campaign.yaml")
    rng = np.random.default_rng(0)
    np.savez(folder / "bank.npz", losses=rng.random((16, 6)), masks=rng.random((16, 6)) < 0.5)
    return folder


@pytest.mark.parametrize("line", [line for line in COMMANDS if line not in NOT_RUN])
def test_a_printed_command_runs(
    line: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    program, *arguments = shlex.split(line)
    assert program == "memo"
    if arguments[:1] == ["init"]:
        Path("campaign.yaml").rename("kept.yaml")
    if arguments[:1] == ["export"]:
        Path("first.npz").unlink(missing_ok=True)
    try:
        app([NAMES.get(word, word) for word in arguments], standalone_mode=False)
    finally:
        if Path("kept.yaml").exists():
            Path("kept.yaml").replace("campaign.yaml")
    assert "Traceback" not in capsys.readouterr().err


def block_after(heading: str, number: int = 0) -> str:
    """An indented block of a section."""
    section = README.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", section, re.MULTILINE)
    return textwrap.dedent(blocks[number])


def test_the_printed_campaign_file_is_one() -> None:
    block = block_after("Your own corpus").split("\n\n", 1)[0]
    config = build(yaml.safe_load(block))
    assert config.design.splits == 64 and config.rules[0].name == "exact"


def test_the_printed_notebook_runs(project: Path) -> None:
    script = "\n".join([block_after("In a notebook"), block_after("In a notebook", 1)])
    script = script.replace('open("campaigns/first")\n', 'open("campaigns/first")\ndoc_id = "planted:uuid:00"\n', 1)
    line = [sys.executable, "-W", "error", "-c", script]
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    result = subprocess.run(line, capture_output=True, text=True, cwd=project, env=environment, timeout=120)
    assert result.returncode == 0, result.stderr
