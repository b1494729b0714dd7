"""What the sets that a design removes and the documents that it copies can resolve: expected splits in each cell of
their scores and, from the noise of a pilot, standard errors.

The noise is that of a document's own score in the pilot. Of an excess and a rest it gives the part of the total; the
curve of the size controls adds its own, which a pilot of another design does not tell.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from memo.design_settings import DOCUMENT_RULE
from memo.errors import MemoError
from memo.estimators.checks import BadValueError
from memo.estimators.power import Noise, predict
from memo.sets import CONTROL
from pipelines.plan_power import measured, spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from memo.campaign import Campaign
    from memo.design_settings import Design
    from subsets.designs.parts import Parts


def of_sets(campaign: "Campaign", parts: "Parts") -> list[dict[str, Any]]:
    """One entry for each rule whose sets are removed: sets, documents, tokens, and for each of a set's documents the
    splits in which the set is removed, or kept with the document in or out, all its other sets being kept."""
    knockout, sets, design = parts.design.knockout, parts.sets, parts.design
    if knockout is None or sets is None:
        return []
    tokens, entries = sets.tokens(campaign.n_tokens), []
    document, group = sets.members
    for name in (*knockout.sets, CONTROL):
        mine = sets.of_rule(name)
        rows = np.isin(group, mine)
        if not rows.any():
            continue
        others = sets.number_of(len(campaign.doc_ids))[document[rows]] - 1
        kept: NDArray[np.float64] = design.splits * (1 - knockout.probability) ** others.astype(np.float64)
        here = kept * (1 - knockout.probability)
        entry = {
            "kind": "knockout",
            "rule": name,
            "sets": len(mine),
            "documents": len(np.unique(document[rows])),
            "tokens": spread(tokens[mine].astype(np.float64)),
            "splits_removed": spread(kept * knockout.probability),
            "splits_in": spread(here * design.include),
            "splits_out": spread(here * (1 - design.include)),
            "median_se": None,
        }
        entries.append(entry)
    return entries


def of_copies(campaign: "Campaign", parts: "Parts") -> list[dict[str, Any]]:
    """One entry, where documents are copied: how many, their tokens, and the splits of each number of copies."""
    if parts.copied is None or parts.design.copies is None:
        return []
    counts = parts.design.copies.counts
    each = np.full(1, parts.design.splits / len(counts))
    entry = {
        "kind": "copies",
        "counts": list(counts),
        "documents": len(parts.copied),
        "tokens": spread(campaign.n_tokens[parts.copied].astype(np.float64)),
        "splits_in": spread(each),
        "splits_out": spread(each),
        "median_se": None,
    }
    return [entry]


def add_errors(cells: list[dict[str, Any]], design: "Design", pilot: "Campaign") -> None:
    """The standard error of the median document: of a total, and of a score against no copy. Nats per token."""
    wanted = [cell for cell in cells if cell.get("rule") != CONTROL]
    if not wanted:
        return
    try:
        noise, _ = measured(pilot, DOCUMENT_RULE, several=False)
    except BadValueError as error:
        raise MemoError(f"{pilot.layout.root}: {error}; memo verify {pilot.layout.root} says what is damaged") from None
    except ValueError:
        return  # said of the rung `document`
    for cell in wanted:
        far = cell["splits_removed"] if cell["kind"] == "knockout" else cell["splits_out"]
        cell["median_se"] = _error(noise, cell["splits_in"]["median"], far["median"], design)


def _error(noise: Noise, inside: float, outside: float, design: "Design") -> float | None:
    blocks = 1 if design.error_block is None else design.splits // design.error_block
    found = float(predict(noise, inside, outside, blocks).se) * noise.median_ratio
    return None if np.isnan(found) else found
