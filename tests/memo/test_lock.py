"""One writer per directory; only a dead local holder is taken over."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from memo.errors import LockedError
from memo.lock import holder, writer
from memo.processes import started


def write(path: Path, **fields: object) -> None:
    mine = {"pid": os.getpid(), "host": socket.gethostname(), "started": started(os.getpid()), "token": "t"}
    path.write_text(json.dumps({**mine, **fields}))


def test_a_second_writer_is_refused_and_named(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with writer(lock):
        with pytest.raises(LockedError, match=f"process {os.getpid()}"), writer(lock):
            pass
        assert holder(lock)
    assert holder(lock) is None
    assert list(tmp_path.iterdir()) == []


def test_a_dead_holder_is_taken_over(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    write(lock, pid=process.pid)
    with writer(lock):
        held = holder(lock)
        assert held is not None and held["pid"] == os.getpid()


def test_a_used_again_process_id_does_not_keep_a_lock_alive(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    write(lock, started="1")
    with writer(lock):
        pass


def test_another_host_is_never_taken_over(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    write(lock, host="elsewhere", pid=1)
    with pytest.raises(LockedError, match="elsewhere"), writer(lock):
        pass
    assert holder(lock) is not None


def test_an_unreadable_lock_is_not_taken_over(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    lock.write_text("{")
    with pytest.raises(LockedError, match="cannot be read"), writer(lock):
        pass


def test_the_lock_is_released_when_the_work_fails(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with pytest.raises(RuntimeError), writer(lock):
        raise RuntimeError
    assert holder(lock) is None
