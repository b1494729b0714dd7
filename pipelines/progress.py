"""Progress on stderr: bars on a terminal, a plain line now and then elsewhere.

with reporter.bar("train", total=48, unit="model") as bar:
    bar.update(3.5)
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from memo.text import paragraphs_for_terminal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_INTERVAL_S = 10.0


class Bar(Protocol):
    def update(self, done: float) -> None: ...


class Reporter:
    """Writes to stderr; results go to stdout and are not its business."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet

    def line(self, text: str) -> None:
        """One line, at once."""
        if not self.quiet:
            print(paragraphs_for_terminal(text), file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def bar(self, description: str, total: float | None, unit: str) -> Iterator[Bar]:
        """A bar for the block; total in units, or None where it is not known."""
        if self.quiet:
            yield _Silent()
        elif sys.stderr.isatty():
            with _rich_progress(unit) as progress:
                task = progress.add_task(description, total=total)
                yield _RichBar(progress, task)
        else:
            plain = _PlainBar(self, description, total, unit)
            yield plain
            plain.close()


class _Silent:
    def update(self, done: float) -> None:
        pass


class _RichBar:
    def __init__(self, progress: "Progress", task: "TaskID") -> None:
        self._progress, self._task = progress, task

    def update(self, done: float) -> None:
        self._progress.update(self._task, completed=done)


class _PlainBar:
    """For logs: a line every ten seconds, and one at the end."""

    def __init__(self, reporter: Reporter, description: str, total: float | None, unit: str) -> None:
        self._reporter, self._description, self._total, self._unit = reporter, description, total, unit
        self._start = self._last = time.monotonic()
        self._done: float | None = None
        self._first = 0.0

    def update(self, done: float) -> None:
        if self._done is None:
            self._first = done
        self._done = done
        if time.monotonic() - self._last >= PLAIN_INTERVAL_S:
            self._last = time.monotonic()
            self._reporter.line(self._text())

    def close(self) -> None:
        done, elapsed = self._done or 0.0, duration(time.monotonic() - self._start)
        missing = self._total is not None and done < self._total
        amount = f"{done:,.0f} of {self._total:,.0f}" if missing else f"{done:,.0f}"
        units = self._unit if done == 1 else f"{self._unit}s"
        self._reporter.line(f"{self._description}: {amount} {units}, {elapsed}")

    def _text(self) -> str:
        done = self._done or 0.0
        elapsed = time.monotonic() - self._start
        rate = (done - self._first) / elapsed if elapsed > 0 else 0.0
        amount = f"{done:,.0f}" if self._total is None else f"{done:,.1f} of {self._total:,.0f}"
        text = f"{self._description}: {amount} {self._unit}s, {max(0.0, rate) * 60:,.1f} a minute"
        if self._total is not None and rate > 0 and done < self._total:
            text += f", {duration((self._total - done) / rate)} left"
        return text


def duration(seconds: float) -> str:
    """`3 h 05 min`, `4 min 10 s` or `12 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def _rich_progress(unit: str) -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: "object") -> Text:
            speed = getattr(task, "speed", None)
            return Text(f"{speed * 60:,.1f} {unit}s a minute" if speed else "")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True),
    )
