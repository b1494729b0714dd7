"""SLURM for real, on this machine (see conftest.py): jobs that work, die, are refused; a killed coordinator; arrays."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from memo.cluster_settings import Slurm
from memo.errors import MemoError, UsageError
from pipelines import slurm_jobs
from pipelines.progress import Reporter
from pipelines.slurm import slurm_client
from pipelines.template import write_array_script

pytestmark = [pytest.mark.slow, pytest.mark.faults]

SETTINGS = Slurm(interface="lo", jobs=2, memory="500M", walltime="10")
CAMPAIGN = """
corpus: {path: corpus.txt, document_per: line}
tokenizer: {vocab_size: 300}
context_tokens: 32
design: {splits: 4, block: 4}
model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2}
training: {epochs: 2, batch_size: 4}
"""
# Starts two jobs, says so, and waits.
COORDINATOR = """
import os, signal, sys, time
from pathlib import Path
from pipelines.progress import Reporter
from pipelines.slurm import slurm_client
from memo.cluster_settings import Slurm

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
with slurm_client(Slurm(interface="lo", jobs=2, memory="500M"), Path("logs"), 2, Reporter()) as client:
    client.wait_for_workers(2)
    print("ready", flush=True)
    time.sleep(600)
"""


class Machine(Protocol):
    def jobs(self) -> list[str]: ...


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_jobs, "CHECK_S", 0.5)


def wait_until(happened: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"did not happen in {seconds} s"
        time.sleep(0.2)


def test_workers_are_jobs(slurm: Machine, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "it's a 100% folder"
    settings = Slurm(interface="lo", jobs=4, memory="500M", gpus=1)  # of which this machine has one
    with slurm_client(settings, folder, tasks=2, reporter=Reporter()) as client:
        futures = [client.submit(os.getenv, "SLURM_JOB_ID", pure=False, resources={"GPU": 1}) for _ in range(5)]
        answers = {future.result(timeout=60) for future in futures}
        assert len(slurm.jobs()) == 2  # no more than tasks, one of which waits for the GPU
        (job,) = answers
        assert job in slurm.jobs()
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        assert {(worker["nthreads"], worker["memory_limit"]) for worker in workers} == {(1, 0)}
        assert all(address.startswith("tls://127.0.0.1:") for address in client.scheduler_info()["workers"])
    wait_until(lambda: not slurm.jobs(), 30)
    assert {path.name for path in folder.iterdir()} == {f"slurm-{job}.log"}
    assert re.search(r"^slurm: jobs: 1 pending \(\w+\), 1 running; . workers connected$", capfd.readouterr().err, re.M)


def test_a_job_that_is_cancelled_is_replaced(slurm: Machine, tmp_path: Path) -> None:
    with slurm_client(SETTINGS, tmp_path, tasks=2, reporter=Reporter(quiet=True)) as client:
        client.wait_for_workers(2, timeout=60)
        before = set(slurm.jobs())
        lost = client.submit(os.getenv, "SLURM_JOB_ID", pure=False).result(timeout=60)
        subprocess.run(["scancel", lost], check=True)
        wait_until(lambda: lost not in slurm.jobs() and len(slurm.jobs()) == 2, 30)
        client.wait_for_workers(2, timeout=60)
        assert len(set(slurm.jobs()) & before) == 1
    wait_until(lambda: not slurm.jobs(), 30)


def test_a_worker_without_work_is_released(slurm: Machine, tmp_path: Path) -> None:
    with slurm_client(SETTINGS, tmp_path, tasks=2, reporter=Reporter(quiet=True)) as client:
        client.wait_for_workers(2, timeout=60)
        busy = client.submit(time.sleep, 15, pure=False)
        wait_until(lambda: len(slurm.jobs()) == 1, 14)
        busy.result(timeout=60)
    wait_until(lambda: not slurm.jobs(), 30)


def test_what_slurm_refuses(slurm: Machine, tmp_path: Path) -> None:
    for change, said in (
        ({"queue": "nope"}, "invalid partition specified: nope"),
        ({"memory": "1T"}, "Memory required by task is not available|Requested node configuration is not available"),
        ({"directives": ("--no-such-option",)}, "unrecognized option"),
    ):
        settings = SETTINGS.model_copy(update=change)
        with (
            pytest.raises(UsageError, match=f"sbatch refused the job: .*({said})"),
            slurm_client(settings, tmp_path, tasks=2, reporter=Reporter(quiet=True)),
        ):
            pytest.fail("the block must not begin")
    assert not slurm.jobs()


def test_a_prologue_that_fails_ends_the_campaign(slurm: Machine, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"prologue": ("echo module: no such module >&2; exit 3",)})
    with (
        pytest.raises(MemoError, match=r"SLURM jobs in a row ended .*: module: no such module \(log: .*\.log\)$"),
        slurm_client(settings, tmp_path, tasks=2, reporter=Reporter(quiet=True)) as client,
    ):
        client.submit(os.getpid).result(timeout=60)
    wait_until(lambda: not slurm.jobs(), 30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_coordinator_leaves_no_jobs(number: signal.Signals, slurm: Machine, tmp_path: Path) -> None:
    line = [sys.executable, "-c", COORDINATOR]
    with subprocess.Popen(
        line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as coordinator:
        assert coordinator.stdout is not None
        try:
            assert coordinator.stdout.readline() == "ready\n"
            coordinator.send_signal(number)
            # Seconds; minutes where SLURM's daemons are short of a core, for scancel waits for them.
            assert coordinator.wait(timeout=120) == (143 if number == signal.SIGTERM else -number)
        finally:
            coordinator.kill()
    # Nobody cancels the jobs of a process that was killed: their workers lose the scheduler and end.
    wait_until(lambda: not slurm.jobs(), 180)
    left = list((tmp_path / "logs").glob("credentials*"))
    assert bool(left) == (number == signal.SIGKILL)  # then it is the next run that clears them


def test_a_preempted_array_task_goes_on(slurm: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a `memo` that notes its arguments, and hangs in its first run of the second task."""
    name = "it's 100% mine"
    (tmp_path / "bin").mkdir()
    memo = tmp_path / "bin/memo"
    memo.write_text(
        '#!/bin/bash\necho "$*"\n[[ $* == *4-7 && -z ${SLURM_RESTART_COUNT:-} ]] && exec sleep 600\nexit 0\n'
    )
    memo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{memo.parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / f"{name}.yaml").write_text("corpus: {path: data.jsonl}\ndesign: {splits: 10, block: 2}\n")
    monkeypatch.chdir(tmp_path)
    write_array_script(Path(f"{name}.yaml"), Path("array.sbatch"), per_task=4)
    logs = Path("campaigns") / name / "logs"
    logs.mkdir(parents=True)
    line = ["sbatch", "--parsable", "--cpus-per-task=1", "--mem=100M", "array.sbatch"]
    array = subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()

    def log(task: int) -> str:
        path = logs / f"slurm-{array}_{task}.log"
        return path.read_text() if path.exists() else ""

    wait_until(lambda: all(log(task) for task in range(3)), 30)
    subprocess.run(["scontrol", "requeue", f"{array}_1"], check=True)
    wait_until(lambda: "REQUEUE" in log(1), 30)
    # SLURM waits two minutes before it starts a requeued job.
    again = ["scontrol", "update", f"JobId={array}_1", "StartTime=now"]
    wait_until(lambda: subprocess.run(again, capture_output=True).returncode == 0, 30)
    wait_until(lambda: log(1).count("train") == 2, 180)
    wait_until(lambda: not slurm.jobs(), 180)
    calls = [[line for line in log(task).splitlines() if line.startswith("train")] for task in range(3)]
    assert calls == [
        [f"train campaigns/{name} --splits {part}"] * n for part, n in (("0-3", 1), ("4-7", 2), ("8-9", 1))
    ]


def test_a_campaign_as_an_array(slurm: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the script's comments say, with the real memo."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    Path("corpus.txt").write_text("".join(f"the text of line {n} is about the number {n * n}\n" for n in range(12)))
    Path("first.yaml").write_text(CAMPAIGN)
    write_array_script(Path("first.yaml"), Path("first.sbatch"), per_task=2)
    text = Path("first.sbatch").read_text()
    for resource, smaller in (("--cpus-per-task=4", "--cpus-per-task=1"), ("--mem=8G", "--mem=1G")):
        text = text.replace(resource, smaller)
    Path("first.sbatch").write_text(text)
    lines = [line.removeprefix("#     ") for line in text.splitlines() if line.startswith("#     ")]
    lines[-1] = lines[-1].replace("sbatch ", "sbatch --wait --output=aggregate.log ")
    done = subprocess.run(["bash", "-euc", "\n".join(lines)], capture_output=True, text=True, timeout=300)
    logs = {path.name: path.read_text() for path in [*tmp_path.glob("*.log"), *tmp_path.rglob("slurm-*.log")]}
    assert done.returncode == 0, (done.stderr, logs)
    assert len([name for name in logs if name.startswith("slurm-")]) == 2, logs
    status = subprocess.run(["memo", "status", "campaigns/first"], capture_output=True, text=True, check=True)
    assert "first: complete" in status.stdout, (status.stdout, logs)
