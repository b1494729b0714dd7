"""Sets of documents that a campaign removes whole by coins of their own, and the control sets beside them; documents
that it takes in several times.

    sets = read_sets(layout.sets)
    sets.members                        documents and sets, a row for every document of every set

Sets may overlap. A control set holds random documents and says what the loss of so many tokens does by itself.

Shapes: N documents, S sets, R rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memo.groups import Groups, Index
from memo.store import read_parquet

CONTROL = "size control"  # in place of the rule's name; no rule can have it, because of the space


@dataclass(frozen=True)
class Removal:
    """What the removal of sets does to the plain scores of a rule's groups, G of them."""

    lost: Index  # (G,) splits in which a set with a document of the group is removed: they do not count
    of_sets: bool  # the groups are themselves removed whole

    def explained(self, reason: str | None, group: int, splits: int) -> str | None:
        """The reason for a missing value, with what the sets have to do with it. splits: of all."""
        if reason is None or not self.lost[group]:
            return reason
        if self.of_sets:
            return f"removed whole by a coin of its own, see memo spectrum and knockout_scores(); plain score: {reason}"
        return f"{reason}; {self.lost[group]} of {splits} splits do not count, they lost a document of it with a set"


@dataclass(frozen=True)
class Sets:
    """Sets in a fixed order; `rule[s]` and `group[s]` say where set s comes from."""

    rule: tuple[str, ...]  # (S,)
    group: tuple[str, ...]  # (S,)
    members: tuple[Index, Index]  # documents and sets, (R,) each, by set

    @classmethod
    def of_groups(cls, rules: dict[str, Groups], controls: Sequence[Index] = ()) -> "Sets":
        """The groups of these rules, in their order, and control sets as positions of their documents."""
        names: list[str] = []
        labels: list[str] = []
        documents: list[Index] = []
        for rule, groups in rules.items():
            order = np.lexsort((groups.document, groups.group))
            cuts = np.searchsorted(groups.group[order], np.arange(1, len(groups.ids)))
            documents += np.split(groups.document[order], cuts)
            names += [rule] * len(groups.ids)
            labels += groups.ids
        for number, chosen in enumerate(controls):
            documents.append(np.sort(chosen))
            names.append(CONTROL)
            labels.append(str(number))
        sizes = [len(part) for part in documents]
        column = np.concatenate([np.empty(0, dtype=np.int64), *documents])
        return cls(tuple(names), tuple(labels), (column, np.repeat(np.arange(len(sizes)), sizes)))

    @property
    def count(self) -> int:
        return len(self.rule)

    @cached_property
    def controls(self) -> Index:
        """Positions of the control sets."""
        return np.flatnonzero(np.array([rule == CONTROL for rule in self.rule], dtype=bool))

    def of_rule(self, rule: str) -> Index:
        """Positions of the sets of one rule."""
        return np.flatnonzero(np.array([name == rule for name in self.rule], dtype=bool))

    def tokens(self, n_tokens: NDArray[np.integer]) -> Index:
        """Tokens of each set, (S,), from those of each document, (N,)."""
        document, group = self.members
        weights = np.asarray(n_tokens, dtype=np.float64)[document]
        return np.bincount(group, weights=weights, minlength=self.count).astype(np.int64)

    def gone(self, removed: NDArray[np.bool_], documents: int) -> NDArray[np.bool_]:
        """Which documents each split loses: (b, N), from the coins of the sets, (b, S)."""
        document, group = self.members
        lost = np.zeros((len(removed), documents), dtype=bool)
        for split, row in enumerate(removed):
            lost[split, document[row[group]]] = True
        return lost

    def splits_lost(self, removed: NDArray[np.bool_], groups: Groups) -> Index:
        """(G,) in how many splits a set with a document of the group is removed; removed: (M, S)."""
        lost = np.zeros(len(groups.ids), dtype=np.int64)
        for row in removed:
            gone = self.gone(row[None], groups.documents)[0]
            lost += np.bincount(groups.group, weights=gone[groups.document], minlength=len(groups.ids)) > 0
        return lost

    def number_of(self, documents: int) -> Index:
        """(N,) how many sets each document is in."""
        return np.bincount(self.members[0], minlength=documents)


def write_sets(path: Path, sets: Sets, doc_ids: Sequence[str]) -> None:
    """As Parquet: set, rule, group_id, doc_id; a row for every document of every set."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    document, group = sets.members
    columns = {
        "set": group,
        "rule": [sets.rule[s] for s in group],
        "group_id": [sets.group[s] for s in group],
        "doc_id": [doc_ids[d] for d in document],
    }
    pq.write_table(pa.table(columns), path)


def read_sets(path: Path, doc_ids: Sequence[str]) -> Sets:
    """From such a file."""
    table = read_parquet(path)
    position = {doc_id: place for place, doc_id in enumerate(doc_ids)}
    group = table["set"].to_numpy()
    document = np.array([position[doc_id] for doc_id in table["doc_id"].to_pylist()], dtype=np.int64)
    _, first = np.unique(group, return_index=True)
    rule, label = table["rule"].to_pylist(), table["group_id"].to_pylist()
    return Sets(tuple(rule[i] for i in first), tuple(label[i] for i in first), (document, group))


def write_copied(path: Path, copied: Index, doc_ids: Sequence[str]) -> None:
    """Documents that splits have so many times, as Parquet: doc_id, and document, its position in the corpus."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = pa.array([doc_ids[place] for place in copied], pa.string())
    pq.write_table(pa.table({"doc_id": names, "document": copied}), path)


def read_copied(path: Path) -> Index:
    """Positions of the documents of such a file: (C,), rising."""
    positions: Index = read_parquet(path, columns=["document"])["document"].to_numpy()
    return positions
