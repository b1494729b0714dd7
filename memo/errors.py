"""The exceptions that memo raises on purpose.

Each message is one line and says what was expected, what was found and what to do. The command line prints it without
a traceback and exits with `exit_code`.
"""

import errno


class MemoError(Exception):
    """The work failed or is partial."""

    exit_code = 1


class UsageError(MemoError):
    """The call, the campaign file or the input is wrong: nothing was started."""

    exit_code = 2


class RuleError(UsageError):
    """A duplication rule is unknown, raised, or returned something that is not groups of documents."""


class LockedError(MemoError):
    """Another process writes to this campaign directory."""


class DamagedError(MemoError):
    """A file on disk is not what its completion record says."""


class DivergedError(MemoError):
    """The loss of a model turned NaN or infinite: a result of these settings, which another attempt only repeats."""

    def __init__(self, split: int, epoch: int, step: int | None, loss: float) -> None:
        """`step` counts from the first of the training; None where an evaluation found it. `loss` in nats."""
        super().__init__(split, epoch, step, loss)  # all of them, or the error could not be pickled
        self.split, self.epoch, self.step, self.loss = split, epoch, step, loss

    def __str__(self) -> str:
        where = (
            f"the evaluation after epoch {self.epoch}" if self.step is None else f"epoch {self.epoch}, step {self.step}"
        )
        told = f"the loss of split {self.split} became {self.loss} at {where}"
        return f"{told}; lower training.learning_rate, in a new campaign directory"


class PartialError(MemoError):
    """Some of the work failed; the rest is done and kept."""


def os_error(error: OSError) -> str:
    """An error of the system in a line, with its file where it is known, and what to do about a full disk."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        full = "the disk is full" if error.errno == errno.ENOSPC else "the disk quota is used up"
        return f"{full}{where}; free some space, then run the same command: it goes on"
    return f"{error.strerror or error}{where}"
