"""A campaign directory as its stages see it: the paths, the configuration, and what every artifact is made from.

The inputs of an artifact are plain data; their hash is its fingerprint. A loss depends on corpus, tokenizer, its own
split, model, training and evaluation texts, so a rule outside the design, more splits in whole blocks, or other workers
leave it as it is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memo.campaign_file import load
from memo.config import CampaignConfig, RuleSpec
from memo.design_settings import DOCUMENT_RULE
from memo.errors import MemoError, UsageError
from memo.layout import Layout
from memo.store import Record, differences, fingerprint, is_done, read_record, refuse_changed, write_text
from subsets.registry import TIMEOUT, source_of

# They change where and how fast a model is trained, or what is kept of it, never its losses by design.
STAGE_OF_FOLDER = {"corpus": "ingest", "groups": "group", "design": "sample", "losses": "train", "scores": "aggregate"}
PAGE = 2  # what the report shows; a page of another number is made anew
NOT_IN_LOSSES = {"device", "stack", "keep_weights", "keep_token_losses", "checkpoint_minutes"}


@dataclass(frozen=True)
class Workspace:
    """One campaign directory and its configuration."""

    layout: Layout
    config: CampaignConfig

    @property
    def rules(self) -> list[str]:
        """Rules that have a score table. Where no document was evaluated there are no scores."""
        if self.config.imported is not None and not self.config.imported.scored:
            return []
        return [DOCUMENT_RULE, *(spec.name for spec in self.config.rules)]

    def ingest_inputs(self) -> dict[str, Any]:
        if self.config.imported is not None:
            return {"imported": self.config.imported.source()}
        data = self.config.resolved()
        return {name: data[name] for name in ("corpus", "evaluation", "tokenizer", "controls", "seed")}

    def corpus_files(self) -> list[Path]:
        layout = self.layout
        if self.config.imported is not None:
            return [layout.documents, layout.evaluation, layout.controls]
        own = [layout.controls, layout.rejected, layout.tokens, layout.tokenizer]
        return [layout.documents, layout.evaluation, *own]

    def corpus_fingerprint(self) -> str:
        layout = self.layout
        files = (layout.documents, layout.evaluation, layout.controls, layout.tokens)
        return fingerprint({path.name: _sha(path) for path in files})

    def group_inputs(self, spec: RuleSpec) -> dict[str, Any]:
        data = spec.model_dump(mode="json")
        return {
            "documents": _sha(self.layout.documents),
            "rule": spec.rule.rpartition(":")[2],
            "parameters": {key: value for key, value in data.items() if key not in ("name", "rule", TIMEOUT)},
            "source": source_of(spec),
        }

    def block_inputs(self, block: int) -> dict[str, Any]:
        return {
            "documents": _sha(self.layout.documents),
            "controls": _sha(self.layout.controls),
            "design": self._design_inputs(),
            "units": {name: _sha(self.layout.groups(name)) for name in self.design_rules()},
            "seed": self.config.seed,
            "number": block,
            **({"sets": _sha(self.layout.sets)} if self.config.design.knockout is not None else {}),
            **({"copied": _sha(self.layout.copied)} if self.config.design.copies is not None else {}),
            **(self.ingest_inputs() if self.config.imported is not None else {}),
        }

    def blocks_to_draw(self) -> list[int]:
        """Blocks of splits that are not there, or not as they should be."""
        blocks = range(self.config.design.blocks)
        if self.config.design.copies is not None and not is_done(self.layout.copied, self.copied_inputs()):
            return list(blocks)  # what they are made from is not known
        if self.config.design.knockout is not None and not is_done(self.layout.sets, self.sets_inputs()):
            return list(blocks)
        return [block for block in blocks if not is_done(self.layout.block(block), self.block_inputs(block))]

    def sets_inputs(self) -> dict[str, Any]:
        """Of the sets that the design removes, and their control sets."""
        knockout = self.config.design.knockout
        names = () if knockout is None else knockout.sets
        return {
            "documents": _sha(self.layout.documents),
            "knockout": None if knockout is None else knockout.model_dump(mode="json"),
            "rules": {name: _sha(self.layout.groups(name)) for name in names},
            "seed": self.config.seed,
            **({"copied": _sha(self.layout.copied)} if self.config.design.copies is not None else {}),
        }

    def copied_inputs(self) -> dict[str, Any]:
        """Of the list of the documents that the design copies; which stand alone depends on all that flips coins."""
        design = self._design_inputs()
        return {
            "documents": _sha(self.layout.documents),
            "design": {name: design.get(name) for name in ("unit", "ladder", "include", "knockout", "copies")},
            "rules": {name: _sha(self.layout.groups(name)) for name in self.design_rules()},
            "seed": self.config.seed,
        }

    def loss_inputs(self, split: int) -> dict[str, Any]:
        if self.config.imported is not None:
            block = _sha(self.layout.block(split // self.config.design.block_size))
            return {**self.ingest_inputs(), "documents": _sha(self.layout.documents), "block": block, "split": split}
        data = self.config.resolved()
        return {
            "corpus": self.corpus_fingerprint(),
            "block": _sha(self.layout.block(split // self.config.design.block_size)),
            "split": split,
            "context_tokens": self.config.context_tokens,
            "model": data["model"],
            "training": {key: value for key, value in data["training"].items() if key not in NOT_IN_LOSSES},
            "seed": self.config.seed,
        }

    def score_inputs(self, rule: str, splits: Sequence[int] | None = None) -> dict[str, Any]:
        """Of a table from these splits; all of them by default, which are not there until every model is trained."""
        design = self.config.design
        used = range(design.splits) if splits is None else splits
        return {
            "rule": rule,
            "documents": _sha(self.layout.documents),
            "groups": None if rule == DOCUMENT_RULE else _sha(self.layout.groups(rule)),
            "blocks": fingerprint({str(b): _sha(self.layout.block(b)) for b in range(design.blocks)}),
            "losses": fingerprint({str(s): _sha(self.layout.losses(s)) for s in used}),
            **({"until": goal} if (goal := self.config.until.goal) else {}),
        }

    def report_inputs(self) -> dict[str, Any]:
        """Of the page: the tables, which change with the losses, what it says of settings, and its title."""
        settings = {name: value for name, value in self.config.resolved().items() if name != "cluster"}
        return {
            "page": PAGE,
            "name": self.layout.root.resolve().name,
            "documents": _sha(self.layout.documents),
            "scores": {rule: _sha(self.layout.scores(rule)) for rule in self.rules},
            "settings": fingerprint(settings),
        }

    def ingested(self) -> bool:
        return all(is_done(path, self.ingest_inputs()) for path in self.corpus_files())

    def split_done(self, split: int) -> bool:
        """Losses there and verified, and the weights where they are wanted. A split that diverged is done, too.

        So are the losses of tokens where they were kept. Wanting them later does not make a split undone: by default
        they are wanted, and campaigns from before there were any would train again.
        """
        if not is_done(self.layout.losses(split), self.loss_inputs(split)):
            return False
        if self.kept_tokens(split) and read_record(self.layout.token_losses(split)) is None:
            return False
        wanted = self.config.training.keep_weights and self.diverged(split) is None
        weights = self.layout.weights(split)
        return not wanted or (weights.is_dir() and read_record(weights) is not None)

    def diverged(self, split: int) -> str | None:
        """Where the loss of a split turned NaN or infinite, if it did; its losses are NaN and never count."""
        record = read_record(self.layout.losses(split))
        return None if record is None or "diverged" not in record.notes else str(record.notes["diverged"]["message"])

    def kept_tokens(self, split: int) -> bool:
        """Whether losses of single tokens were kept when the split was trained."""
        record = read_record(self.layout.losses(split))
        return record is not None and bool(record.notes.get("token_losses"))

    def usable_splits(self) -> list[int]:
        """Splits that are done and did not diverge. Verifies them."""
        splits = range(self.config.design.splits)
        return [split for split in splits if self.split_done(split) and self.diverged(split) is None]

    def refuse_changes(self) -> None:
        """Raises `UsageError` with both values where a setting differs from what finished work was made with.

        Only work that cannot simply be made anew is protected: corpus, splits and losses. Groups and score tables of
        rules outside the design are remade.
        """
        if read_record(self.layout.documents) is None:
            return  # the last file of the corpus: before it there is nothing to protect
        refuse_changed(self.layout.documents, self.ingest_inputs())
        block = read_record(self.layout.block(0))
        if block is not None:
            self._refuse_another_design(block)
            for name in self.design_rules():
                refuse_changed(self.layout.groups(name), self.group_inputs(self.config.rule(name)))
            if all(read_record(self.layout.groups(name)) is not None for name in self.design_rules()):
                refuse_changed(self.layout.block(0), self.block_inputs(0))
        self._refuse_other_losses()

    def _refuse_other_losses(self) -> None:
        """All splits share their settings. Where one of them agrees, others are strays and are simply made anew."""
        for split in self._recorded_losses():
            record = read_record(self.layout.losses(split))
            if record is not None and record.fingerprint == fingerprint(self.loss_inputs(split)):
                return
        for split in self._recorded_losses():
            refuse_changed(self.layout.losses(split), self.loss_inputs(split))

    def _refuse_another_design(self, block: Record) -> None:
        """Before the groups: those of a rule that was not in the design say nothing about what changed."""
        recorded = {"design": block.inputs.get("design")}
        changes = differences(recorded, {"design": self._design_inputs()})
        if changes:
            raise UsageError(f"{'; '.join(changes[:2])}. Set it back, or use another --dir")

    def _design_inputs(self) -> dict[str, Any]:
        design = self.config.design
        return {
            "base": design.base,
            "unit": design.unit,
            "ladder": list(design.ladder),
            "include": design.include,
            "block": design.block_size,
            **({"knockout": design.knockout.model_dump(mode="json")} if design.knockout is not None else {}),
            **({"copies": design.copies.model_dump(mode="json")} if design.copies is not None else {}),
        }

    def design_rules(self) -> list[str]:
        """Rules whose groups the splits depend on."""
        return list(self.config.design.rules)

    def _recorded_losses(self) -> Iterator[int]:
        return (s for s in range(self.config.design.splits) if read_record(self.layout.losses(s)) is not None)


def _sha(path: Path) -> str:
    record = read_record(path)
    if record is None:
        stage = STAGE_OF_FOLDER[path.parent.name]
        raise MemoError(f"{path} is not there yet; run `memo {stage}` first, or `memo run` for all stages")
    return record.sha256


def open_workspace(root: Path) -> Workspace:
    """An existing campaign directory with its own saved configuration."""
    layout = Layout(root)
    if not layout.config.exists():
        raise UsageError(f"{root}: expected a campaign directory with campaign.yaml, found none; `memo run` makes one")
    return Workspace(layout, load(layout.config))


def refuse_imported(config: CampaignConfig, root: Path) -> None:
    """Raises `UsageError` for a campaign whose losses were made elsewhere: nothing of it can be made anew here."""
    if config.imported is not None:
        raise UsageError(
            f"{root}: expected a campaign that memo trains, found one made by `memo import`, whose documents, coins "
            f"and losses are given; make scores of them with memo aggregate {root}, or finish the same import"
        )


def settle(config: CampaignConfig, root: Path) -> Workspace:
    """Takes a configuration for a directory, new or not. Only for the holder of the lock.

    Raises `UsageError` where the directory was made with other settings; otherwise saves the resolved configuration.
    """
    workspace = settled(config, root)
    layout, text = workspace.layout, workspace.config.to_yaml()
    if not layout.config.exists() or layout.config.read_text(encoding="utf-8") != text:
        write_text(layout.config, text)
    return workspace


def settled(config: CampaignConfig, root: Path) -> Workspace:
    """The same for anybody: nothing is written."""
    layout = Layout(root)
    saved = load(layout.config) if layout.config.exists() else None
    if saved is not None:
        refuse_imported(saved, root)
    workspace = Workspace(layout, _with_goal(_with_block(config, saved), saved, layout))
    if saved is not None:
        _refuse_fewer_splits(workspace, saved)
        workspace.refuse_changes()
    return workspace


def _with_goal(config: CampaignConfig, saved: CampaignConfig | None, layout: Layout) -> CampaignConfig:
    """A goal that was once looked at decided how many splits there are, whatever is asked for now."""
    if saved is None or config.until.wanted or not saved.until.wanted or read_record(layout.diagnostics) is None:
        return config
    return config.model_copy(update={"until": saved.until})


def _with_block(config: CampaignConfig, saved: CampaignConfig | None) -> CampaignConfig:
    """Writes out an automatic block size; a campaign that grows keeps the one it began with."""
    design = config.design
    if design.block != "auto":
        return config
    begun = saved.design.block_size if saved is not None else design.block_size
    if design.splits % begun:
        below, above = design.splits // begun * begun, -(-design.splits // begun) * begun
        near = f"{below} or {above}" if below else str(above)
        raise UsageError(
            f"design.splits: expected whole blocks of {begun} splits, with which this campaign was begun, "
            f"found {design.splits}; use {near}"
        )
    data = config.resolved()
    data["design"]["block"] = begun
    return type(config).model_validate(data)


def _refuse_fewer_splits(workspace: Workspace, saved: CampaignConfig) -> None:
    wanted = workspace.config.design.splits
    last = workspace.layout.block(saved.design.blocks - 1)
    if wanted < saved.design.splits and read_record(last) is not None:
        change = differences({"design.splits": saved.design.splits}, {"design.splits": wanted})[0]
        raise UsageError(f"{change}. A campaign only grows; set it back, or use another --dir")
