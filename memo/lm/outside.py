"""Other people's code and files: their failures become one line that a user can act on, their bars stay away."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers.utils import logging as transformers_logging

from memo.errors import MemoError, UsageError

LONGEST_MESSAGE_CHARS = 300


@contextmanager
def refused(what: str, advice: str = "") -> Iterator[None]:
    """Whatever fails inside is a `UsageError` that starts with `what`.

    Opening a tokenizer, a configuration or weights runs code that raises nearly every type of exception for what is,
    seen from outside, one problem: this name or these sizes cannot be used. The cause stays chained to it.
    """
    try:
        yield
    except MemoError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, KeyError):  # its text is the key alone
            reason = f"unknown name {reason}"
        if len(reason) > LONGEST_MESSAGE_CHARS:
            reason = reason[:LONGEST_MESSAGE_CHARS] + "..."
        raise UsageError(f"{what}: {reason}{'; ' + advice if advice else ''}") from error


@contextmanager
def no_bars() -> Iterator[None]:
    """Without transformers' progress bars: a bar for each of a thousand small models hides the campaign's own."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def existing(name: str | Path) -> str:
    """The name, unless it can only be a folder and there is none (the hub would complain about its syntax)."""
    path = Path(name).expanduser()
    if path.is_dir():
        return str(path)
    if isinstance(name, Path) or str(name).startswith((".", "/", "~")):
        raise UsageError(f"expected a folder or a name on the hub, found no folder {name}")
    return name
