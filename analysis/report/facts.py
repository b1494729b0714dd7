"""The summary card: what was measured, on what, with which settings, and what to keep in mind when reading it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.report.checks import Models
from memo.design_settings import DOCUMENT_RULE
from memo.store import flatten

if TYPE_CHECKING:
    from memo.campaign import Campaign

Fact = tuple[str, str]


def summary(campaign: "Campaign", documents: pd.DataFrame, models: Models) -> list[Fact]:
    """The few lines of the card, as (name, value)."""
    return [
        ("Corpus", _corpus(campaign, documents)),
        ("Rules", _rules(campaign)),
        ("Design", _design(campaign)),
        ("Models", _models(campaign, models)),
        *([] if campaign.config.imported is not None else [("Training", _training(campaign))]),
    ]


def _corpus(campaign: "Campaign", documents: pd.DataFrame) -> str:
    parts = [f"{len(documents):,} documents"]
    known = documents["n_tokens"].dropna()
    parts.append(f"{int(known.sum()):,} tokens" if len(known) == len(documents) else "their tokens are not known")
    if campaign.config.imported is None and campaign.layout.rejected.exists():
        rejected = len(campaign.rejected())
        parts += [f"{rejected:,} records rejected"] if rejected else []
    if campaign.config.imported is not None:
        parts.append("losses and masks were made elsewhere and imported")
    if not documents["text"].notna().any():
        parts.append("texts are not known")
    return ", ".join(parts)


def _rules(campaign: "Campaign") -> str:
    return ", ".join(campaign.rules())


def _design(campaign: "Campaign") -> str:
    design = campaign.config.design
    parts = [f"{design.base}, {design.include:.0%} of the documents in a split"]
    if design.ladder:
        parts.append(f"a ladder of {' < '.join(design.levels)}")
    elif design.unit != DOCUMENT_RULE:
        parts.append(f"documents of a group of rule {design.unit} flip one coin")
    if design.knockout is not None:
        share, names = design.knockout.probability, ", ".join(design.knockout.sets)
        parts.append(f"sets of {names} are removed whole from {share:.0%} of the splits")
    if design.copies is not None:
        parts.append("chosen documents appear several times")
    return "; ".join(parts)


def _models(campaign: "Campaign", models: Models) -> str:
    if campaign.config.imported is not None:
        return str(models)
    model = campaign.config.model
    sizes = ", ".join(f"{key} {value}" for key, value in model.items() if key != "model_type")
    return f"{models}; {model.get('model_type', '')} {sizes}".strip()


def _training(campaign: "Campaign") -> str:
    training = campaign.config.training
    evaluated = ", ".join(map(str, training.evaluations))
    return (
        f"{training.epochs:,} epochs in batches of {training.batch_size:,}, losses measured after epoch {evaluated}; "
        f"windows of {campaign.config.context_tokens:,} tokens"
    )


def settings(campaign: "Campaign") -> list[Fact]:
    """Every setting of the campaign file, as it is written there."""
    return [(name, "" if value is None else str(value)) for name, value in flatten(campaign.config.resolved())]


def caveats(campaign: "Campaign", models: Models, attributes: dict[Any, Any]) -> Iterator[str]:
    """What the numbers do not say by themselves."""
    config = campaign.config
    yield (
        "A score is the mean loss of the models that never saw a document minus the mean loss of those that trained on "
        "it, in nats per token. Positive is memorized, 0 is what chance gives. It belongs to models of this kind and "
        "size, this corpus and this training."
    )
    if models.partial:
        yield f"All numbers are from {models}, whatever the plan was."
    if config.imported is None:
        yield from _of_training(campaign)
    if config.design.ladder:
        yield (
            "On a ladder, a score is a mean over the design's law of everything else: the score of one copy falls with "
            "the number of its siblings in the split (memo scores DIR --rule RULE --siblings takes it apart)."
        )
    else:
        yield "A score is a mean over random splits of all other documents. Near-duplicates in them hide memorization."
    if attributes.get("until"):
        yield (
            "The number of models was not fixed beforehand: models were added until a goal was met. Intervals cover a "
            "little less than they say."
        )
    yield (
        "Intervals cover 95 % and include the noise of which other documents were in a split. A missing number is "
        "never 0; the reason stands in its place. A p-value belongs to the group, not to each of its documents."
    )


def _of_training(campaign: "Campaign") -> Iterator[str]:
    config = campaign.config
    if config.tokenizer.name is None:
        yield "The tokenizer was trained on the whole corpus and has seen every document, also those left out."
    else:
        yield f"The tokenizer {config.tokenizer.name} was made elsewhere and may have seen the documents."
    if config.model.get("pretrained"):
        yield "Models start from a checkpoint that may have seen the documents: scores are of what training added."
    yield "Epochs are fixed, so the number of steps follows the size of a split."
