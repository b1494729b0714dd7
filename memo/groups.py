"""Groups of documents, as arrays.

A rule's groups are rows (document, group): one row for each document of each group. In a partition every document
stands in at most one row; a passage or a topic may share documents with another.

Shapes: N documents, S groups, R rows.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Groups:
    """Rows in document order; `ids[group[r]]` is the label of row r."""

    ids: tuple[str, ...]
    document: Index  # (R,)
    group: Index  # (R,)
    documents: int

    @classmethod
    def of_labels(cls, doc_ids: list[str], row_doc_ids: list[str], row_group_ids: list[str]) -> "Groups":
        """From the two columns of a groups table."""
        position = {doc_id: index for index, doc_id in enumerate(doc_ids)}
        known: dict[str, int] = {}
        group = np.array([known.setdefault(label, len(known)) for label in row_group_ids], dtype=np.int64)
        document = np.array([position[doc_id] for doc_id in row_doc_ids], dtype=np.int64)
        order = np.lexsort((group, document))
        return cls(tuple(known), document[order], group[order], len(doc_ids))

    @classmethod
    def of_documents(cls, doc_ids: list[str]) -> "Groups":
        """Every document a group of its own, labelled with its identifier."""
        index = np.arange(len(doc_ids))
        return cls(tuple(doc_ids), index, index, len(doc_ids))

    @cached_property
    def sizes(self) -> Index:
        """Documents in each group: (S,)."""
        return np.bincount(self.group, minlength=len(self.ids))

    @property
    def is_partition(self) -> bool:
        """True where no document stands in two groups."""
        return len(np.unique(self.document)) == len(self.document)

    def totals(self, values: NDArray[np.floating] | Index) -> NDArray[np.float64]:
        """Sum over each group's documents of a value per document (N,): (S,)."""
        weights = np.asarray(values, dtype=np.float64)[self.document]
        return np.bincount(self.group, weights=weights, minlength=len(self.ids)).astype(np.float64)

    def labels(self) -> Index:
        """(N,) number of the group of every document; one without a group is numbered as a group of its own.

        Only for partitions.
        """
        if not self.is_partition:
            raise ValueError("groups that overlap cannot be units of a design")
        label = np.full(self.documents, -1, dtype=np.int64)
        label[self.document] = self.group
        alone = label < 0
        label[alone] = len(self.ids) + np.arange(int(alone.sum()))
        return label
