"""Hugging Face datasets, by their name on the hub or from a folder that `save_to_disk` wrote.

`datasets` maps the rows from disk, so a dataset of any size is read a thousand rows at a time. Importing it takes
about a second, hence inside the functions.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memo.config import Hub, Source
from memo.errors import UsageError
from subsets.readers.columns import BATCH_ROWS, arrow_records, used_columns
from subsets.readers.files import File
from subsets.readers.records import Record, Rejected

DEFAULT_SPLIT = "train"


def is_saved_dataset(folder: str) -> bool:
    """Whether `save_to_disk` of a Dataset or a DatasetDict wrote this folder."""
    path = Path(folder)
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def saved_records(file: File, source: Source) -> Iterator[Record | Rejected]:
    """A `save_to_disk` folder that is named as a path: its default split."""
    yield from _records(_load_folder(file.path, DEFAULT_SPLIT), file.name, file.key, source)


def hub_records(hub: Hub, source: Source) -> Iterator[Record | Rejected]:
    """One split of a dataset."""
    dataset = _load_folder(hub.name, hub.split) if Path(hub.name).is_dir() else _load_named(hub)
    yield from _records(dataset, hub.name, Path(hub.name).name, source)


def _records(dataset: Any, name: str, key: str, source: Source) -> Iterator[Record | Rejected]:
    columns = used_columns(name, dataset.column_names, source)
    batches = dataset.select_columns(columns).with_format("arrow").iter(batch_size=BATCH_ROWS)
    yield from arrow_records(batches, name, key)


def _load_named(hub: Hub) -> Any:
    from datasets import load_dataset

    try:
        return load_dataset(hub.name, hub.config, split=hub.split)
    except Exception as error:  # the hub, the network and each dataset's own files raise what they like
        asked = f"{hub.name} (config {hub.config}, split {hub.split})"
        raise UsageError(f"{asked}: the dataset cannot be loaded: {_one_line(error)}; check corpus.hub") from error


def _load_folder(folder: str, split: str) -> Any:
    from datasets import DatasetDict, load_from_disk

    try:
        loaded = load_from_disk(folder)
    except Exception as error:  # a folder that is something else, or a damaged one
        raise UsageError(
            f"{folder}: expected a folder written by save_to_disk: {_one_line(error)}; check corpus.hub"
        ) from error
    if isinstance(loaded, DatasetDict):
        if split not in loaded:
            raise UsageError(f"{folder}: expected a split {split!r}, found {', '.join(loaded)}; set corpus.hub.split")
        return loaded[split]
    # A folder of one dataset has no choice of splits: the default asks for none.
    if split not in (DEFAULT_SPLIT, str(loaded.split)):
        found = f"one dataset, of split {loaded.split}" if loaded.split else "one dataset without splits"
        raise UsageError(f"{folder}: expected a split {split!r}, found {found}; leave corpus.hub.split out")
    return loaded


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
