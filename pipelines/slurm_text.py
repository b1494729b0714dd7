"""Writes what goes into a job script so that neither the shell nor sbatch reads anything else into it."""

import shlex
import unicodedata
from pathlib import Path

from memo.errors import UsageError


def shell_path(path: Path) -> str:
    """A path as a word of a shell line or in a comment; `UsageError` for one that would break the line."""
    if any(unicodedata.category(sign) in ("Cc", "Zl", "Zp") for sign in str(path)):
        raise UsageError(f"expected a path without control characters for a job script, found {str(path)!r}; rename it")
    return shlex.quote(str(path))


def sbatch_path(folder: Path, pattern: str) -> str:
    """`folder/pattern` as an #SBATCH line wants it: quoted, and only the % of the pattern mean something.

    sbatch knows quotes as a shell does, but gives a backslash a meaning inside them as well.
    """
    if "\\" in str(folder):
        raise UsageError(f"expected a folder without a backslash for the logs of SLURM jobs, found {folder}; rename it")
    return shell_path(Path(str(folder).replace("%", "%%")) / pattern)
