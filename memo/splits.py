"""Splits on disk: one immutable file per block, with the decision of every coin and the documents that follow from it.

Tensors of a block of b splits, U units, N documents, C controls, S sets, all bit-packed along the last axis:

    asked     (b, U)  a coin was flipped for the unit
    treated   (b, U)  the coin took the unit in
    included  (b, N)  the document is in the split
    controls  (b, C)  the coin of the control took it in: a canary is in the split, a phantom is not whatever it says
    removed   (b, S)  the set is removed whole; only where the design removes sets

and, a byte each, only where the design copies documents, C' of them:

    copies    (b, C') how often the split has the document

A block is drawn once and never again, so a campaign that grows leaves earlier splits as they are.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

Bools = NDArray[np.bool_]
Counts = NDArray[np.uint8]
METADATA_KEY = "memo"


@dataclass(frozen=True)
class Block:
    """Decisions and inclusion of one block of splits."""

    asked: Bools  # (b, U)
    treated: Bools  # (b, U)
    included: Bools  # (b, N)
    controls: Bools  # (b, C)
    removed: Bools = field(default_factory=lambda: np.zeros((0, 0), dtype=np.bool_))  # (b, S)
    copies: Counts = field(default_factory=lambda: np.zeros((0, 0), dtype=np.uint8))  # (b, C')


NAMES = ("asked", "treated", "included", "controls")
WIDTHS = {"included": "documents", "controls": "controls", "removed": "sets"}


def metadata(content: Mapping[str, Any]) -> dict[str, str]:
    """Metadata of a safetensors file under one key: it writes several in an order that changes from run to run."""
    return {METADATA_KEY: json.dumps(content, sort_keys=True)}


def block_bytes(block: Block) -> bytes:
    """The content of a block file."""
    # safetensors writes memory as it lies, and a selection of columns lies the other way round.
    sets = block.removed.shape[1]
    names = (*NAMES, "removed") if sets else NAMES
    packed = {name: np.ascontiguousarray(np.packbits(getattr(block, name), axis=1)) for name in names}
    if block.copies.shape[1]:
        packed["copies"] = np.ascontiguousarray(block.copies)
    return packed_bytes(packed, block.asked.shape[1], block.included.shape[1], block.controls.shape[1], sets)


def packed_bytes(
    packed: Mapping[str, NDArray[np.uint8]], units: int, documents: int, controls: int, sets: int = 0
) -> bytes:
    """The same from tensors that are bit-packed already."""
    sizes = {"splits": len(packed["included"]), "units": units, "documents": documents, "controls": controls}
    return save(dict(packed), metadata=metadata({**sizes, "sets": sets} if sets else sizes))


def read_block(path: Path) -> Block:
    """Reads a block file whole."""
    return Block(**{name: read_bits(path, name) for name in (*NAMES, "removed")}, copies=read_copies(path))


def read_copies(path: Path) -> Counts:
    """How often each split of a block has each of the copied documents: (b, C'); without columns where none are."""
    with safe_open(path, framework="numpy") as file:
        if "copies" not in file.keys():  # noqa: SIM118 - no mapping
            return np.zeros((json.loads(file.metadata()[METADATA_KEY])["splits"], 0), dtype=np.uint8)
        copies: Counts = file.get_tensor("copies")
        return copies


def read_bits(path: Path, name: str, rows: slice = slice(None)) -> Bools:
    """One tensor of a block file, or some of its splits, unpacked: (b, U), (b, N), (b, C) or (b, S)."""
    with safe_open(path, framework="numpy") as file:
        sizes = json.loads(file.metadata()[METADATA_KEY])
        width = sizes.get(WIDTHS.get(name, "units"), 0)
        if name == "removed" and not width:
            return np.zeros((len(range(sizes["splits"])[rows]), 0), dtype=np.bool_)
        return np.unpackbits(file.get_slice(name)[rows], axis=1, count=width).view(np.bool_)
