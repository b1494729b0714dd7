"""The campaign file: one frozen object, read once, checked once, saved whole with the results.

Everything but the corpus has a default, and every field says what it is, with its unit. `memo.campaign_file` reads one.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from memo.cluster_settings import Cluster
from memo.design_settings import DOCUMENT_RULE, Design
from memo.errors import UsageError
from memo.import_settings import Imported
from memo.model_keys import check_model_keys
from memo.sections import Count, Natural, Real, Section

LABELS_RULE = "labels"  # the built-in rule whose groups are in a file of the user's
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"


class Hub(Section):
    """A Hugging Face dataset."""

    name: str = Field(description="name on the hub, or a folder written by `save_to_disk`")
    config: str | None = Field(None, description="configuration of the dataset")
    split: str = Field("train", description="split of the dataset; not a split of memo")


class Planted(Section):
    """Sizes of the generated corpus whose truth is known."""

    uuids: Natural = Field(16, description="documents of random UUIDs")
    repeated: Natural = Field(16, description="documents that repeat one word")
    copies: tuple[Count, ...] = Field((1, 2, 4, 8), description="numbers of exact copies of a text")
    texts_per_copies: Natural = Field(4, description="different texts for each number of copies")
    families: Natural = Field(4, description="near-duplicate families: one text with single-token edits")
    family_size: Count = Field(6, description="documents in a family")
    quoting: Natural = Field(8, description="otherwise different documents that quote one passage")
    topic: Natural = Field(8, description="documents about one topic")


class Source(Section):
    """Where documents come from. Exactly one of path, hub and builtin."""

    path: str | tuple[str, ...] | None = Field(
        None, description="files, globs or fsspec URLs; relative to the campaign file; .gz and .zst are opened"
    )
    hub: Hub | None = Field(None, description="a Hugging Face dataset")
    builtin: Literal["stdlib", "planted"] | None = Field(None, description="a corpus that needs no file")
    planted: Planted = Field(Planted(), description="sizes of the planted corpus")
    format: Literal["auto", "jsonl", "csv", "tsv", "parquet", "text"] = Field(
        "auto", description="format of the files; auto goes by the file name"
    )
    document_per: Literal["file", "line", "block"] = Field(
        "file", description="plain text: a document per file, per line, or per block between blank lines"
    )
    text: str = Field("text", description="field that holds the text")
    id: str | None = Field(
        None,
        description="field that holds the identifier; without it the field `id` where there is one, else a position",
    )
    metadata: tuple[str, ...] = Field((), description="fields kept beside the text")
    min_chars: Natural = Field(0, description="shorter documents are rejected, characters")
    max_chars: Count | None = Field(None, description="longer documents are rejected, characters")
    limit: Count | None = Field(None, description="stop after this many kept documents")
    sample: Count | None = Field(None, description="keep a random sample of this many documents, in their order")

    @model_validator(mode="after")
    def _one_origin(self) -> "Source":
        given = [name for name in ("path", "hub", "builtin") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of path, hub and builtin, found {' and '.join(given) or 'none'}")
        if self.path is not None and not self.path:
            raise ValueError("path is empty: name at least one file")
        return self


class Tokenizer(Section):
    """A byte-level BPE trained on the corpus, or a Hugging Face tokenizer."""

    name: str | None = Field(None, description="Hugging Face tokenizer, by name or folder; none: train one")
    vocab_size: Annotated[int, Field(strict=True, ge=257)] = Field(
        1024, description="entries of the trained vocabulary: 256 bytes, 1 special token, the rest merges"
    )


class RuleSpec(BaseModel):
    """A duplication rule and its parameters. Further keys are parameters of the rule."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")] = Field(description="keys files, tables and --rule")
    rule: str = Field(description="built-in name, entry point, or path/to/file.py:name")

    @property
    def parameters(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Training(Section):
    """How each model is trained. The number of steps follows the size of the split, because epochs are fixed."""

    epochs: Count = Field(20, description="passes over the split")
    batch_size: Count = Field(16, description="windows per optimizer step")
    learning_rate: Annotated[Real, Field(gt=0)] = Field(2e-3, description="peak learning rate of AdamW")
    weight_decay: Annotated[Real, Field(ge=0)] = Field(0.01, description="weight decay of AdamW, on matrices only")
    warmup: Annotated[Real, Field(ge=0, lt=1)] = Field(0.05, description="share of the steps with a rising rate")
    final_rate: Annotated[Real, Field(ge=0, le=1)] = Field(
        0.0, description="share of the peak rate at which the cosine ends"
    )
    clip: Annotated[Real, Field(gt=0)] = Field(1.0, description="largest norm of the gradient")
    evaluate_at: tuple[Count, ...] = Field((), description="epochs after which losses are measured, besides the last")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="arithmetic of training; auto: bfloat16 on a GPU that has it, and for models of width 128 or more "
        "on a CPU with AVX512-BF16 or AMX, else float32; losses are always measured in float32",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a CUDA GPU where there is one")
    stack: Literal["auto"] | Count = Field(
        "auto", description="models that are trained side by side; auto: measured on a GPU, 1 on a CPU"
    )
    keep_weights: bool = Field(False, strict=True, description="keep a checkpoint of every model")
    keep_token_losses: Literal["none", "chosen", "all"] = Field(
        "chosen",
        description="losses of single tokens, at the last evaluation; chosen: of all texts up to 4 million tokens, "
        "beyond that of controls, evaluation texts and a random sample of documents",
    )
    checkpoint_minutes: Annotated[Real, Field(ge=0)] | None = Field(
        10.0,
        description="a training that is killed goes on from a state at most so old; shorter ones start again. "
        "0: saved after every step; null: never",
    )

    @model_validator(mode="after")
    def _within_epochs(self) -> "Training":
        late = [epoch for epoch in self.evaluate_at if epoch > self.epochs]
        if late:
            raise ValueError(f"evaluate_at: expected epochs from 1 to {self.epochs}, found {late[0]}")
        return self

    @property
    def evaluations(self) -> tuple[int, ...]:
        """Epochs after which every document's loss is measured, rising; the last one is always there."""
        return tuple(sorted({*self.evaluate_at, self.epochs}))


class Controls(Section):
    """Texts by which a campaign checks itself; see `Campaign.controls`. They are no documents of the corpus."""

    phantoms: Literal["auto"] | Natural = Field(
        "auto",
        description="texts that get coins and are never trained on: their scores must be null; auto: 32 or fewer",
    )
    canaries: Literal["auto"] | Natural = Field(
        "auto",
        description="planted texts with 1, 2, 4 and 8 copies, trained on where their coins say so; "
        "auto: 16, or fewer where they were more than 2 % of the tokens",
    )


class Until(Section):
    """A goal: `memo run` adds whole blocks of splits until it is met. The tables say that there was one."""

    se: Annotated[Real, Field(gt=0)] | None = Field(
        None, description="largest median standard error of a rule of the design, nats per token"
    )
    reliability: Annotated[Real, Field(gt=0, lt=1)] | None = Field(
        None, description="rank correlation at which another campaign of the same size would agree, planted texts apart"
    )
    max_splits: Count = Field(512, description="stop here in any case")

    @property
    def wanted(self) -> bool:
        return self.se is not None or self.reliability is not None

    @property
    def goal(self) -> dict[str, Any] | None:
        """What was wanted, as plain data; None where nothing was."""
        return self.model_dump(mode="json", exclude_none=True) if self.wanted else None


class CampaignConfig(Section):
    """A campaign: what is measured, on which models."""

    corpus: tuple[Source, ...] = Field(description="one source or a list of them")
    evaluation: tuple[Source, ...] = Field((), description="texts that are never trained on")
    tokenizer: Tokenizer = Tokenizer()
    context_tokens: Annotated[int, Field(strict=True, ge=2)] = Field(
        128, description="tokens a window holds; longer documents are cut into windows"
    )
    rules: tuple[RuleSpec, ...] = Field(
        (),
        description="duplication rules; the document itself is always one. For instance "
        "[exact, {name: near, rule: near_duplicate, threshold: 0.7, shingle: 5}, my_rules.py:frogs]",
    )
    design: Design = Design()
    model: dict[str, Any] = Field(
        # At this width the usual initializer_range of 0.02 memorizes a fifth as much in the first few hundred steps.
        {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "initializer_range": 0.08},
        description="a transformers causal-LM configuration, or {name: ..., pretrained: true}",
    )
    training: Training = Training()
    controls: Controls = Controls()
    until: Until = Until()
    cluster: Cluster = Cluster()
    seed: Natural = Field(0, description="every random stream comes from it")
    imported: Imported | None = Field(None, description="written by `memo import`; such a campaign has no corpus")

    @model_validator(mode="before")
    @classmethod
    def _imported_without_a_corpus(cls, data: Any) -> Any:
        return {"corpus": (), **data} if isinstance(data, Mapping) and data.get("imported") is not None else data

    @field_validator("corpus", "evaluation", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _some_source(self) -> "CampaignConfig":
        if not self.corpus and self.imported is None:
            raise ValueError("corpus: expected at least one source, found none")
        return self

    @model_validator(mode="after")
    def _imported_as_it_is(self) -> "CampaignConfig":
        """The coins were flipped elsewhere, one for each document."""
        if self.imported is None:
            return self
        design, given = self.design, sum(self.imported.blocks)
        if self.corpus or self.evaluation:
            raise ValueError("imported: expected no corpus and no evaluation texts, found some; leave them out")
        if design.splits != given or design.base != "bernoulli" or design.levels != (DOCUMENT_RULE,):
            raise ValueError(
                f"design: expected {given} splits, base bernoulli and unit document, as imported; set it back"
            )
        return self

    @field_validator("rules", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, str | Mapping):
            value = [value]
        return [rule_spec(item) for item in value] if isinstance(value, Sequence) else value

    @field_validator("rules")
    @classmethod
    def _unique(cls, value: tuple[RuleSpec, ...]) -> tuple[RuleSpec, ...]:
        seen = {DOCUMENT_RULE: "the document itself, which is always a rule"}
        for spec in value:
            if spec.name in seen:
                raise ValueError(f"two rules are named {spec.name!r} ({seen[spec.name]}); rename one")
            seen[spec.name] = spec.rule
        return value

    @field_validator("model", mode="before")
    @classmethod
    def _known_sizes(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            check_model_keys(value)
        return value

    @model_validator(mode="after")
    def _unit_exists(self) -> "CampaignConfig":
        known = [DOCUMENT_RULE, *(spec.name for spec in self.rules)]
        removed = self.design.knockout.sets if self.design.knockout is not None else ()
        copies = self.design.copies
        copied = [copies.rule] if copies is not None and copies.rule is not None else []
        named = (
            *(("unit", [self.design.unit]), ("ladder", self.design.ladder)),
            *(("knockout.sets", removed), ("copies.rule", copied)),
        )
        for key, names in named:
            for name in names:
                if name not in known:
                    raise ValueError(f"design.{key}: no rule is named {name!r}; known: {', '.join(known)}")
        return self

    def rule(self, name: str) -> RuleSpec:
        """The rule of this name; a `UsageError` lists the known names."""
        for spec in self.rules:
            if spec.name == name:
                return spec
        known = ", ".join([DOCUMENT_RULE, *(spec.name for spec in self.rules)])
        raise UsageError(f"no rule is named {name!r}; known: {known}")

    def resolved(self) -> dict[str, Any]:
        """Plain data that reads back as this configuration. An imported one says nothing of models that it does not
        know."""
        if self.imported is None:
            return self.model_dump(mode="json", exclude={"imported"})
        known = self.model_dump(mode="json", include={"imported", "rules", "design"})
        return {**known, "training": self.training.model_dump(mode="json", include={"epochs", "evaluate_at"})}

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.resolved(), sort_keys=False, allow_unicode=True, width=120)


def rule_spec(item: Any) -> Any:
    """`exact` and `my_rules.py:frogs` are short for a mapping with a name."""
    if isinstance(item, str):
        item = {"rule": item}
    if isinstance(item, Mapping) and isinstance(item.get("rule"), str) and "name" not in item:
        item = {"name": item["rule"].rpartition(":")[2], **item}
    return item
