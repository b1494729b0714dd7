"""The notebooks run, on a small campaign, and show what they say: prose and calls, no long function."""

import ast
import os
import re
from pathlib import Path
from typing import Any

import pytest

os.environ["JUPYTER_PLATFORM_DIRS"] = "1"  # without it jupyter warns of a change to come

FOLDER = Path(__file__).parents[2] / "analysis" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.py"))
FIGURES = {"first_look": 6, "own_rule": 0, "passage": 1}
LONGEST_FUNCTION = 5  # lines


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(FIGURES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_prose_and_calls(path: Path) -> None:
    import jupytext

    functions = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef | ast.Lambda)]
    for function in functions:
        assert function.end_lineno is not None and function.end_lineno - function.lineno < LONGEST_FUNCTION
    kinds = [cell["cell_type"] for cell in jupytext.read(path)["cells"]]
    assert kinds[0] == "markdown" and kinds.count("markdown") >= 0.4 * kinds.count("code")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, small_campaign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import jupytext
    from nbclient import NotebookClient

    monkeypatch.setenv("MEMO_CAMPAIGN", str(small_campaign))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("PYTHONWARNINGS", "error::DeprecationWarning:__main__")
    before = {file: file.stat().st_mtime_ns for file in small_campaign.rglob("*")}
    notebook = jupytext.read(path)
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    found = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in found) == FIGURES[path.stem]
    assert not [output["text"] for output in found if output.get("name") == "stderr"]
    assert {file: file.stat().st_mtime_ns for file in small_campaign.rglob("*")} == before
    told = "\n".join(_text(output) for output in found)
    for expected in EXPECTED[path.stem]:
        assert re.search(expected, told, re.DOTALL), expected


def _text(output: Any) -> str:
    data = output.get("data", {})
    return str(output.get("text", "")) + str(data.get("text/html", "")) + str(data.get("text/plain", ""))


EXPECTED = {
    "first_look": ["memo campaign", "phantoms: 16 texts", "memorization of a token", "<del", "planted:"],
    "own_rule": ["the groups depend on the order", "the frog", "n_out"],
    "passage": [r"Models without any of the 4 near-duplicates lose -?\d+\.\d\d nats", "resolvable, nats", "token"],
}
