"""The JSON-lines log of a split: one event a line, one line an event, appended by whoever works on the split.

    start      a process begins: host, pid, worker, attempt
    step       about once a second: epoch, step, steps, loss, tokens_per_s
    restored, checkpoint, checkpoint_refused, evaluate      what happens in between
    retry      a try ended without a result; another one follows
    done, diverged, failed, stopped                         how it ended; error: how a try ended

A log tells people and progress bars what goes on. Whether a split is done is decided by its losses and their record.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from memo import processes

TAIL_BYTES = 32768
SILENT_S = 120.0  # a training that has said nothing for so long is not counted as running
NUMBERS = ("epoch", "step", "steps", "loss", "tokens_per_s", "attempt")
ENDINGS = ("done", "diverged", "failed", "retry", "stopped", "error")


def append(log: Path, event: str, **fields: Any) -> None:
    """Adds one line, in one write, so that two writers do not cut each other's lines on a local disk."""
    log.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"time": round(time.time(), 3), "event": event, **fields}) + "\n"
    with log.open("ab", buffering=0) as file:
        file.write(line.encode())


@dataclass(frozen=True)
class Training:
    """What the last lines of a log say."""

    last: dict[str, Any]  # the newest event
    steps: list[dict[str, Any]]  # the newest steps, of one try

    @property
    def error(self) -> str | None:
        """Why the split failed for good, where it did."""
        return str(self.last.get("error", "")) if self.last.get("event") == "failed" else None

    def is_running(self, now: float) -> bool:
        """True where a process is at it, as far as a log can tell."""
        begun = bool(self.last) and self.last["event"] not in ENDINGS and now - self.last["time"] < SILENT_S
        return begun and not (self.last.get("host") == processes.this_host() and self._is_gone())

    def _is_gone(self) -> bool:
        try:
            processes.started(int(self.last["pid"]))
        except (KeyError, TypeError, ValueError, psutil.Error):
            return True
        return False

    @property
    def share(self) -> float:
        """How much of the split's steps are done, 0 to 1."""
        step = self.steps[-1] if self.steps else {}
        return step["step"] / step["steps"] if step.get("steps") else 0.0

    @property
    def shares_per_s(self) -> float:
        """How fast the share grows, over the last minute or so; 0 where there are too few lines to tell."""
        if len(self.steps) < 2 or self.steps[-1]["time"] <= self.steps[0]["time"]:
            return 0.0
        done = self.steps[-1]["step"] - self.steps[0]["step"]
        return done / self.steps[-1]["steps"] / (self.steps[-1]["time"] - self.steps[0]["time"])


def read(log: Path) -> Training:
    """The end of a log; nothing where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        lines = []
    last: dict[str, Any] = {}
    steps: list[dict[str, Any]] = []
    for event in filter(None, map(_event, lines)):
        last = event
        if event["event"] == "step":
            steps.append(event)
        elif event["event"] in ("start", *ENDINGS):
            steps = []
    return Training(last, steps)


def _event(line: bytes) -> dict[str, Any]:
    """One event; empty for a line that is cut, half written, or not of a log."""
    try:
        event = json.loads(line)
        numbers = [event["time"], *(event[key] for key in NUMBERS if key in event)]
        sound = isinstance(event["event"], str) and all(isinstance(number, int | float) for number in numbers)
    except (ValueError, KeyError, TypeError):
        return {}
    return event if sound else {}
