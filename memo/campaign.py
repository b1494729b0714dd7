"""The notebook's front door: opens a campaign directory and gives its tables.

    campaign = memo.open("campaigns/demo")
    campaign.scores(rule="document").nlargest(10, "memorization")

Reading needs no lock and changes nothing. Tables are pandas DataFrames, matrices numpy arrays; documents are in corpus
order everywhere.
"""

from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import safe_open

from memo.campaign_file import load
from memo.config import CampaignConfig
from memo.contrasts import contrast
from memo.design_settings import DOCUMENT_RULE
from memo.errors import MemoError, UsageError
from memo.estimators import Influence, influence, memorization
from memo.estimators.verdicts import MARGIN
from memo.groups import Groups, Index
from memo.imported_scores import of_imported
from memo.layout import Layout
from memo.siblings import SiblingScore, scores_by_siblings
from memo.spectrum import knockout_scores, spectrum
from memo.splits import read_bits
from memo.store import read_record
from memo.tables import ScoredRule, about
from memo.token_scores import token_losses, token_scores
from memo.units import Units, build_units


def open_campaign(path: str | Path) -> "Campaign":
    """Opens a campaign directory for reading; raises `UsageError` where there is none."""
    layout = Layout(Path(path))
    if not layout.config.exists():
        raise UsageError(f"{path}: expected a campaign directory with campaign.yaml, found none; `memo run` makes one")
    return Campaign(layout, load(layout.config))


class Campaign:
    """Tables of one campaign directory, read when asked for."""

    def __init__(self, layout: Layout, config: CampaignConfig) -> None:
        self.layout = layout
        self.config = config

    def __repr__(self) -> str:
        trained = len(self.trained_splits())
        return (
            f"Campaign({str(self.layout.root)!r}: {len(self.doc_ids):,} documents, "
            f"{trained} of {self.config.design.splits} models trained)"
        )

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

    def scores(
        self, rule: str = DOCUMENT_RULE, evaluation: int | None = None, allow_partial: bool = False
    ) -> pd.DataFrame:
        """The score table of a rule, one row per (rule, group_id, doc_id); columns as in `memo.tables.COLUMNS`.

        Without `evaluation` the table on disk; with it, scores computed now from the losses of that evaluation, with
        `allow_partial` from the models that are there. `.attrs` says how many that were (`models`, `of`) and, in
        `until`, the goal that decided how many there are, where one did.
        """
        self._evaluated()
        if evaluation is None:
            if rule != DOCUMENT_RULE:
                self.config.rule(rule)
            self._need(self.layout.scores(rule), "aggregate")
            table = pq.read_table(self.layout.scores(rule))
        else:
            splits = self.splits_that_count(allow_partial)
            scored = self.scored_rule(rule, splits)
            columns = slice(None, len(self.doc_ids))
            losses, correct = (self._rows(name, splits, evaluation, columns) for name in ("loss", "n_correct"))
            table = scored.table([scored.score(0, losses, correct)])
        frame = table.to_pandas()
        frame.attrs.update(about(table))
        return frame

    def controls(self, evaluation: int = -1, allow_partial: bool = False) -> pd.DataFrame:
        """Scores of the texts by which a campaign checks itself: phantoms are null, canaries rise with their copies.

        Columns: doc_id, kind, copies, and as in a score table memorization, se, ci_low, ci_high, p_value, loss_in,
        loss_out, n_in, n_out, reason.
        """
        texts = self.control_texts()
        splits = self.splits_that_count(allow_partial)
        columns = texts["column"].to_numpy()
        losses = np.stack([read_columns(self.layout, split, "loss", evaluation, columns) for split in splits])
        scored = memorization(losses, self.bits("controls")[splits], blocks=self.blocks(np.asarray(splits)))
        names = ("memorization", "se", "ci_low", "ci_high", "p_value", "loss_in", "loss_out", "n_in", "n_out", "reason")
        return texts[["doc_id", "kind", "copies"]].assign(**{name: getattr(scored, name) for name in names})

    def token_losses(self, doc_id: str, allow_partial: bool = False) -> NDArray[np.float32]:
        """Nats of every token of one text under every model, at the last evaluation: (splits that count, tokens).

        doc_id: of a document, an evaluation text or a control. Raises `TokensNotKeptError` where they were not kept.
        """
        return token_losses(self, doc_id, allow_partial)

    def token_scores(
        self, doc_id: str, rule: str = DOCUMENT_RULE, group_id: str | None = None, allow_partial: bool = False
    ) -> pd.DataFrame:
        """Memorization token by token: of which words the models know that trained on it.

        Columns: position, token, start, end (characters of the text), and as in a score table, nats, memorization, se,
        ci_low, ci_high, loss_in, loss_out, n_in, n_out, reason. The mean of `memorization` is the document's score.

        doc_id: of a document, or of a control, whose own coin decides. rule, group_id: what was kept or left out
        together; the group where a document is in several of the rule.
        """
        return token_scores(self, doc_id, rule, group_id, allow_partial)

    def removed(self) -> NDArray[np.bool_]:
        """Which sets each split loses, in the order of `sets()`: (splits, sets)."""
        return self.bits("removed")

    def sets(self) -> pd.DataFrame:
        """What the design removes whole: set, rule, group_id, doc_id; control sets have the rule `size control`."""
        return self._frame(self.layout.sets, "sample")

    def knockout_scores(self, evaluation: int = -1, allow_partial: bool = False) -> pd.DataFrame:
        """What each set that is removed whole does to each of its documents: total, size, excess and rest, nats.

        Columns as in `memo.spectrum.knockout_scores`; the effects are defined in `memo.estimators.knockout`.
        """
        return knockout_scores(self, evaluation, allow_partial)

    def spectrum(self, evaluation: int = -1, margin: float = MARGIN, allow_partial: bool = False) -> pd.DataFrame:
        """Every document under every rule, from the finest to the coarsest, with its verdict: memorized at which rule,
        generalizing, or undecided. Columns as in `memo.spectrum.COLUMNS`.

        margin: nats per token above which a gap counts as memorized.
        """
        return spectrum(self, evaluation, margin, allow_partial)

    def scores_by_siblings(self, rule: str, evaluation: int = -1) -> pd.DataFrame:
        """The document score by the number of other documents of its group (of this rule) in the split.

        Columns as in `memo.siblings.SiblingScore`. Needs a design in which documents of these groups flip coins of
        their own: the rule on a ladder, or the document as the unit.
        """
        documents = contrast(*self.decisions(), self.units, self.rule_groups(DOCUMENT_RULE))
        scores = scores_by_siblings(self.losses(evaluation), self.included(), documents, self.scored_groups(rule))
        return pd.DataFrame([asdict(score) for score in scores], columns=[f.name for f in fields(SiblingScore)])

    def scored_rule(self, rule: str, splits: Sequence[int] | None = None) -> ScoredRule:
        """All but the losses that the score table of this rule needs; from these splits, all by default."""
        groups, design = self.scored_groups(rule), self.config.design
        used = np.arange(design.splits) if splits is None else np.asarray(splits, dtype=np.int64)
        asked, treated = self.decisions()
        scored = ScoredRule(
            name=rule,
            doc_ids=self.doc_ids,
            n_tokens=self.n_tokens,
            groups=groups,
            contrast=contrast(asked[used], treated[used], self.units, groups),
            blocks=self.blocks(used),
            include=design.include,
            models=(len(used), design.splits),
            until=self.config.until.goal,
        )
        return scored if self.config.imported is None else of_imported(scored, self.config.imported)

    def influence(
        self,
        documents: Sequence[str] | None = None,
        texts: Sequence[str] | None = None,
        evaluation: int = -1,
        allow_partial: bool = False,
    ) -> Influence:
        """How much training on each document helps with each text: `.influence` and `.se`, (documents, texts).

        documents, texts: identifiers, all by default; texts are the documents that were evaluated and the evaluation
        texts. A document's own coin decides: one that only moves with others has a row of NaN.
        """
        splits = self.splits_that_count(allow_partial)
        row, column = (_positions(ids, known) for ids, known in ((documents, self.doc_ids), (texts, self.text_ids)))
        unit = self.units.chain[0, row]
        asked, treated = (bits[np.ix_(splits, unit)] for bits in self.decisions())
        losses = np.stack([read_columns(self.layout, split, "loss", evaluation, column) for split in splits])
        alone = self.units.sizes[unit] == 1
        return influence(losses, treated, asked & alone, self.blocks(np.asarray(splits)))

    def trained_splits(self) -> list[int]:
        """Splits whose losses are on disk and count: a model that diverged has none."""
        records = ((s, read_record(self.layout.losses(s))) for s in range(self.config.design.splits))
        return [split for split, record in records if record is not None and "diverged" not in record.notes]

    def missing_by_coin(self, rule: str = DOCUMENT_RULE) -> pd.DataFrame:
        """Are models missing at random? On which side of each group's coin the splits are that have no losses.

        Columns: group_id, planned_in, planned_out (splits whose coin decided the group), missing_in, missing_out, and
        p_value, two-sided by the hypergeometric law of missing splits drawn at random (Fisher's exact test). Sorted by
        it. Empty where no split is missing.
        """
        from scipy.stats import hypergeom

        splits = range(self.config.design.splits)
        missing = sorted(set(splits) - set(self.trained_splits()))
        groups = self.scored_groups(rule)
        coins = contrast(*self.decisions(), self.units, groups)
        inside, outside = coins.treated & coins.valid, ~coins.treated & coins.valid
        planned_in, planned_out = inside.sum(axis=0), outside.sum(axis=0)
        missing_in, missing_out = inside[missing].sum(axis=0), outside[missing].sum(axis=0)
        law = hypergeom(planned_in + planned_out, planned_in, missing_in + missing_out)
        tail = np.minimum(law.cdf(missing_in), law.sf(missing_in - 1))
        table = pd.DataFrame(
            {
                "group_id": groups.ids,
                "planned_in": planned_in,
                "planned_out": planned_out,
                "missing_in": missing_in,
                "missing_out": missing_out,
                "p_value": np.minimum(1.0, 2 * tail),
            }
        )
        return table[missing_in + missing_out > 0].sort_values("p_value", kind="stable", ignore_index=True)

    @cached_property
    def doc_ids(self) -> list[str]:
        self._need(self.layout.documents, "ingest")
        return pq.read_table(self.layout.documents, columns=["doc_id"])["doc_id"].to_pylist()

    @cached_property
    def text_ids(self) -> list[str]:
        """Identifiers of the texts evaluated, as the loss files have them before the controls: documents come first."""
        others = self.evaluation_texts()["doc_id"].tolist() if self.layout.evaluation.exists() else []
        return self.doc_ids[: self._columns] + others

    @cached_property
    def n_tokens(self) -> Index:
        """Scored tokens of every document: (documents,). 1 each in an imported campaign that does not know them."""
        self._need(self.layout.documents, "ingest")
        return pq.read_table(self.layout.documents, columns=["n_tokens"])["n_tokens"].fill_null(1).to_numpy()

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

    def blocks(self, splits: Index) -> Index | None:
        """The block of each split, in a complement design its pair; None where blocks are not balanced."""
        size, imported = self.config.design.error_block, self.config.imported
        if imported is not None and len(imported.blocks) > 1:
            return np.repeat(np.arange(len(imported.blocks)), imported.blocks)[splits]
        return None if size is None else splits // size

    def _trained(self, allow_partial: bool) -> list[int]:
        """Splits with losses that count: all, or those that are there where that is allowed."""
        done, total = self.trained_splits(), self.config.design.splits
        if len(done) < total and not (allow_partial and done):
            go_on = "run it again to go on" if self.config.imported is None else "import the same files again"
            raise MemoError(
                f"{self.layout.root}: {len(done)} of {total} models are there; {go_on}, "
                "or take what is there with allow_partial"
            )
        return done

    def splits_that_count(self, allow_partial: bool = False) -> list[int]:
        """Those with losses; all, unless `allow_partial`. Raises `MemoError`."""
        """The same less those that no score is made from."""
        return self.config.design.scored(self._trained(allow_partial))

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
        return pq.read_table(path).to_pandas()

    def _need(self, path: Path, stage: str) -> None:
        if read_record(path) is None or not path.exists():
            ways = f"`memo {stage} {self.layout.root}` or `memo run`"
            if self.config.imported is not None and stage != "aggregate":
                ways = "the same `memo import` again"
            raise MemoError(f"{path} is not there yet; run {ways}")


def read_losses(layout: Layout, split: int, name: str, evaluation: int, columns: slice) -> NDArray[np.float32]:
    """Columns of one evaluation of one split, without reading the rest of the file."""
    with safe_open(layout.losses(split), framework="numpy") as file:
        tensor = file.get_slice(name)
        evaluations, width = tensor.get_shape()
        if not -evaluations <= evaluation < evaluations:
            raise UsageError(f"evaluation: expected one of {evaluations} (0 to {evaluations - 1}), found {evaluation}")
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


def _positions(ids: Sequence[str] | None, known: Sequence[str]) -> Index:
    """Where these identifiers stand; `UsageError` for one that is not there."""
    if ids is None:
        return np.arange(len(known))
    position = {doc_id: index for index, doc_id in reversed(list(enumerate(known)))}
    missing = [doc_id for doc_id in ids if doc_id not in position]
    if missing:
        raise UsageError(f"expected identifiers of this campaign, found {missing[0]!r}; see documents()")
    return np.array([position[doc_id] for doc_id in ids], dtype=np.int64)
