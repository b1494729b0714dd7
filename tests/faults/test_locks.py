"""Locks that were left, directories that cannot be written, disks that are full."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memo.processes import started

pytestmark = pytest.mark.faults


def lock(root: Path, **fields: object) -> Path:
    mine = {"pid": os.getpid(), "host": socket.gethostname(), "started": started(os.getpid()), "token": "t"}
    path = root / ".lock"
    path.write_text(json.dumps({**mine, **fields}))
    return path


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return process.pid


@pytest.mark.parametrize("left", [{"pid": "dead"}, {"started": "1"}], ids=["dead process", "process id used again"])
def test_a_lock_left_on_this_host_is_taken_over(kit: Any, tmp_path: Path, left: dict[str, object]) -> None:
    root = kit.copy(kit.quick, tmp_path / "c")
    lock(root, **({"pid": dead_process()} if left.get("pid") else left))
    assert kit.campaigns.status(root)["running"] is None
    kit.campaigns.run(root)
    kit.same(root, kit.quick)


def test_a_lock_of_another_host_is_refused_until_somebody_deletes_it(kit: Any, tmp_path: Path) -> None:
    root = kit.copy(kit.quick, tmp_path / "c")
    path = lock(root, host="elsewhere", pid=1)
    assert "process 1 on elsewhere" in kit.campaigns.refused(1, "run", kit.campaigns.config, "--dir", root)
    assert kit.campaigns.status(root)["running"] == {"pid": 1, "host": "elsewhere"}
    path.unlink()
    kit.campaigns.run(root)
    kit.same(root, kit.quick)


def test_two_coordinators_at_once(kit: Any, tmp_path: Path) -> None:
    root = tmp_path / "c"
    first = kit.campaigns.start("run", kit.campaigns.config, "--dir", root)
    while not (root / ".lock").exists():
        assert first.poll() is None
        time.sleep(0.01)
    assert f"process {first.pid}" in kit.campaigns.refused(1, "run", kit.campaigns.config, "--dir", root)
    assert first.wait(timeout=120) == 0
    kit.same(root, kit.quick)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mounted], capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.decode().strip()}")
    yield mounted
    subprocess.run(["umount", "--lazy", mounted], check=True)


def fill(disk: Path, leave: int) -> Path:
    """A file that leaves so many bytes."""
    free = os.statvfs(disk)
    filler = disk / "filler"
    filler.write_bytes(b"\0" * max(0, free.f_bavail * free.f_bsize - leave))
    return filler


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["group", "sample", "train", "checkpoint", "aggregate"])
def test_a_full_disk(kit: Any, tmp_path: Path, small_disk: Path, stage: str) -> None:
    root = small_disk / "c"
    sets = ("--set", "training.checkpoint_minutes=0") if stage == "checkpoint" else ()
    kit.campaigns.good("ingest", kit.campaigns.config, "--dir", root, *sets)
    for before in ("group", "sample", "train"):
        if before in (stage, {"checkpoint": "train"}.get(stage)):
            break
        kit.campaigns.good(before, root)
    # A training needs a log of a few kilobytes before its losses, a checkpoint of 3 MB does not fit in any case.
    filler = fill(small_disk, {"train": 12_000, "checkpoint": 60_000}.get(stage, 0))
    error = kit.campaigns.refused(1, "train" if stage == "checkpoint" else stage, root)
    assert "disk is full" in error or "No space left" in error, error
    assert not list(root.rglob("*.tmp-*"))
    data = kit.campaigns.status(root)
    assert not data["complete"] and data["failed"] == {}
    filler.unlink()
    kit.campaigns.run(root, *sets)
    kit.same(root, kit.quick)


def test_a_read_only_directory(kit: Any, small_disk: Path) -> None:
    root = small_disk / "c"
    kit.copy(kit.quick, root)
    (root / "scores" / "exact.parquet").unlink()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert "Read-only file system" in kit.campaigns.refused(1, "run", kit.campaigns.config, "--dir", root)
    assert kit.campaigns.status(root)["stages"]["train"]["done"] == 8  # readers need nothing
    assert "memorization" in kit.campaigns.good("scores", root)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    kit.campaigns.run(root)
    kit.same(root, kit.quick)
