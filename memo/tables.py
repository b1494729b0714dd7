"""The score table: one row per (rule, group_id, doc_id).

    rule, rows = ScoredRule(...), []
    for block of documents: rows.append(rule.score(start, losses, correct))
    table = rule.table(rows)

Rows of any blocks give the same table, so a campaign is scored in pieces that fit in memory.

Shapes: M splits, N documents, B documents of a block, S groups, R rows.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memo.contrasts import Contrast
from memo.estimators import Memorization, benjamini_hochberg, memorization
from memo.groups import Groups, Index
from memo.splits import METADATA_KEY

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = {
    "doc_id": "the document",
    "rule": "the duplication rule: what was kept or left out together",
    "group_id": "the group; under the rule `document` the document itself",
    "group_size": "documents in the group",
    "removed_share": "tokens of the group / expected training tokens of a split that has it",
    "memorization": "mean loss out - mean loss in, nats per token; positive = memorized",
    "se": "standard error of memorization, stratified by block",
    "ci_low": "lower end of the 95 % t interval",
    "ci_high": "upper end of the 95 % t interval",
    "p_value": "two-sided, for the mean loss of the whole group: equal for its members",
    "q_value": "Benjamini-Hochberg over the rule's groups; only with 16 splits or more on both sides",
    "loss_in": "mean loss of the models that trained on it, nats per token",
    "loss_out": "mean loss of the models that did not",
    "n_in": "splits on the in side",
    "n_out": "splits on the out side",
    "accuracy_in": "mean share of next tokens predicted right, models that trained on it",
    "accuracy_out": "the same, models that did not",
    "memorization_accuracy": "accuracy_in - accuracy_out",
    "n_tokens": "tokens of the document that are scored",
    "reason": "why a value of the row is missing; empty where none is",
}


@dataclass(frozen=True)
class Rows:
    """Scores of the rows whose documents lie in one block, and their share of the group losses."""

    row: slice
    loss: Memorization
    accuracy: Memorization
    grouped: Index  # groups of two or more with a document in the block
    group_losses: NDArray[np.float64]  # (M, len(grouped)), summed over the block's documents


@dataclass(frozen=True)
class ScoredRule:
    """Everything but the losses that the score table of one rule needs."""

    name: str
    doc_ids: Sequence[str]
    n_tokens: Index  # (N,)
    groups: Groups
    contrast: Contrast
    blocks: Index | None  # (M,) block of each split; None where blocks are not balanced
    include: float  # probability that a unit is in a split
    models: tuple[int, int]  # splits that the scores are from, and splits of the campaign

    def score(self, start: int, losses: NDArray[np.floating], correct: NDArray[np.floating]) -> Rows:
        """Rows of documents start .. start + B. losses: (M, B) nats per token; correct: (M, B) right next tokens."""
        stop = start + losses.shape[1]
        low, high = np.searchsorted(self.groups.document, [start, stop])
        document, group = self.groups.document[low:high], self.groups.group[low:high]
        treated, valid = self.contrast.treated[:, group], self.contrast.valid[:, group]
        row_losses = losses[:, document - start].astype(np.float64)
        accuracy = correct[:, document - start] / self.n_tokens[document]
        several = self.groups.sizes[group] > 1
        grouped, inverse = np.unique(group[several], return_inverse=True)
        sums = np.zeros((len(grouped), len(losses)))
        np.add.at(sums, inverse, row_losses[:, several].T)
        return Rows(
            slice(int(low), int(high)),
            memorization(row_losses, treated, valid, self.blocks),
            memorization(accuracy, treated, valid, self.blocks),
            grouped,
            sums.T,
        )

    @cached_property
    def removed_share(self) -> NDArray[np.float64]:
        """(S,) T(s) / expected training tokens of a split that has s."""
        tokens = self.groups.totals(self.n_tokens)
        return tokens / (tokens + self.include * (self.n_tokens.sum() - tokens))

    def table(self, parts: Sequence[Rows]) -> "pa.Table":
        """The table of all rows, in document order. `parts` must cover every document once, in order."""
        import pyarrow as pa

        parts = sorted(parts, key=lambda part: part.row.start)
        covered = [0, *(part.row.stop for part in parts)]
        if covered[-1] != len(self.groups.document) or any(
            p.row.start != c for p, c in zip(parts, covered, strict=False)
        ):
            raise ValueError("expected the rows of every document exactly once")
        group, document = self.groups.group, self.groups.document

        def joined(of: str, name: str) -> NDArray[Any]:
            return np.concatenate([getattr(getattr(part, of), name) for part in parts])

        p_value = self._unit_p_values(parts, joined("loss", "p_value"))
        n_in, n_out = joined("loss", "n_in"), joined("loss", "n_out")
        first = _first_rows(group, len(self.groups.ids))
        q_value = benjamini_hochberg(p_value[first], n_in[first], n_out[first])[group]
        reason = np.where(self.contrast.reason[group] != None, self.contrast.reason[group], joined("loss", "reason"))  # noqa: E711 - elementwise
        columns = {
            "doc_id": pa.array([self.doc_ids[d] for d in document], pa.string()),
            "rule": pa.array([self.name] * len(document), pa.string()),
            "group_id": pa.array([self.groups.ids[g] for g in group], pa.string()),
            "group_size": self.groups.sizes[group],
            "removed_share": self.removed_share[group],
            **{name: joined("loss", name) for name in ("memorization", "se", "ci_low", "ci_high")},
            "p_value": p_value,
            "q_value": q_value,
            **{name: joined("loss", name) for name in ("loss_in", "loss_out")},
            "n_in": n_in,
            "n_out": n_out,
            "accuracy_in": joined("accuracy", "loss_in"),
            "accuracy_out": joined("accuracy", "loss_out"),
            "memorization_accuracy": -joined("accuracy", "memorization"),
            "n_tokens": self.n_tokens[document],
            "reason": pa.array(reason.tolist(), pa.string()),
        }
        used, planned = self.models
        return pa.table({name: columns[name] for name in COLUMNS}).replace_schema_metadata(
            {METADATA_KEY: json.dumps({"models": used, "of": planned})}
        )

    def _unit_p_values(self, parts: Sequence[Rows], p_value: NDArray[np.float64]) -> NDArray[np.float64]:
        """(R,) one p-value per group, from the mean loss of its documents, repeated on each of its rows."""
        several = np.flatnonzero(self.groups.sizes > 1)
        if not len(several):
            return p_value
        position = np.full(len(self.groups.ids), -1)
        position[several] = np.arange(len(several))
        sums = np.zeros((len(self.contrast.treated), len(several)))
        for part in parts:
            sums[:, position[part.grouped]] += part.group_losses
        means = sums / self.groups.sizes[several]
        treated, valid = self.contrast.treated[:, several], self.contrast.valid[:, several]
        of_group = memorization(means, treated, valid, self.blocks).p_value
        row = position[self.groups.group]
        return np.where(row >= 0, of_group[row], p_value)


def models_of(table: "pa.Table") -> dict[str, int]:
    """`models`: how many models a score table is from; `of`: how many the campaign has. Empty for older tables."""
    found: dict[str, int] = json.loads((table.schema.metadata or {}).get(METADATA_KEY.encode(), b"{}"))
    return found


def _first_rows(group: Index, groups: int) -> Index:
    """(S,) the first row of every group."""
    first = np.zeros(groups, dtype=np.int64)
    first[group[::-1]] = np.arange(len(group))[::-1]
    return first
