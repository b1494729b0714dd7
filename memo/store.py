"""Files that are either whole or absent, and the records that say what they are.

    inputs = {"corpus": "3f9a...", "rule": {"name": "exact"}}
    if not is_done(path, inputs):
        with publishing(path, inputs) as temporary:
            write(temporary)

A file is written under a unique temporary name in its own folder, flushed, renamed, and recorded last. It counts only
when its record is there, its checksum agrees and its record was made from the same inputs. A process that dies at any
point leaves a temporary file, or a file without a record, and both are made again.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memo import processes
from memo.errors import DamagedError, UsageError
from memo.layout import FORMAT_VERSION, record_path

if TYPE_CHECKING:
    import pyarrow as pa

TEMPORARY_MARK = ".tmp-"
TEMPORARY_NAME = re.compile(
    re.escape(TEMPORARY_MARK) + r"(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-(?P<started>\d+)-[0-9a-f]+$"
)
ABANDONED_S = 24 * 3600.0  # a temporary file of another host, whose process cannot be asked, untouched for so long


@dataclass(frozen=True)
class Record:
    """What a finished file is: its size and checksum, and all that went into it."""

    bytes: int
    sha256: str
    fingerprint: str
    inputs: dict[str, Any]
    notes: dict[str, Any]
    format: int = FORMAT_VERSION


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """Equal for equal plain data, whatever the order of its keys."""
    return hashlib.sha256(canonical(inputs).encode()).hexdigest()


def canonical(data: Any) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_folder(folder: Path) -> str:
    """One checksum of the names and contents of all files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return fingerprint({path.relative_to(folder).as_posix(): sha256_file(path) for path in files})


def size_bytes(path: Path) -> int:
    """Of a file, or of all files below a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def _measure(path: Path) -> tuple[int, str]:
    """Bytes and checksum of a file or a folder."""
    return size_bytes(path), sha256_folder(path) if path.is_dir() else sha256_file(path)


@contextlib.contextmanager
def publishing(path: Path, inputs: Mapping[str, Any], notes: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """Yields a temporary path to write to; publishes it with its record when the block ends without an error.

    A folder is published the same way: the block makes it under the temporary name, and it replaces an older one.
    `notes` are recorded and never compared: versions, counts, times.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(path) as temporary:
        yield temporary
        _flush(temporary)
        size, checksum = _measure(temporary)
        record = {
            "format": FORMAT_VERSION,
            "bytes": size,
            "sha256": checksum,
            "fingerprint": fingerprint(inputs),
            "inputs": dict(inputs),
            "notes": {"written": datetime.now(UTC).isoformat(timespec="seconds"), **(notes or {})},
        }
        old = read_record(path)
        if old is None or (old.sha256, old.fingerprint) != (record["sha256"], record["fingerprint"]):
            # The old record goes first: between the two renames the file must not look finished. The same content may
            # be published twice, by a worker that was taken for dead; what is finished must then not look unfinished.
            remove(record_path(path))
        if temporary.is_dir() or path.is_dir():
            remove(path)  # neither can replace the other, nor a folder one that has content
        temporary.replace(path)
    write_text(record_path(path), json.dumps(record, indent=1, ensure_ascii=True) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replaces a small file at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
        _flush(temporary)
        if path.is_dir():
            remove(path)
        temporary.replace(path)
    _flush_folder(path.parent)


def temporary_path(path: Path) -> Path:
    """A new name in the same folder that says which process it belongs to."""
    owner = processes.this_process()
    mark = f"{_short(owner.host)}-{owner.pid}-{owner.started}-{uuid.uuid4().hex[:12]}"
    return path.with_name(f"{path.name}{TEMPORARY_MARK}{mark}")


def _short(host: str) -> str:
    return hashlib.sha256(host.encode()).hexdigest()[:8]


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    temporary = temporary_path(path)
    try:
        yield temporary
    finally:
        remove(temporary)


def remove(path: Path) -> None:
    """A file, a folder or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    for file in path.rglob("*") if path.is_dir() else (path,):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())


def _flush_folder(folder: Path) -> None:
    """Makes a rename survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_record(path: Path) -> Record | None:
    """The record of a file, or None where there is no readable one: such a file is not finished."""
    try:
        data = json.loads(record_path(path).read_text(encoding="utf-8"))
        record = Record(**{name: data[name] for name in Record.__dataclass_fields__})
    except (OSError, KeyError, TypeError, ValueError):
        return None
    kinds = (("bytes", int), ("sha256", str), ("fingerprint", str), ("inputs", dict), ("notes", dict), ("format", int))
    if not all(isinstance(getattr(record, name), kind) for name, kind in kinds):
        return None
    if record.format > FORMAT_VERSION:
        raise UsageError(
            f"{path}: expected format version {FORMAT_VERSION} or older, found {record.format}; use a newer memo"
        )
    return record


def verified(path: Path) -> Record:
    """The record of a file whose size and checksum agree with it; raises `DamagedError` otherwise."""
    record = read_record(path)
    if record is None or not path.exists():
        raise DamagedError(f"{path}: not there, or without its completion record; run the stage that makes it")
    stat = path.stat()
    look = (str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, record.sha256)
    if look not in _seen_whole or path.is_dir():
        if _measure(path) != (record.bytes, record.sha256):
            raise DamagedError(f"{path}: differs from its record ({record.bytes} bytes); run the stage again")
        _seen_whole.add(look)
    return record


# Files this process has hashed: every stage relies on those before it, and a campaign can have gigabytes of losses.
_seen_whole: set[tuple[str, int, int, int, str]] = set()


def is_done(path: Path, inputs: Mapping[str, Any]) -> bool:
    """True where the file is finished, undamaged and made from these inputs; a file from other inputs is False."""
    record = read_record(path)
    if record is None or record.fingerprint != fingerprint(inputs):
        return False
    try:
        verified(path)
    except DamagedError:
        return False
    return True


def read_parquet(path: Path, columns: list[str] | None = None) -> "pa.Table":
    """A table of the campaign. Raises `DamagedError` where the file is not what it was when it was written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) is not None:
            raise  # the system's fault, not the file's
        raise DamagedError(f"{path}: damaged, it cannot be read; memo verify says what else is") from error


def differences(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """One line per setting that differs, with both values."""
    old, new = dict(flatten(recorded)), dict(flatten(wanted))
    return [
        f"{name}: the campaign has {_shown(old, name)}, now asked for {_shown(new, name)}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def flatten(data: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`("design.splits", 64)` pairs of nested plain data."""
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(data, list | tuple) and data:
        for index, value in enumerate(data):
            yield from flatten(value, f"{prefix}.{index}" if prefix else str(index))
    else:
        yield prefix, data


def _shown(values: Mapping[str, Any], name: str) -> str:
    return json.dumps(values[name], ensure_ascii=True) if name in values else "nothing"


def refuse_changed(path: Path, inputs: Mapping[str, Any]) -> None:
    """Raises `UsageError` with both values where a finished file was made from other inputs."""
    record = read_record(path)
    if record is not None and path.exists() and record.fingerprint != fingerprint(inputs):
        changes = differences(record.inputs, json.loads(canonical(inputs)))
        more = f" (and {len(changes) - 2} more)" if len(changes) > 2 else ""
        raise UsageError(f"{'; '.join(changes[:2])}{more}. Set it back, or use another --dir")


def remove_temporaries(folder: Path) -> None:
    """Deletes what killed writers left; what a living process, or one on another host, is writing stays."""
    for path in sorted(folder.rglob(f"*{TEMPORARY_MARK}*")):
        if not is_abandoned(path):
            continue
        remove(path)


def is_abandoned(path: Path) -> bool:
    """Whether a temporary file or folder belongs to a process that certainly ended, or is of a host long silent."""
    owner = TEMPORARY_NAME.search(path.name)
    if owner is not None and owner["host"] == _short(processes.this_host()):
        return not processes.is_alive(int(owner["pid"]), processes.this_host(), owner["started"])
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_S
    except FileNotFoundError:
        return False
