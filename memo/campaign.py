"""The notebook's front door: opens a campaign directory and gives its tables.

    campaign = memo.open("campaigns/demo")
    campaign.scores(rule="document").nlargest(10, "memorization")

Reading needs no lock and changes nothing. Tables are pandas DataFrames, matrices numpy arrays; documents are in corpus
order everywhere.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memo.campaign_card import card_html, card_text
from memo.campaign_data import CampaignData
from memo.campaign_file import load
from memo.contrasts import contrast
from memo.copies import copied_of, copies_scores
from memo.design_settings import DOCUMENT_RULE
from memo.document import document_data
from memo.errors import UsageError
from memo.estimators import Influence, influence, memorization
from memo.estimators.verdicts import MARGIN
from memo.groups import Index
from memo.imported_scores import of_imported
from memo.layout import Layout
from memo.missing import missing_by_coin
from memo.shown_document import ShownDocument
from memo.siblings import SiblingScore, scores_by_siblings
from memo.spectrum import knockout_scores, spectrum
from memo.spectrum_controls import spectrum_controls
from memo.store import read_parquet
from memo.tables import ScoredRule, about
from memo.token_scores import token_losses, token_scores
from memo.training_logs import training_log
from memo.trends import scores_by_epoch, simplicities


def open_campaign(path: str | Path) -> "Campaign":
    """Opens a campaign directory for reading; raises `UsageError` where there is none."""
    layout = Layout(Path(path))
    if not layout.config.exists():
        raise UsageError(f"{path}: expected a campaign directory with campaign.yaml, found none; `memo run` makes one")
    return Campaign(layout, load(layout.config))


class Campaign(CampaignData):
    """Tables of one campaign directory, read when asked for."""

    def __repr__(self) -> str:
        return card_text(self)

    def _repr_html_(self) -> str:
        return card_html(self)

    def document(self, doc_id: str) -> ShownDocument:
        """One document, which a notebook shows with coloured tokens, its scores under every rule and its groups.

        `.data` has all of it as plain data, with the keys of `memo.document.FIELDS`. Raises `UsageError` for an id that
        is not there.
        """
        return ShownDocument(document_data(self, doc_id))

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
            table = read_parquet(self.layout.scores(rule))
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
        losses = self.columns("loss", splits, evaluation, columns)
        scored = memorization(losses, self.bits("controls")[splits], blocks=self.blocks(np.asarray(splits)))
        names = ("memorization", "se", "ci_low", "ci_high", "p_value", "loss_in", "loss_out", "n_in", "n_out", "reason")
        return texts[["doc_id", "kind", "copies"]].assign(**{name: getattr(scored, name) for name in names})

    def simplicity(self, evaluation: int = -1, allow_partial: bool = False) -> pd.DataFrame:
        """How easy each document is for models of this kind, trained on it or not (arXiv 2112.12938, equation 2).

        Columns: doc_id, mean_loss (nats per token), mean_accuracy (share of tokens), over all models. A simple document
        has a low loss. `scores.merge(campaign.simplicity(), on="doc_id")` is what `analysis.plots.simplicity` draws.
        """
        return simplicities(self, evaluation, allow_partial)

    def by_epoch(self, rule: str = DOCUMENT_RULE, allow_partial: bool = False) -> pd.DataFrame:
        """Mean score of the documents after each number of epochs that was evaluated.

        Columns as in `memo.trends.EPOCH_COLUMNS`: epoch, documents, memorization, p10, p90, loss_in, loss_out.
        """
        return scores_by_epoch(self, rule, allow_partial)

    def diagnostics(self) -> dict[str, Any]:
        """What the last aggregation found out: `controls`, and for each of `rules` reliability and resolvable gap.

        Plain data. Raises `MemoError` where no aggregation is done.
        """
        self._need(self.layout.diagnostics, "aggregate")
        found: dict[str, Any] = json.loads(self.layout.diagnostics.read_text(encoding="utf-8"))
        return found

    def training_log(self) -> pd.DataFrame:
        """Steps of the trainings, about one a second: split, epoch, step, steps, loss, tokens_per_s, time.

        Empty where no log tells of a step; columns as in `memo.training_logs.COLUMNS`.
        """
        return training_log(self.layout, range(self.config.design.splits))

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

    def copies(self) -> pd.DataFrame:
        """How often each split has each copied document: an integer for every split and doc_id of `design.copies`."""
        copied, copies = copied_of(self)
        return pd.DataFrame(copies, columns=[self.doc_ids[place] for place in copied])

    def copies_scores(self, evaluation: int = -1, allow_partial: bool = False) -> pd.DataFrame:
        """What so many copies of a document do: a row for every copied document and number of copies but 0.

        Columns as in `memo.copies.COLUMNS`; `memo.copies.dose_curve_of` takes the mean over documents. `scores()`
        counts a copied document as in where a split has at least one copy.
        """
        return copies_scores(self, evaluation, allow_partial)

    def knockout_scores(self, evaluation: int = -1, allow_partial: bool = False) -> pd.DataFrame:
        """What each set that is removed whole does to each of its documents: total, size, excess and rest, nats.

        Columns as in `memo.spectrum.knockout_scores`; the effects are defined in `memo.estimators.knockout`.
        """
        return knockout_scores(self, evaluation, allow_partial)

    def spectrum(
        self, evaluation: int | None = -1, margin: float = MARGIN, allow_partial: bool = False
    ) -> pd.DataFrame:
        """Every document under every rule, from the finest to the coarsest, with its verdict: memorized at which rule,
        generalizing, or undecided. Columns as in `memo.spectrum.COLUMNS`.

        evaluation: None takes the scores of the last one from their tables on disk. margin: nats per token above which
        a gap counts as memorized.
        """
        return spectrum(self, evaluation, margin, allow_partial)

    def spectrum_controls(
        self, evaluation: int = -1, margin: float = MARGIN, allow_partial: bool = False
    ) -> pd.DataFrame:
        """The phantoms on the spectrum, each in the place of a document (`stands_for`): at most 5 % should be called
        memorized. Columns else as of `spectrum()`.
        """
        return spectrum_controls(self, evaluation, margin, allow_partial)

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
            removal=self.removal(rule, used),
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
        losses = self.columns("loss", splits, evaluation, column)
        alone = self.units.sizes[unit] == 1
        return influence(losses, treated, asked & alone, self.blocks(np.asarray(splits)))

    def missing_by_coin(self, rule: str = DOCUMENT_RULE) -> pd.DataFrame:
        """Are models missing at random? On which side of each group's coin the splits are that have no losses.

        Columns: group_id, planned_in, planned_out (splits whose coin decided the group), missing_in, missing_out, and
        p_value, two-sided by the hypergeometric law of missing splits drawn at random (Fisher's exact test). Sorted by
        it. Empty where no split is missing.
        """
        return missing_by_coin(self, rule)


def _positions(ids: Sequence[str] | None, known: Sequence[str]) -> Index:
    """Where these identifiers stand; `UsageError` for one that is not there."""
    if ids is None:
        return np.arange(len(known))
    position = {doc_id: index for index, doc_id in reversed(list(enumerate(known)))}
    missing = [doc_id for doc_id in ids if doc_id not in position]
    if missing:
        raise UsageError(f"expected identifiers of this campaign, found {missing[0]!r}; see documents()")
    return np.array([position[doc_id] for doc_id in ids], dtype=np.int64)
