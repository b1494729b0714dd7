"""What each rung of a design can resolve: expected splits a side, and, from a pilot, standard errors and reliability.

The pilot's noise is that of its own rung, document by document; the reliability is that of its rule (see
`pipelines.diagnose`), carried over by Spearman-Brown. What a pilot of another corpus, model or training tells is not
about this campaign: `about_pilot` names what differs.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from memo import seeding
from memo.campaign_data import read_losses
from memo.errors import MemoError
from memo.estimators.checks import BadValueError
from memo.estimators.extrapolation import spearman_brown
from memo.estimators.power import (
    Noise,
    effective_splits,
    measure_noise,
    predict,
    splits_for_reliability,
    splits_for_se,
    standard_error,
)
from memo.estimators.reliability import choose_documents
from memo.store import flatten, read_record
from pipelines import diagnose
from pipelines.aggregate import packed_rule
from pipelines.workspace import NOT_IN_LOSSES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from memo.campaign import Campaign
    from memo.design_settings import Design
    from subsets.designs.parts import Parts

TARGET_SE, TARGET_RELIABILITY = 0.05, 0.9


def rung(parts: "Parts", level: int) -> dict[str, Any]:
    """What a rung has, and the splits that each of its documents expects on either side."""
    units, documents = parts.units, _documents(parts, level)
    inside, outside = _expected(parts, level, documents)
    return {
        "rule": units.names[level],
        "groups": len(np.unique(units.chain[level, documents])),
        "documents": len(documents),
        "splits_in": spread(inside),
        "splits_out": spread(outside),
        "predicted": None,
        "reason": None,
    }


def _documents(parts: "Parts", level: int) -> "NDArray[np.int64]":
    """Those that a rung is about: above the finest, in groups of two or more; none that are copied."""
    sizes = parts.units.sizes[parts.units.chain[level]]
    chosen = sizes > 1 if level else np.ones(len(sizes), dtype=bool)
    if parts.copied is not None:
        chosen[parts.copied] = False
    return np.flatnonzero(chosen)


def _expected(
    parts: "Parts", level: int, documents: "NDArray[np.int64]"
) -> tuple["NDArray[np.float64]", "NDArray[np.float64]"]:
    """Expected splits in and out, (D,) each."""
    design = parts.design
    decided = parts.counting_share[parts.units.chain[level, documents]] * design.splits
    return decided * design.include, decided * (1 - design.include)


def spread(values: "NDArray[np.float64]") -> dict[str, float] | None:
    if not len(values):
        return None
    return {"least": float(values.min()), "median": float(np.median(values)), "most": float(values.max())}


def splits_of(pilot: "Campaign") -> list[int]:
    """Splits that the noise is measured on."""
    return pilot.config.design.scored(pilot.trained_splits())


def about_pilot(pilot: "Campaign", campaign: "Campaign") -> dict[str, Any]:
    """Where the noise is from, and which settings that decide about it are others there."""
    ours, theirs = (dict(flatten(_settings(of))) for of in (campaign, pilot))
    differs = [name for name in dict.fromkeys([*ours, *theirs]) if ours.get(name) != theirs.get(name)]
    keys = [".".join(part for part in name.split(".") if not part.isdigit()) for name in differs]  # not places in lists
    splits = len(splits_of(pilot))
    return {"campaign": str(pilot.layout.root), "splits": splits, "differs": list(dict.fromkeys(keys))}


def _settings(campaign: "Campaign") -> dict[str, Any]:
    config = campaign.config
    record = read_record(campaign.layout.documents)
    known: dict[str, Any] = {"documents": None if record is None else record.sha256}
    if config.imported is not None:
        return {**known, "model": "imported"}
    data = config.resolved()
    return {
        **known,
        **{name: data[name] for name in ("tokenizer", "context_tokens", "model")},
        "training": {key: value for key, value in data["training"].items() if key not in NOT_IN_LOSSES},
        "design": {name: data["design"][name] for name in ("base", "unit", "ladder", "include")},
    }


def predicted(campaign: "Campaign", parts: "Parts", level: int, pilot: "Campaign") -> dict[str, Any]:
    """`predicted`: standard errors, gap, reliability and splits for two goals; None where `reason` says why."""
    units, documents = parts.units, _documents(parts, level)
    name = units.names[level]
    if not len(documents):
        return {"predicted": None, "reason": "no group of two documents or more"}
    if name not in pilot.rules():
        return {"predicted": None, "reason": f"the pilot has no rule {name}; take one with the same design"}
    try:
        noise, precision = measured(pilot, name, several=level > 0)
    except BadValueError as error:
        raise MemoError(f"{pilot.layout.root}: {error}; memo verify {pilot.layout.root} says what is damaged") from None
    except ValueError as error:
        return {"predicted": None, "reason": str(error)}
    design = campaign.config.design
    inside, outside = _expected(parts, level, documents)
    if design.base == "bernoulli":
        inside, outside = (np.full(len(documents), n) for n in _effective(design, design.splits))
    blocks = 1 if design.error_block is None else design.splits // design.error_block
    found, ours = predict(noise, inside, outside, blocks), float(np.median(_precision(inside, outside)))
    of_pilot = diagnose.of_rule(pilot, name, splits_of(pilot))["reliability"]
    reliability = None if of_pilot is None else spearman_brown(of_pilot, ours / precision)
    wanted = None
    if reliability is not None:
        wanted = splits_for_reliability(reliability, design.splits, TARGET_RELIABILITY, design.block_size)
    share = float(np.median(parts.counting_share[units.chain[level, documents]]))
    return {
        "predicted": {
            "se": float(np.sqrt(np.mean(found.se**2))),
            "median_se": float(np.median(found.se)) * noise.median_ratio,
            "gap": float(np.median(found.gap)) * noise.median_ratio,
            "reliability": reliability,
            "splits_for_se": {"target": TARGET_SE, "splits": _splits_for_se(noise, design, share)},
            "splits_for_reliability": {"target": TARGET_RELIABILITY, "splits": wanted},
        },
        "reason": None,
    }


def _effective(design: "Design", splits: int) -> tuple[float, float]:
    """Splits in and out that independent coins are worth."""
    return effective_splits(splits, design.include), effective_splits(splits, 1 - design.include)


def _precision(inside: "NDArray[np.floating]", outside: "NDArray[np.floating]") -> "NDArray[np.float64]":
    """(D,) 1 / (1 / n_in + 1 / n_out): a score's variance goes with its inverse; 0 where a side is empty."""
    return inside * outside / np.maximum(inside + outside, 1e-300)


def measured(pilot: "Campaign", name: str, several: bool) -> tuple[Noise, float]:
    """Noise of the documents of a rule, or of a random sample of them, and the precision of the median one there.

    Raises `ValueError` where the pilot does not show it.
    """
    splits = splits_of(pilot)
    scored = packed_rule(pilot, name, splits)
    groups = scored.groups
    rows = np.flatnonzero(groups.sizes[groups.group] > 1) if several else np.arange(len(groups.group))
    chosen = rows[choose_documents(len(rows), None, seeding.generator("plan", name, seed=pilot.config.seed))]
    if not len(chosen):
        raise ValueError(f"the pilot has no group of two documents or more of {name}")
    losses = np.empty((len(splits), len(chosen)), dtype=np.float32)
    for row, split in enumerate(splits):  # whole rows: columns far apart cost as much
        values = read_losses(pilot.layout, split, "loss", -1, slice(None, len(pilot.doc_ids)))
        losses[row] = values[groups.document[chosen]]
    in_side, counted = scored.contrast.sides(slice(None), groups.group[chosen])
    treated = in_side.astype(bool)
    counts = np.ones_like(treated) if counted is None else counted.astype(bool)
    noise = measure_noise(losses, treated, counts, scored.blocks)
    inside, outside = (treated & counts).sum(axis=0), (~treated & counts).sum(axis=0)
    return noise, float(np.median(_precision(inside, outside)))


def _splits_for_se(noise: Noise, design: "Design", share: float) -> int:
    """Splits, in whole blocks, for the wanted error of the median document."""
    middle = replace(noise, of_in=noise.of_in * noise.median_ratio, of_out=noise.of_out * noise.median_ratio)
    splits = splits_for_se(middle, TARGET_SE, share, design.include, design.block_size)
    while design.base == "bernoulli":  # the mean of 1 / n is larger than 1 / the mean
        if standard_error(middle, *_effective(design, splits)) <= TARGET_SE:
            break
        splits += design.block_size
    return splits
