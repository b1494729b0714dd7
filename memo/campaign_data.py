"""What a campaign directory holds: texts, groups, coins, losses, as frames and matrices. `memo.campaign` draws on it.

Shapes: documents are in corpus order everywhere.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import safe_open

from memo.config import CampaignConfig
from memo.design_settings import DOCUMENT_RULE
from memo.errors import MemoError, UsageError
from memo.groups import Groups, Index
from memo.layout import Layout
from memo.sets import Removal, read_sets
from memo.splits import read_bits, read_copies
from memo.store import read_parquet, read_record
from memo.units import Units, build_units


class CampaignData:
    """Tables and matrices of one campaign directory, read when asked for."""

    def __init__(self, layout: Layout, config: CampaignConfig) -> None:
        self.layout = layout
        self.config = config

    def documents(self) -> pd.DataFrame:
        """doc_id, text, n_tokens and the metadata columns."""
        return self._frame(self.layout.documents, "ingest")

    def evaluation_texts(self) -> pd.DataFrame:
        """The same columns, for the texts that are never trained on."""
        return self._frame(self.layout.evaluation, "ingest")

    def control_texts(self) -> pd.DataFrame:
        """Phantoms and canaries: doc_id, text, n_tokens, kind, copies, and their column in the loss files."""
        return self._frame(self.layout.controls, "ingest")

    def rejected(self) -> pd.DataFrame:
        """Every input record that was not kept: source, location, reason, detail."""
        return self._frame(self.layout.rejected, "ingest")

    def rules(self) -> list[str]:
        """Names of the rules of the campaign; `document` is always the first."""
        return [DOCUMENT_RULE, *(spec.name for spec in self.config.rules)]

    def groups(self, rule: str) -> pd.DataFrame:
        """doc_id and group_id of one rule, in document order.

        On a ladder these are the groups of the rung: the rule's own, joined with those of the rungs below.
        """
        if rule in self.config.design.ladder:
            groups = self.scored_groups(rule)
            return pd.DataFrame({"doc_id": self.doc_ids, "group_id": [groups.ids[g] for g in groups.group]})
        if rule == DOCUMENT_RULE:
            return pd.DataFrame({"doc_id": self.doc_ids, "group_id": self.doc_ids})
        self.config.rule(rule)
        return self._frame(self.layout.groups(rule), "group")

    def included(self) -> NDArray[np.bool_]:
        """Which documents each split trains on: (splits, documents)."""
        return self.bits("included")

    def decisions(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether each unit's coin was flipped in each split, and whether it took the unit in: (splits, units) each."""
        return self.bits("asked"), self.bits("treated")

    def losses(self, evaluation: int = -1, allow_partial: bool = False) -> NDArray[np.float32]:
        """Mean loss of every document under every model, nats per token: (splits, documents).

        evaluation: position in `config.training.evaluations`; -1 is the last. A split without a model, or whose model
        diverged, is an error; with `allow_partial` it is a row of NaN.
        """
        return self._matrix("loss", evaluation, slice(None, self._evaluated()), allow_partial)

    def evaluation_losses(self, evaluation: int = -1, allow_partial: bool = False) -> NDArray[np.float32]:
        """The same for the evaluation texts: (splits, texts)."""
        first = self._columns
        texts = pq.read_metadata(self.layout.evaluation).num_rows if self.layout.evaluation.exists() else 0
        return self._matrix("loss", evaluation, slice(first, first + texts), allow_partial)

    def accuracy(self, evaluation: int = -1, allow_partial: bool = False) -> NDArray[np.float64]:
        """Share of a document's tokens that the model predicts right, greedily: (splits, documents).

        NaN in an imported campaign that does not know it.
        """
        correct = self._matrix("n_correct", evaluation, slice(None, self._evaluated()), allow_partial)
        return correct / self.n_tokens

    def removed(self) -> NDArray[np.bool_]:
        """Which sets each split loses, in the order of `sets()`: (splits, sets)."""
        return self.bits("removed")

    def sets(self) -> pd.DataFrame:
        """What the design removes whole: set, rule, group_id, doc_id; control sets have the rule `size control`."""
        return self._frame(self.layout.sets, "sample")

    def trained_splits(self) -> list[int]:
        """Splits whose losses are on disk and count: a model that diverged has none."""
        records = ((s, read_record(self.layout.losses(s))) for s in range(self.config.design.splits))
        return [split for split, record in records if record is not None and "diverged" not in record.notes]

    def splits_that_count(self, allow_partial: bool = False) -> list[int]:
        """Splits with losses that scores are made from; all, unless `allow_partial`. Raises `MemoError`."""
        return self.config.design.scored(self._trained(allow_partial))

    @cached_property
    def doc_ids(self) -> list[str]:
        self._need(self.layout.documents, "ingest")
        return read_parquet(self.layout.documents, columns=["doc_id"])["doc_id"].to_pylist()

    @cached_property
    def text_ids(self) -> list[str]:
        """Identifiers of the texts evaluated, as the loss files have them before the controls: documents come first."""
        others = self.evaluation_texts()["doc_id"].tolist() if self.layout.evaluation.exists() else []
        return self.doc_ids[: self._columns] + others

    @cached_property
    def n_tokens(self) -> Index:
        """Scored tokens of every document: (documents,). 1 each in an imported campaign that does not know them."""
        self._need(self.layout.documents, "ingest")
        return read_parquet(self.layout.documents, columns=["n_tokens"])["n_tokens"].fill_null(1).to_numpy()

    @cached_property
    def units(self) -> Units:
        """What flips coins in this design."""
        return build_units(self.doc_ids, {name: self.rule_groups(name) for name in self.config.design.levels})

    def scored_groups(self, rule: str) -> Groups:
        """The groups that a rule's scores are about."""
        if rule in self.config.design.ladder:
            return self.units.groups(self.config.design.levels.index(rule), self.doc_ids, self.rule_groups(rule))
        return self.rule_groups(rule)

    def rule_groups(self, rule: str) -> Groups:
        """A rule's own groups, as it gave them."""
        if rule == DOCUMENT_RULE:
            return Groups.of_documents(self.doc_ids)
        self.config.rule(rule)
        table = self._frame(self.layout.groups(rule), "group")
        return Groups.of_labels(self.doc_ids, table["doc_id"].tolist(), table["group_id"].tolist())

    def bits(self, name: str) -> NDArray[np.bool_]:
        """One tensor of the block files, as `memo.splits` names them, of all splits."""
        paths = [self.layout.block(block) for block in range(self.config.design.blocks)]
        for path in paths:
            self._need(path, "sample")
        return np.concatenate([read_bits(path, name) for path in paths])

    def removal(self, rule: str, splits: Index) -> Removal | None:
        """What sets that are removed whole do to a rule's plain scores from these splits; None where none are."""
        knockout = self.config.design.knockout
        if knockout is None:
            return None
        sets = read_sets(self.layout.sets, self.doc_ids)
        lost = sets.splits_lost(self.removed()[splits], self.scored_groups(rule))
        return Removal(lost, rule in knockout.sets)

    def copy_counts(self) -> NDArray[np.uint8]:
        """How often each split has each copied document: (splits, copied documents)."""
        paths = [self.layout.block(block) for block in range(self.config.design.blocks)]
        for path in paths:
            self._need(path, "sample")
        return np.concatenate([read_copies(path) for path in paths])

    def blocks(self, splits: Index) -> Index | None:
        """The block of each split, in a complement design its pair; None where blocks are not balanced."""
        size, imported = self.config.design.error_block, self.config.imported
        if imported is not None and len(imported.blocks) > 1:
            return np.repeat(np.arange(len(imported.blocks)), imported.blocks)[splits]
        return None if size is None else splits // size

    @property
    def evaluates_documents(self) -> bool:
        """Whether the losses are those of the documents; False for an import of other texts, which has no scores."""
        return self._columns > 0

    def has_groups(self, rule: str) -> bool:
        """Whether its groups are known: the rule has run, and of a ladder all rungs have."""
        design = self.config.design
        needed = design.levels if rule in design.ladder else (rule,)
        return all(name == DOCUMENT_RULE or _is_there(self.layout.groups(name)) for name in needed)

    def has_scores(self, rule: str = DOCUMENT_RULE) -> bool:
        """Whether the rule's score table is on disk."""
        return self.evaluates_documents and _is_there(self.layout.scores(rule))

    def columns(
        self, name: str, splits: Sequence[int], evaluation: int, columns: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """`loss` or `n_correct` of some columns of the loss files: (splits, columns)."""
        return np.stack([read_columns(self.layout, split, name, evaluation, columns) for split in splits])

    @property
    def _columns(self) -> int:
        """Columns of the loss files that are documents: all of them, or none where other texts were evaluated."""
        imported = self.config.imported
        return len(self.doc_ids) if imported is None or imported.scored else 0

    def _evaluated(self) -> int:
        """The same where it is all of them; raises `UsageError` where it is none."""
        if not self._columns:
            raise UsageError(
                f"{self.layout.root}: the losses are of other texts than the documents trained on, which have no "
                "scores; see evaluation_losses() and influence()"
            )
        return self._columns

    def _trained(self, allow_partial: bool) -> list[int]:
        """Splits with losses that count: all, or those that are there where that is allowed."""
        done, total = self.trained_splits(), self.config.design.splits
        if len(done) < total and not (allow_partial and done):
            go_on = "run it again to go on" if self.config.imported is None else "import the same files again"
            raise MemoError(
                f"{self.layout.root}: {len(done)} of {total} models are there; {go_on}, "
                "or take what is there: --allow-partial, or allow_partial=True in Python"
            )
        return done

    def _rows(self, name: str, splits: Sequence[int], evaluation: int, columns: slice) -> NDArray[np.float32]:
        return np.stack([read_losses(self.layout, split, name, evaluation, columns) for split in splits])

    def _matrix(self, name: str, evaluation: int, columns: slice, allow_partial: bool) -> NDArray[np.float32]:
        done, total = self._trained(allow_partial), self.config.design.splits
        rows = self._rows(name, done, evaluation, columns)
        matrix = np.full((total, rows.shape[1]), np.nan, dtype=np.float32)
        matrix[done] = rows
        return matrix

    def _frame(self, path: Path, stage: str) -> pd.DataFrame:
        self._need(path, stage)
        return read_parquet(path).to_pandas()

    def _need(self, path: Path, stage: str) -> None:
        if not _is_there(path):
            ways = f"`memo {stage} {self.layout.root}` or `memo run`"
            if self.config.imported is not None and stage != "aggregate":
                ways = "the same `memo import` again"
            raise MemoError(f"{path} is not there yet; run {ways}")


def _is_there(path: Path) -> bool:
    return read_record(path) is not None and path.exists()


def read_losses(layout: Layout, split: int, name: str, evaluation: int, columns: slice) -> NDArray[np.float32]:
    """Columns of one evaluation of one split, without reading the rest of the file."""
    with safe_open(layout.losses(split), framework="numpy") as file:
        tensor = file.get_slice(name)
        evaluations, width = tensor.get_shape()
        known = isinstance(evaluation, int | np.integer) and -evaluations <= evaluation < evaluations
        if not known or isinstance(evaluation, bool):
            raise UsageError(
                f"evaluation: expected one of {evaluations} (0 to {evaluations - 1}), found {evaluation!r}"
            )
        start, stop, _ = columns.indices(width)
        return tensor[evaluation % evaluations, start:stop]


def read_columns(
    layout: Layout, split: int, name: str, evaluation: int, columns: NDArray[np.integer]
) -> NDArray[np.float32]:
    """These columns, not far from each other, of one evaluation of one split."""
    if not len(columns):
        return np.zeros(0, dtype=np.float32)
    first = int(columns.min())
    return read_losses(layout, split, name, evaluation, slice(first, int(columns.max()) + 1))[columns - first]
