"""Named random streams, all derived from the campaign's seed.

A stream is a name: a tuple such as `("order", split, epoch)`. Equal names give equal streams on every machine, and two
names never share a stream, because the name is hashed and not added to a seed.

    generator("order", split, epoch, seed=0)        a numpy Generator
    uniforms(streams(unit_keys(ids), "design", block, seed=0), draw)     a number per unit, whatever their order

`uniforms` is counter based: millions of units each have their own stream without one Generator object per unit.

Shapes: U units, n draws per unit.
"""

import hashlib
import json
from collections.abc import Iterable

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def digest(*name: str | int, seed: int) -> bytes:
    """32 bytes that depend on the seed and on every part of the name."""
    return hashlib.sha256(json.dumps([seed, *name]).encode()).digest()


def key(*name: str | int, seed: int) -> int:
    """A 63-bit integer seed for libraries that want one (torch, tokenizers)."""
    return int.from_bytes(digest(*name, seed=seed)[:8], "little") >> 1


def generator(*name: str | int, seed: int) -> np.random.Generator:
    """An independent numpy generator for this name."""
    entropy = int.from_bytes(digest(*name, seed=seed), "little")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))


def unit_keys(ids: Iterable[str]) -> np.ndarray:
    """One 64-bit key per unit, from its identifier alone: (U,) uint64."""
    digests = b"".join(hashlib.blake2b(i.encode(), digest_size=8).digest() for i in ids)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def _mix(state: np.ndarray) -> np.ndarray:
    """Finalizer of SplitMix64 (Steele, Lea, Flood 2014, doi 10.1145/2714064.2660195), in place."""
    state ^= state >> np.uint64(30)
    state *= np.uint64(0xBF58476D1CE4E5B9)
    state ^= state >> np.uint64(27)
    state *= np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return state


def streams(units: np.ndarray, *name: str | int, seed: int) -> np.ndarray:
    """Where every unit's stream of this name begins: (U,) uint64, for `uniforms`."""
    return _mix(units ^ np.uint64(key(*name, seed=seed)))


def uniforms(starts: np.ndarray, draw: int) -> np.ndarray:
    """The draw-th number in [0, 1) of every stream: (U,) float64.

    A SplitMix64 generator per unit, whose start is the unit's key mixed with the stream's name.
    """
    with np.errstate(over="ignore"):
        state = starts + _GOLDEN * np.uint64(draw + 1)
    return (_mix(state) >> np.uint64(11)) * 2.0**-53
