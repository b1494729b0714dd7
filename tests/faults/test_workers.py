"""A real scheduler and real workers, killed while a campaign trains on them."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.faults, pytest.mark.slow]
SLOW = ("--set", "training.epochs=200")


def wait_for(condition: Any, timeout: float = 120.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_idle(process: psutil.Process) -> bool:
    try:
        return process.cpu_percent(0.3) < 5
    except psutil.NoSuchProcess:
        return True


def in_training(root: Path) -> bool:
    return any(b'"event": "step"' in log.read_bytes() for log in root.glob("logs/*.jsonl"))


def started(kit: Any, cluster: Any, root: Path) -> Any:
    """A campaign in the middle of its training on the cluster."""
    process = kit.campaigns.start("run", kit.campaigns.config, "--dir", root, "--scheduler", cluster.file, *SLOW)
    wait_for(lambda: in_training(root) or process.poll() is not None)
    assert process.poll() is None, process.stderr.read()
    return process


def ended_well(process: Any) -> str:
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 0 and "Traceback" not in errors, errors
    return str(errors)


def test_an_undisturbed_scheduler_gives_the_local_result(kit: Any, cluster: Any, tmp_path: Path) -> None:
    cluster.start()
    ended_well(started(kit, cluster, tmp_path / "c"))
    kit.same(tmp_path / "c", kit.slow)


def test_threads_of_one_worker_give_the_same(kit: Any, cluster: Any, tmp_path: Path) -> None:
    cluster.start(1, "--nthreads", "2")
    process = started(kit, cluster, tmp_path / "c")
    wait_for(lambda: len(cluster.children()) == 2)
    ended_well(process)
    kit.same(tmp_path / "c", kit.slow)


def test_a_killed_worker(kit: Any, cluster: Any, tmp_path: Path) -> None:
    cluster.start()
    process = started(kit, cluster, tmp_path / "c")
    victim = cluster.workers()[0]
    victim.kill()
    ended_well(process)
    assert not victim.is_running()
    kit.same(tmp_path / "c", kit.slow)


def test_a_killed_worker_with_its_nanny(kit: Any, cluster: Any, tmp_path: Path) -> None:
    cluster.start()
    process = started(kit, cluster, tmp_path / "c")
    nanny = cluster.nannies()[0]
    os.killpg(nanny.pid, signal.SIGKILL)
    ended_well(process)
    kit.same(tmp_path / "c", kit.slow)


def test_all_workers_gone_and_new_ones(kit: Any, cluster: Any, tmp_path: Path) -> None:
    cluster.start()
    process = started(kit, cluster, tmp_path / "c")
    for nanny in cluster.nannies():
        os.killpg(nanny.pid, signal.SIGKILL)
    time.sleep(3)
    cluster.add_worker()
    ended_well(process)
    kit.same(tmp_path / "c", kit.slow)


def test_no_worker_for_too_long(kit: Any, cluster: Any, tmp_path: Path) -> None:
    cluster.start(0)
    arguments = ("--scheduler", cluster.file, "--set", "cluster.patience_minutes=0.05")
    result = kit.campaigns.memo("run", kit.campaigns.config, "--dir", tmp_path / "c", *arguments)
    assert result.returncode == 1 and "no worker for" in result.stderr.splitlines()[-1], result.stderr


def test_a_stopped_worker_whose_task_runs_twice(kit: Any, cluster: Any, tmp_path: Path) -> None:
    cluster.environment["DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL"] = "5s"
    cluster.start(2, "--no-nanny")  # a nanny would replace the worker, and end its training
    root = tmp_path / "c"
    process = started(kit, cluster, root)
    worker, child = cluster.workers()[0], cluster.children()[0]
    child.suspend()
    worker.suspend()
    time.sleep(20)  # four times as long as the scheduler waits
    child.resume()
    worker.resume()
    ended_well(process)
    twice = [log for log in root.glob("logs/*.jsonl") if log.read_bytes().count(b'"event": "start"') > 1]
    assert twice
    wait_for(lambda: is_idle(child))
    kit.same(root, kit.slow)


def test_a_killed_scheduler(kit: Any, cluster: Any, tmp_path: Path) -> None:
    cluster.start()
    root = tmp_path / "c"
    process = started(kit, cluster, root)
    os.killpg(cluster.scheduler.pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in errors, errors
    assert "lost the connection to the scheduler" in errors.splitlines()[-1]
    wait_for(lambda: not cluster.children())
    cluster.stop()
    cluster.start()
    kit.campaigns.run(root, "--scheduler", cluster.file, *SLOW)
    kit.same(root, kit.slow)


def test_a_killed_client(kit: Any, cluster: Any, tmp_path: Path) -> None:
    cluster.start()
    root = tmp_path / "c"
    process = started(kit, cluster, root)
    process.kill()
    process.communicate()
    kit.campaigns.run(root, "--scheduler", cluster.file, *SLOW)
    wait_for(lambda: not kit.campaigns.status(root)["training"])
    kit.same(root, kit.slow)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_client_stops_the_training_on_workers_that_live_on(
    kit: Any, cluster: Any, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        cluster.start()
        root = tmp_path / "c"
        process = started(kit, cluster, root)
    finally:
        signal.signal(signal.SIGINT, before)
    begun = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code and time.monotonic() - begun < 10, errors
    assert errors.splitlines()[-1] == "memo: error: stopped; the same command goes on"
    wait_for(lambda: not cluster.children(), 5)
    kit.campaigns.run(root, "--scheduler", cluster.file, *SLOW)
    kit.same(root, kit.slow)


def test_a_death_between_the_rename_and_the_record(kit: Any, cluster: Any, tmp_path: Path) -> None:
    root = tmp_path / "c"
    code = f"""
import memo.store
write = memo.store.write_text
def die_once(path, text):
    if "losses" in str(path):
        try:
            os.close(os.open({str(tmp_path / "died")!r}, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    write(path, text)
memo.store.write_text = die_once
"""
    cluster.environment = kit.campaigns.sabotage(tmp_path / "sabotage", code).environment
    cluster.start()
    errors = ended_well(started(kit, cluster, root))
    assert (tmp_path / "died").exists() and "it is tried again" in errors
    kit.same(root, kit.slow)


def test_a_worker_that_does_not_see_the_directory(kit: Any, cluster: Any, tmp_path: Path) -> None:
    cluster.start(1)
    root = tmp_path / "c"
    process = started(kit, cluster, root)
    (root / "campaign.yaml").rename(root / "campaign.away")
    _, errors = process.communicate(timeout=120)
    assert process.returncode in (1, 2) and "Traceback" not in errors, errors
    (root / "campaign.away").rename(root / "campaign.yaml")
    kit.campaigns.run(root, "--scheduler", cluster.file, *SLOW)
    kit.same(root, kit.slow)


def test_an_address_where_no_scheduler_is(kit: Any, tmp_path: Path) -> None:
    arguments = ("run", kit.campaigns.config, "--dir", tmp_path / "c", "--scheduler")
    assert "cannot reach tcp://127.0.0.1:9" in kit.campaigns.refused(2, *arguments, "tcp://127.0.0.1:9")
    assert "found no file" in kit.campaigns.refused(2, *arguments, tmp_path / "none.json")
    assert "write tcp://localhost:8786" in kit.campaigns.refused(2, *arguments, "localhost:8786")
