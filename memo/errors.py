"""The exceptions that memo raises on purpose.

Each message is one line and says what was expected, what was found and what to do. The command line prints it without
a traceback and exits with `exit_code`.
"""


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
