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
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from memo.errors import DamagedError, UsageError
from memo.layout import FORMAT_VERSION, record_path

TEMPORARY_MARK = ".tmp-"


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


@contextlib.contextmanager
def publishing(path: Path, inputs: Mapping[str, Any], notes: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """Yields a temporary path to write to; publishes it with its record when the block ends without an error.

    `notes` are recorded and never compared: versions, counts, times.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(path) as temporary:
        yield temporary
        _flush(temporary)
        record = {
            "format": FORMAT_VERSION,
            "bytes": temporary.stat().st_size,
            "sha256": sha256_file(temporary),
            "fingerprint": fingerprint(inputs),
            "inputs": dict(inputs),
            "notes": {"written": datetime.now(UTC).isoformat(timespec="seconds"), **(notes or {})},
        }
        # The old record goes first: between the two renames the file must not look finished.
        record_path(path).unlink(missing_ok=True)
        temporary.replace(path)
    write_text(record_path(path), json.dumps(record, indent=1, ensure_ascii=True) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replaces a small file at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
        _flush(temporary)
        temporary.replace(path)
    _flush_folder(path.parent)


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f"{path.name}{TEMPORARY_MARK}{uuid.uuid4().hex[:12]}")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


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
    except (FileNotFoundError, KeyError, TypeError, ValueError):
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
    if path.stat().st_size != record.bytes or sha256_file(path) != record.sha256:
        raise DamagedError(f"{path}: the file differs from its record ({record.bytes} bytes); run the stage again")
    return record


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
    """Deletes what a killed writer left. Only for the process that holds the campaign's lock."""
    for path in sorted(folder.rglob(f"*{TEMPORARY_MARK}*")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
