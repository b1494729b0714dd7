"""Frames and arrays as plain data: what JSON and templates can take, without NaN."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def finite(data: Any) -> Any:
    """Plain data for JSON: numpy's numbers and arrays become Python's, NaN and infinity None, keys text."""
    if isinstance(data, dict):
        return {str(key): finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    if isinstance(data, float):
        return float(data) if math.isfinite(data) else None
    if data is not None and not isinstance(data, str | int) and hasattr(data, "tolist"):
        return finite(data.tolist())
    return data


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Rows as plain data; NaN and missing text are None."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]
