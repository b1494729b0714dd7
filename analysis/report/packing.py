"""Data of the page as text that no HTML parser can misread: JSON, compressed, in base64.

The script unpacks it with the browser's own DecompressionStream. Numbers are whole: a score in ten-thousandths.
"""

import base64
import json
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCALE = 10_000  # to the nat
LEVEL = 6
LARGEST = 2**53 / SCALE  # beyond, a browser's number has no room


def packed(data: Any) -> str:
    """base64 of zlib of JSON. data: plain data without NaN."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("ascii"), LEVEL)).decode("ascii")


def scaled(values: Any) -> list[int | None]:
    """Whole ten-thousandths; None for NaN and whatever is too large to be one."""
    numbers: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    good = np.abs(numbers) < LARGEST  # False for NaN
    whole = np.rint(np.where(good, numbers, 0.0) * SCALE).astype(np.int64).astype(object)
    whole[~good] = None
    found: list[int | None] = whole.tolist()
    return found


def counts(values: Any) -> list[int | None]:
    """Whole numbers; None where there is none."""
    numbers: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    good = np.isfinite(numbers)
    whole = np.where(good, numbers, 0).astype(np.int64).astype(object)
    whole[~good] = None
    found: list[int | None] = whole.tolist()
    return found


def coded(values: list[str | None]) -> tuple[list[str], list[int]]:
    """Each different text once, and for every value its number; -1 for None."""
    known: dict[str, int] = {}
    codes = [-1 if value is None else known.setdefault(value, len(known)) for value in values]
    return list(known), codes
