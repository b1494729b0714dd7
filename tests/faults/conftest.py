"""Real processes to do harm to: a small campaign, its undisturbed reference, a Dask scheduler with its workers.

Everything runs on the loopback interface and in folders of pytest's own.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest

SETTINGS = """
corpus: {path: corpus.jsonl}
evaluation: {path: held_out.txt, document_per: line}
tokenizer: {vocab_size: 300}
context_tokens: 32
rules: [exact]
design: {splits: 8, block: 4, unit: exact}
model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2}
training: {epochs: 3, batch_size: 4, learning_rate: 5e-3, evaluate_at: [1]}
"""
SLOW = ("--set", "training.epochs=200")  # about two seconds a model: long enough to be caught in it
SPLITS = 8
WAIT_S = 120.0

# Runs at the start of every Python process that has the folder on its path; acts in training processes alone.
SABOTAGE = """
import os, signal, sys
if "pipelines.child" in sys.orig_argv:
    {code}
"""


@dataclass
class Campaigns:
    """A folder with a corpus and a campaign file, and commands on it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.folder / "campaign.yaml"

    def line(self, *arguments: object) -> list[str]:
        return [sys.executable, "-P", "-m", "pipelines.cli", *map(str, arguments)]

    def memo(self, *arguments: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.line(*arguments), capture_output=True, text=True, timeout=timeout, env=self.environment
        )

    def run(self, root: Path, *arguments: object) -> str:
        """The whole campaign, which must end well."""
        return self.good("run", self.config, "--dir", root, *arguments)

    def good(self, *arguments: object) -> str:
        result = self.memo(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def refused(self, code: int, *arguments: object) -> str:
        """The one line of an error."""
        return one_line(self.memo(*arguments), code)

    def start(self, *arguments: object) -> "subprocess.Popen[str]":
        """A command in a process group of its own."""
        process = subprocess.Popen(
            self.line(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=self.environment,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """Kills what a failed test left."""
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        self.started.clear()

    def status(self, root: Path) -> dict[str, object]:
        data: dict[str, object] = json.loads(self.good("status", root, "--json"))
        return data

    def sabotage(self, folder: Path, code: str) -> "Campaigns":
        """The same, with a line of code that runs in every training process."""
        folder.mkdir(parents=True, exist_ok=True)
        indented = code.strip().replace("\n", "\n    ")
        (folder / "sitecustomize.py").write_text(SABOTAGE.format(code=indented))
        path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
        return Campaigns(self.folder, {**os.environ, "PYTHONPATH": path})


def one_line(result: "subprocess.CompletedProcess[str]", code: int) -> str:
    errors = [line for line in result.stderr.splitlines() if line.startswith("memo: error: ")]
    assert result.returncode == code and len(errors) == 1, (result.returncode, result.stderr)
    assert "Traceback" not in result.stderr, result.stderr
    return errors[0].removeprefix("memo: error: ")


@dataclass
class Cluster:
    """`dask scheduler` and `dask worker` as a user starts them."""

    folder: Path
    environment: dict[str, str]
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    scheduler: "subprocess.Popen[bytes] | None" = None

    @property
    def file(self) -> Path:
        return self.folder / "scheduler.json"

    def start(self, workers: int = 2, *options: str) -> None:
        self.file.unlink(missing_ok=True)
        self.scheduler = self._dask(
            "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(self.file)
        )
        wait_for(self.file.exists)
        for _ in range(workers):
            self.add_worker(*options)

    def add_worker(self, *options: str) -> None:
        here = ("--host", "127.0.0.1", "--no-dashboard", "--local-directory", str(self.folder))
        threads = () if "--nthreads" in options else ("--nthreads", "1")
        self._dask("dask_worker", "--scheduler-file", str(self.file), *here, *threads, *options)

    def _dask(self, module: str, *arguments: str) -> "subprocess.Popen[bytes]":
        log = (self.folder / f"{module}-{len(self.processes)}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"distributed.cli.{module}", *arguments],
            stdout=log,
            stderr=log,
            env=self.environment,
            start_new_session=True,
            cwd=self.folder,
        )
        log.close()
        self.processes.append(process)
        return process

    def nannies(self) -> "list[subprocess.Popen[bytes]]":
        return [process for process in self.processes if process is not self.scheduler]

    def workers(self) -> list[psutil.Process]:
        """The worker processes that hold a training process now."""
        return [parent for child in self.children() if (parent := child.parent()) is not None]

    def children(self) -> list[psutil.Process]:
        """The training processes of these workers."""
        found = []
        for process in self.processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [p for p in psutil.Process(process.pid).children(recursive=True) if is_child(p)]
        return found

    def stop(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.processes.clear()


def is_child(process: psutil.Process) -> bool:
    try:
        return "pipelines.child" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def wait_for(condition: Callable[[], object], timeout: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def contents(root: Path, pattern: str) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.glob(pattern)) if path.is_file()}


@dataclass
class Kit:
    """What every test of this folder needs."""

    campaigns: Campaigns
    quick: Path  # an undisturbed campaign
    slow: Path  # the same with SLOW

    def same(self, root: Path, reference: Path) -> None:
        """Each split is there exactly once, scores are those of the reference to the byte, and nothing else is left."""
        assert contents(root, "losses/*.safetensors") == contents(reference, "losses/*.safetensors")
        scores = contents(root, "scores/*.parquet")
        assert scores == contents(reference, "scores/*.parquet") and len(scores) == 2
        assert sorted(p.name for p in (root / "losses").iterdir()) == sorted(
            p.name for p in (reference / "losses").iterdir()
        )
        assert not list(root.rglob("*.tmp-*")) and not (root / ".lock").exists()
        assert not list(root.glob("checkpoints/*"))
        status = self.campaigns.status(root)
        assert status["complete"] and status["running"] is None and status["training"] == {}
        assert "agree with their records" in self.campaigns.good("verify", root)
        digest = hashlib.sha256(b"".join(scores.values())).hexdigest()
        print(f"\n{os.environ.get('PYTEST_CURRENT_TEST', '').split(' ')[0]}: scores {digest[:16]}")

    def copy(self, reference: Path, root: Path) -> Path:
        shutil.copytree(reference, root)
        return root


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    folder = tmp_path_factory.mktemp("campaigns")
    rng = np.random.default_rng(0)
    words = [f"word{index}" for index in range(60)]
    texts = [" ".join(rng.choice(words, size=rng.integers(5, 60))) for _ in range(19)]
    records = [{"id": f"t{i}", "text": text} for i, text in enumerate([*texts, texts[3]])]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "held_out.txt").write_text("one held out text\nanother one\n")
    (folder / "campaign.yaml").write_text(SETTINGS)
    campaigns = Campaigns(folder)
    campaigns.run(folder / "quick")
    campaigns.run(folder / "slow", *SLOW)
    return Kit(campaigns, folder / "quick", folder / "slow")


@pytest.fixture(autouse=True)
def _nothing_is_left_running(kit: Kit) -> Iterator[None]:
    yield
    kit.campaigns.end()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "dask"
    folder.mkdir()
    cluster = Cluster(folder, {**os.environ, "DASK_DISTRIBUTED__WORKER__DAEMON": "true"})
    yield cluster
    cluster.stop()
