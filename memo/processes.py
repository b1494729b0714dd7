"""Which process something belongs to, and whether that process is still there.

A process id is used again sooner or later, so a process is known by its host, its id and when it started.
"""

import socket
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True)
class Owner:
    """A process of some host."""

    pid: int
    host: str
    started: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def this_process() -> Owner:
    # Not cached: a forked process has an id of its own.
    pid = psutil.Process().pid
    return Owner(pid, this_host(), started(pid))


@cache
def this_host() -> str:
    return socket.gethostname()


def is_alive(pid: Any, host: Any, began: Any) -> bool:
    """False only where the process certainly ended: same host, and no process of that id and start time."""
    if host != this_host():
        return True
    try:
        return started(pid) == began
    except (psutil.NoSuchProcess, TypeError, ValueError, OverflowError):
        return False
    except psutil.AccessDenied:
        return True


def started(pid: int) -> str:
    """When a process began, in a form that no step of the clock changes: on Linux, ticks since the machine started.

    Raises `psutil.NoSuchProcess` where there is none.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return f"{psutil.Process(pid).create_time():.0f}"
    fields = stat.rpartition(")")[2].split()  # of proc(5), from the third on: the name before them may hold anything
    if fields[0] in "ZX":
        raise psutil.NoSuchProcess(pid)  # it has ended, and its parent has not looked
    return fields[19]
