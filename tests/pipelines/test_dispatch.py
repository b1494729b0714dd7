"""Workers are asked which memo they have before they are trusted with a split."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import memo
from memo.errors import UsageError
from memo.version import full_version
from pipelines.dispatch import Dispatcher, installed


class Client:
    """As much of Dask's as is asked: what each worker and the scheduler answer."""

    def __init__(self, answers: dict[str, Any], scheduler: Any = None) -> None:
        self.answers, self.scheduler = answers, scheduler
        self.asked: list[str] = []

    def run(self, function: Callable[[], str], workers: list[str], on_error: str) -> dict[str, Any]:
        self.asked += workers
        return {name: self.answers[name] for name in workers}

    def run_on_scheduler(self, function: Callable[[], str]) -> Any:
        return self.scheduler or function()


def meet(client: Client, *names: str) -> None:
    nobody: Any = None
    Dispatcher(client, nobody, nobody, nobody)._meet(set(names))  # type: ignore[arg-type]


def test_the_same_memo_is_trusted_and_asked_once() -> None:
    client = Client({"a": full_version(), "b": full_version()})
    nobody: Any = None
    dispatcher = Dispatcher(client, nobody, nobody, nobody)  # type: ignore[arg-type]
    dispatcher._meet({"a"})
    dispatcher._meet({"a", "b"})
    assert client.asked == ["a", "b"]


@pytest.mark.parametrize("answer", [memo.__version__, f"{memo.__version__}+0123456789ab", "none", OSError("gone")])
def test_another_memo_is_refused(answer: Any) -> None:
    with pytest.raises(UsageError, match=r"^b: expected memo .*, found .*; install the same memo there"):
        meet(Client({"a": full_version(), "b": answer}), "a", "b")
    with pytest.raises(UsageError, match=r"^the scheduler: expected memo"):
        meet(Client({"a": full_version()}, str(answer)), "a")


def test_the_version_is_that_of_the_source(tmp_path: Path) -> None:
    assert installed()() == full_version()
    root = Path(memo.__file__).parent.parent
    for name in ("memo", "subsets", "pipelines"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    ask = [sys.executable, "-c", "from memo.version import full_version; print(full_version())"]
    answers = []
    for line in ("", "\n# another line\n"):
        with (tmp_path / "pipelines" / "train.py").open("a") as file:
            file.write(line)
        found = subprocess.run(ask, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
        answers.append(found.stdout.strip())
    assert answers[0] == full_version() and answers[1] != answers[0]
    assert answers[1].startswith(f"{memo.__version__}+")
