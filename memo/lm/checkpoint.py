"""Checkpoints inside a split: a training that was killed goes on and ends in the same bits.

    checkpoints = Checkpoints(layout.checkpoints(split), inputs, device, interval_s=600)
    result = train_split(setup, split, documents, device, report, checkpoints)
    checkpoints.clear()                                     once the losses are published

One safetensors file for each, `step-000001200.safetensors`, with its completion record. The newest two are kept; both
stay until a third is recorded. A checkpoint counts for the same inputs on the same kind of machine with the same
versions of the libraries, because only there do the bits agree; elsewhere the split starts again.

A file holds weights, AdamW's two moments and little else: 12 bytes a parameter.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from memo.errors import DamagedError, MemoError
from memo.layout import RECORD_SUFFIX, record_path
from memo.lm.device import Device, describe
from memo.splits import METADATA_KEY, metadata
from memo.store import fingerprint, flatten, publishing, read_record, remove_temporaries, sha256_file

FORMAT = 3  # of the state in a file, and of the order in which batches come; an older one is not read
KEPT = 2
SUFFIX = ".safetensors"
Report = Callable[[dict[str, Any]], None]


class Resumable(Protocol):
    """What a training has to be to be saved: `memo.lm.state.State`, or that of a stack."""

    @property
    def who(self) -> dict[str, Any]: ...  # for events
    @property
    def step(self) -> int: ...
    def counts(self) -> dict[str, int]: ...
    def copies(self) -> dict[str, torch.Tensor]: ...
    def load(self, counts: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None: ...


class Checkpoints:
    """The newest states of the training of one split, or of one stack, in a folder of their own with one writer."""

    def __init__(
        self, folder: Path, inputs: Mapping[str, Any], device: Device, interval_s: float | None = None
    ) -> None:
        """`inputs`: all that the losses depend on, plain data; of a stack, also who its members are.

        `interval_s`: 0 after each step, None never.
        """
        self.folder, self.interval_s = folder, interval_s
        self.inputs = {"checkpoint_format": FORMAT, "machine": describe(device), "split": dict(inputs)}
        self._recent: list[Path] = []  # whole ones, oldest first
        self._since = time.monotonic()

    def restore(self, state: Resumable, report: Report) -> bool:
        """Puts the newest whole checkpoint into `state`; False, and nothing changed, where there is none.

        One that cannot be used is passed over for the one before, and reported with the reason.
        """
        self._since = time.monotonic()
        remove_temporaries(self.folder)  # a save that was killed leaves as much as a checkpoint
        for path in reversed(self._paths()):
            try:
                state.load(*self._read(path))
            except (MemoError, OSError) as error:
                report({"event": "checkpoint_refused", **state.who, "path": str(path), "reason": str(error)})
                continue
            self._recent = [path]
            report({"event": "restored", **state.who, "step": state.step})
            return True
        return False

    def due(self) -> bool:
        """Whether the interval has passed since the start or the last one."""
        return self.interval_s is not None and time.monotonic() - self._since >= self.interval_s

    def save(self, state: Resumable, report: Report) -> None:
        """Publishes the state, then deletes what is neither it nor the whole one before.

        The caller has looked at its losses: a state with a loss that is not a number is not to be saved. Raises
        `OSError` where the disk is full; what was saved before stays.
        """
        path = self.folder / f"step-{state.step:09d}{SUFFIX}"
        if path not in self._recent:
            _delete(path)  # one that was refused
        with publishing(path, self.inputs, state.counts()) as temporary:
            # Not `save_file`: where a disk is full it raises an error of its own without the number that says so.
            temporary.write_bytes(save(state.copies(), metadata(state.counts())))
        self._recent = [*(other for other in self._recent if other != path), path][-KEPT:]
        for other in self._paths():
            if other not in self._recent:
                _delete(other)
        self._since = time.monotonic()
        report({"event": "checkpoint", **state.who, "step": state.step})

    def clear(self) -> None:
        """Deletes all of them and the folder, if there is one."""
        for path in self._paths():
            _delete(path)
        # What cannot be deleted (a network file system keeps open files) is no checkpoint any more, and harmless.
        shutil.rmtree(self.folder, ignore_errors=True)

    def _paths(self) -> list[Path]:
        """By step, oldest first. A record whose file is missing counts, so that it is reported and deleted too."""
        names = {path.name.removesuffix(RECORD_SUFFIX) for path in self.folder.glob(f"step-*{SUFFIX}*")}
        return [self.folder / name for name in sorted(names) if name.endswith(SUFFIX)]  # no temporary names

    def _read(self, path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Counts and tensors of a checkpoint; raises `DamagedError` where it is not whole or not of this training."""
        record = read_record(path)
        if record is None:
            raise DamagedError("it has no completion record, or one that cannot be read")
        if record.fingerprint != fingerprint(self.inputs):
            raise DamagedError(f"it was made otherwise: {_difference(record.inputs, self.inputs)}")
        # Not `memo.store.verified`, which hashes a file once in a process: this one is read once in a training.
        found, digest = path.stat().st_size, sha256_file(path)
        if (found, digest) != (record.bytes, record.sha256):
            raise DamagedError(f"it differs from its record: expected {record.bytes} bytes, found {found}, or others")
        try:
            with safe_open(path, framework="pt") as file:
                counts = dict(json.loads(file.metadata()[METADATA_KEY]))
                return counts, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise DamagedError(f"expected a safetensors file of a training: {' '.join(str(error).split())}") from error


def _delete(path: Path) -> None:
    record_path(path).unlink(missing_ok=True)  # first: what is half deleted must not look whole
    path.unlink(missing_ok=True)


def _difference(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The first setting that differs, with both values."""
    old, new = dict(flatten(recorded)), dict(flatten(wanted))
    for name in [*new, *old]:
        if old.get(name) != new.get(name):
            return f"expected {name} {json.dumps(new.get(name))}, found {json.dumps(old.get(name))}"
    return "expected other inputs"
