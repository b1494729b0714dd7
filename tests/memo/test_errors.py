"""Errors of the system, in a line."""

import errno

import pytest

from memo.errors import os_error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left"), "the disk is full; free some space, then run the same command: it go"),
        (OSError(errno.EDQUOT, "Quota", "/a/b"), "the disk quota is used up (/a/b); free some space, then run the sam"),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), "Permission denied (/a/b)"),
        (OSError("no number"), "no number"),
    ],
)
def test_the_line(error: OSError, line: str) -> None:
    assert os_error(error).startswith(line)
