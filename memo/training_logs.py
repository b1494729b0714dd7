"""The steps that the logs of a campaign's trainings tell of, as one frame.

A log has a JSON object a line, `step` about once a second; a training that was begun again tells some steps twice, of
which the last counts. Lines that are cut or half written are left out.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from memo.layout import Layout

COLUMNS = {
    "split": "the model",
    "epoch": "from 1",
    "step": "optimizer steps done",
    "steps": "of the whole training",
    "loss": "training loss, nats per token",
    "tokens_per_s": "tokens per second",
    "time": "seconds since 1970",
}


def training_log(layout: Layout, splits: Iterable[int]) -> pd.DataFrame:
    """Columns as in COLUMNS, by split and step; no row for a split without a log."""
    rows = [{"split": split, **step} for split in splits for step in _steps(layout, split)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.drop_duplicates(["split", "step"], keep="last").sort_values(["split", "step"], ignore_index=True)


def _steps(layout: Layout, split: int) -> Iterator[dict[str, Any]]:
    path = layout.log(split)
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("event") == "step":
            yield {name: event[name] for name in COLUMNS if isinstance(event.get(name), int | float)}
