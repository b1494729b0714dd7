"""One coordinating writer per campaign directory.

    with writer(layout.lock):
        ...

The lock is a file that names its holder. A holder that died on this host is taken over; one on another host cannot be
asked and is never taken over silently. Workers and readers need no lock.
"""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memo import processes
from memo.errors import LockedError
from memo.store import temporary_path


def holder(path: Path) -> dict[str, Any] | None:
    """Who holds the lock, or None. A lock file that cannot be read has an unknown holder: an empty mapping."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def is_alive(holding: dict[str, Any]) -> bool:
    """False only where the holder certainly ended: same host, and no process of that id and start time."""
    return processes.is_alive(holding.get("pid"), holding.get("host"), holding.get("started"))


@contextlib.contextmanager
def writer(path: Path) -> Iterator[None]:
    """Holds the lock for the block; raises `LockedError` that names the present holder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = {**processes.this_process().as_dict(), "token": uuid.uuid4().hex}
    _acquire(path, mine)
    try:
        yield
    finally:
        if holder(path) == mine:
            path.unlink(missing_ok=True)


def _acquire(path: Path, mine: dict[str, Any]) -> None:
    for _ in range(3):
        if _create(path, mine):
            return
        current = holder(path)
        if current is None:
            continue  # released between the two looks
        if not current:
            raise LockedError(f"{path}: a lock that cannot be read; delete it if no memo is at work here")
        if is_alive(current):
            raise LockedError(
                f"{path.parent} is in use by process {current.get('pid')} on {current.get('host')}; "
                f"wait for it, or delete {path} if that process is gone"
            )
        _remove_dead(path, current)
    raise LockedError(f"{path.parent}: other processes keep taking the lock; try again")


def _create(path: Path, mine: dict[str, Any]) -> bool:
    """Makes the lock appear with its content, so that nobody ever reads half of it."""
    temporary = temporary_path(path)
    try:
        temporary.write_text(json.dumps(mine), encoding="utf-8")
        os.link(temporary, path)  # fails where the name exists, on network file systems too
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _remove_dead(path: Path, dead: dict[str, Any]) -> None:
    """Moves the dead holder's lock away; puts it back if somebody else's was caught by the move."""
    aside = temporary_path(path)
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if holder(aside) != dead:
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)
