"""The score table: one row per (rule, group_id, doc_id).

    rule, rows = ScoredRule(...), []
    for block of documents: rows.append(rule.score(start, losses, correct))
    table = rule.table(rows)

Rows of any blocks give the same table, so a campaign is scored in pieces that fit in memory.

Shapes: M splits, N documents, B documents of a block, S groups, G groups of two documents or more, R rows.
"""

import json
import operator
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memo.contrasts import Contrast, PackedContrast
from memo.estimators import benjamini_hochberg, memorization_of
from memo.estimators import sums as partial_sums
from memo.estimators.moments import WIDTH
from memo.estimators.scores import reasons
from memo.estimators.stratified import MINIMUM_FOR_ERROR
from memo.groups import Groups, Index
from memo.scorer import GroupLosses, GroupSums, Part, Piece, Rows, Scorer, pieces
from memo.sets import Removal
from memo.splits import METADATA_KEY

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["COLUMNS", "Rows", "ScoredRule", "about"]

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

OF_LOSS = ("memorization", "se", "ci_low", "ci_high", "loss_in", "loss_out")
OF_ACCURACY = ("accuracy_in", "accuracy_out", "memorization_accuracy")
# Losses of a campaign up to which arithmetic is float64 throughout, about a second. Above, float32 inside a block of
# splits takes half the time, and agrees to 1e-6 nats in the score and 1e-6 relative in the standard error (tested; 5e-6
# where a side has next to no splits; 1e-3 where the mean losses of blocks lie a hundred standard deviations apart, as
# only those of an import can).
EXACT_VALUES = 100_000_000


@dataclass(frozen=True)
class ScoredRule:
    """Everything but the losses that the score table of one rule needs."""

    name: str
    doc_ids: Sequence[str]
    n_tokens: Index  # (N,)
    groups: Groups
    contrast: Contrast | PackedContrast
    blocks: Index | None  # (M,) block of each split; None where blocks are not balanced
    include: float  # probability that a unit is in a split
    models: tuple[int, int]  # splits that the scores are from, and splits of the campaign
    until: Mapping[str, Any] | None = None  # the goal that decided how many splits there are, where one did
    removal: Removal | None = None  # where the design removes sets whole

    def score(self, start: int, losses: NDArray[np.floating], correct: NDArray[np.floating]) -> Rows:
        """Rows of documents start .. start + B. losses: (M, B) nats per token; correct: (M, B) right next tokens."""
        stop = start + losses.shape[1]
        part, groups = self.part(start, stop), self.group_sums(start, stop)
        scorer = Scorer(part)
        for piece in part.pieces:
            scorer.add(piece, losses[piece.splits], correct[piece.splits])
            groups.add(losses[piece.splits])
        return scorer.rows(groups.losses())

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """Splits that are added together."""
        return pieces(self.models[0], self.blocks)

    @cached_property
    def exact(self) -> bool:
        """Whether the arithmetic is float64 throughout; by the size of the campaign, whatever is scored of it."""
        return self.models[0] * len(self.doc_ids) <= EXACT_VALUES

    @cached_property
    def _plain(self) -> bool:
        """Whether row r is document r, a group of its own, number r."""
        index = np.arange(len(self.doc_ids))
        return np.array_equal(self.groups.document, index) and np.array_equal(self.groups.group, index)

    def part(self, start: int, stop: int) -> Part:
        """What scoring the documents start .. stop - 1 takes, and little else: it is sent to workers."""
        low, high = np.searchsorted(self.groups.document, [start, stop])
        document, sets, coins = self.groups.document[low:high] - start, self.groups.group[low:high], self.contrast
        chosen: slice | Index = sets
        if self._plain and isinstance(coins, PackedContrast):
            first = start - start % 8
            chosen, coins = slice(start - first, stop - first), coins.part(slice(first, stop))
        whole = high - low == stop - start and np.array_equal(document, np.arange(stop - start))
        tokens = self.n_tokens[self.groups.document[low:high]]
        row = slice(int(low), int(high))
        return Part(row, start, None if whole else document, chosen, coins, tokens, self.pieces, self.exact)

    @cached_property
    def several(self) -> Index:
        """Groups of two documents or more."""
        return np.flatnonzero(self.groups.sizes > 1)

    def group_sums(self, start: int, stop: int, groups: Index | None = None) -> GroupSums:
        """For the losses of these groups, of all of two or more by default, in documents start .. stop - 1."""
        groups = self.several if groups is None else groups
        low, high = np.searchsorted(self.groups.document, [start, stop]) if len(groups) else (0, 0)
        group = self.groups.group[low:high]
        summed = np.zeros(len(self.groups.ids) if len(groups) else 0, dtype=bool)
        summed[groups] = True
        rows = np.flatnonzero(summed[group])
        return GroupSums(self.groups.document[low:high][rows] - start, group[rows])

    def group_p_values(self, groups: Index, parts: Iterable[GroupLosses]) -> NDArray[np.float64]:
        """(G,) one p-value per group, from the mean loss of its documents."""
        sums = np.zeros((self.models[0], len(groups)))
        for part in parts:
            if len(part.groups):
                sums[:, np.searchsorted(groups, part.groups)] += part.sums
        sums /= self.groups.sizes[groups]
        p_values = np.empty(len(groups))
        for start in range(0, len(groups), WIDTH):
            columns = slice(start, start + WIDTH)
            treated, valid = self.contrast.sides(slice(None), groups[columns])
            sides = treated.view(bool), None if valid is None else valid.view(bool)
            p_values[columns] = memorization_of(partial_sums(sums[:, columns], *sides, self.blocks)).p_value
        return p_values

    @cached_property
    def removed_share(self) -> NDArray[np.float64]:
        """(S,) T(s) / expected training tokens of a split that has s."""
        tokens = self.groups.totals(self.n_tokens)
        return tokens / (tokens + self.include * (self.n_tokens.sum() - tokens))

    def table(self, parts: Sequence[Rows], group_p_values: NDArray[np.float64] | None = None) -> "pa.Table":
        """The table of all rows, in document order. `parts` must cover every document once.

        group_p_values: of `several`; by default from the group losses of the parts.
        """
        import pyarrow as pa

        parts = sorted(parts, key=lambda part: part.row.start)
        covered = [0, *(part.row.stop for part in parts)]
        if covered[-1] != len(self.groups.document) or any(
            p.row.start != c for p, c in zip(parts, covered, strict=False)
        ):
            raise ValueError("expected the rows of every document exactly once")
        if group_p_values is None:
            group_p_values = self.group_p_values(self.several, [part.groups for part in parts if part.groups])
        p_value, n_in, n_out = (_joined(parts, f"loss.{name}") for name in ("p_value", "n_in", "n_out"))
        if len(self.several):
            of_group = np.full(len(self.groups.ids), np.nan)
            of_group[self.several] = group_p_values
            p_value = np.where(self.groups.sizes[self.groups.group] > 1, of_group[self.groups.group], p_value)
        with ThreadPoolExecutor(1) as beside:  # sorting millions of p-values takes as long as all the rest
            q_value = beside.submit(self._q_values, p_value, n_in, n_out)
            columns = {
                **self._labels(),
                **{name: _chunked(parts, f"loss.{name}") for name in OF_LOSS},
                **{name: _chunked(parts, name) for name in OF_ACCURACY},
                "n_in": n_in,
                "n_out": n_out,
                "p_value": p_value,
                "reason": self._reasons(n_in, n_out),
                "q_value": q_value.result(),
            }
        used, planned = self.models
        about = {"models": used, "of": planned, **({"until": dict(self.until)} if self.until else {})}
        return pa.table({name: columns[name] for name in COLUMNS}).replace_schema_metadata(
            {METADATA_KEY: json.dumps(about)}
        )

    def _labels(self) -> dict[str, Any]:
        """What a row is about, known before any model was trained."""
        import pyarrow as pa

        group, document = self.groups.group, self.groups.document
        names = pa.array(self.doc_ids, pa.string())
        same = self._plain and list(self.groups.ids) == list(self.doc_ids)
        groups = names if same else pa.array(self.groups.ids, pa.string())
        return {
            "doc_id": names if self._plain else names.take(pa.array(document)),
            "rule": pa.repeat(pa.scalar(self.name, pa.string()), len(document)),
            "group_id": groups if self._plain else groups.take(pa.array(group)),
            "group_size": self.groups.sizes[group],
            "removed_share": self.removed_share[group],
            "n_tokens": self.n_tokens[document],
        }

    def _q_values(
        self, p_value: NDArray[np.float64], n_in: NDArray[np.int64], n_out: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """(R,) one q-value per group, repeated on each of its rows."""
        if self._plain:
            return benjamini_hochberg(p_value, n_in, n_out)
        group = self.groups.group
        first = _first_rows(group, len(self.groups.ids))
        return benjamini_hochberg(p_value[first], n_in[first], n_out[first])[group]

    def _reasons(self, n_in: NDArray[np.int64], n_out: NDArray[np.int64]) -> "pa.Array":
        """The design's reason where it has one, else the estimator's."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pa.nulls(len(n_in), pa.string())
        if len(n_in) and min(n_in.min(), n_out.min()) < MINIMUM_FOR_ERROR:
            found = pa.array(reasons(n_in, n_out), pa.string())
        given = pa.array(self.contrast.reason, pa.string())
        if given.null_count < len(given):
            found = pc.coalesce(given.take(pa.array(self.groups.group)), found)
        if self.removal is None or found.null_count == len(found):
            return found
        rows = zip(found.to_pylist(), self.groups.group.tolist(), strict=True)
        return pa.array([self.removal.explained(reason, group, self.models[0]) for reason, group in rows], pa.string())


def _joined(parts: Sequence[Rows], name: str) -> NDArray[Any]:
    value = operator.attrgetter(name)
    return np.concatenate([value(part) for part in parts])


def _chunked(parts: Sequence[Rows], name: str) -> "pa.ChunkedArray":
    """The same for a column that nothing is computed from: not copied."""
    import pyarrow as pa

    value = operator.attrgetter(name)
    return pa.chunked_array([pa.array(value(part), pa.float64()) for part in parts], pa.float64())


def about(table: "pa.Table") -> dict[str, Any]:
    """What a score table says of itself; empty for older ones.

    `models`: how many models it is from; `of`: how many the campaign has; `until`: the goal, where splits were added
    until it was met, so that their number was not fixed beforehand.
    """
    found: dict[str, Any] = json.loads((table.schema.metadata or {}).get(METADATA_KEY.encode(), b"{}"))
    return found


def _first_rows(group: Index, groups: int) -> Index:
    """(S,) the first row of every group."""
    first = np.zeros(groups, dtype=np.int64)
    first[group[::-1]] = np.arange(len(group))[::-1]
    return first
