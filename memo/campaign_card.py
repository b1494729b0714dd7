"""How a campaign shows itself: what it is, how far it is, whether to believe it, what to do next.

It is made from what is on disk at any stage. A part that cannot be read says so in its place: a display never fails.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from memo.errors import MemoError
from memo.html import Html, frame, lines, pairs
from memo.in_words import controls_in_words, goal_in_words, rules_in_words
from memo.layout import record_path
from memo.store import read_record
from memo.text import for_terminal

if TYPE_CHECKING:
    from memo.campaign import Campaign

Lines = list[str]
RULES = 8  # that are named


def card(campaign: "Campaign") -> list[tuple[str, Lines]]:
    """Name of each part and its lines; parts about which nothing is known yet are left out."""
    parts: tuple[tuple[str, Callable[[Campaign], Lines]], ...] = (
        ("corpus", _corpus),
        ("rules", _rules),
        ("design", _design),
        ("model", _model),
        ("trained", _trained),
        ("controls", _controls),
        ("reliability", _reliability),
        ("next", _next),
    )
    read = [(name, _readable(part, campaign)) for name, part in parts]
    return [(name, found) for name, found in read if found]


def card_text(campaign: "Campaign") -> str:
    """For a terminal."""
    told = [f"memo campaign {for_terminal(str(campaign.layout.root))}"]
    for name, found in card(campaign):
        told += [f"  {name if not place else '':<12} {for_terminal(line)}" for place, line in enumerate(found)]
    return "\n".join(told)


def card_html(campaign: "Campaign") -> Html:
    """For a notebook."""
    title = f"memo campaign {campaign.layout.root}"
    return frame(title, pairs([(name, lines(found)) for name, found in card(campaign)]), label=title)


def _readable(part: "Callable[[Campaign], Lines]", campaign: "Campaign") -> Lines:
    try:
        return part(campaign)
    except (MemoError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # a damaged file
        return [f"cannot be read ({type(error).__name__}: {error}); memo verify {campaign.layout.root}"]


def _corpus(campaign: "Campaign") -> Lines:
    record = read_record(campaign.layout.documents)
    if record is None:
        return ["not read yet"]
    notes = record.notes
    told = f"{len(campaign.doc_ids):,} documents"
    tokens = notes.get("tokens")
    told += f", {tokens:,} tokens" if isinstance(tokens, int) else ""
    rejected = sum(notes.get("rejected", {}).values())
    told += f"; {rejected:,} records rejected: campaign.rejected()" if rejected else ""
    if campaign.config.imported is not None:
        told += "; imported"
    return [told]


def _rules(campaign: "Campaign") -> Lines:
    names = campaign.rules()
    more = f" and {len(names) - RULES} more" if len(names) > RULES else ""
    return [", ".join(names[:RULES]) + more]


def _design(campaign: "Campaign") -> Lines:
    design = campaign.config.design
    told = [f"{design.splits:,} splits, {design.base}, a unit is in with probability {design.include:g}"]
    if design.ladder:
        told.append("ladder: document < " + " < ".join(rung for rung in design.ladder if rung != "document"))
    elif design.unit != "document":
        told.append(f"documents of a group by {design.unit} flip one coin")
    if design.knockout is not None:
        told.append(
            f"removed whole, with probability {design.knockout.probability:g}: {', '.join(design.knockout.sets)}"
        )
    if design.copies is not None:
        told.append(f"chosen documents stand {', '.join(map(str, design.copies.counts))} times in a split")
    return told


def _model(campaign: "Campaign") -> Lines:
    if campaign.config.imported is not None:
        return []
    settings = dict(campaign.config.model)
    kind = settings.pop("model_type", None) or settings.pop("name", None) or "model"
    told = ", ".join(f"{key} {value}" for key, value in settings.items() if not isinstance(value, dict | list))
    epochs = campaign.config.training.epochs
    return [f"{kind}{': ' if told else ''}{told}; {epochs} {'epoch' if epochs == 1 else 'epochs'}"]


def _trained(campaign: "Campaign") -> Lines:
    if read_record(campaign.layout.documents) is None:
        return []
    total = campaign.config.design.splits
    done = len(campaign.trained_splits())
    recorded = sum(record_path(campaign.layout.losses(split)).exists() for split in range(total))
    diverged = f", {recorded - done} diverged" if recorded > done else ""
    told = [f"{done:,} of {total:,} models{diverged}"]
    scored = [rule for rule in campaign.rules() if campaign.has_scores(rule)]
    if scored:
        told.append(f"scores by {', '.join(scored)}")
    elif not campaign.evaluates_documents:
        told.append("losses of other texts than the documents: influence alone, no scores")
    return told


def _diagnostics(campaign: "Campaign") -> dict[str, Any] | None:
    return campaign.diagnostics() if read_record(campaign.layout.diagnostics) is not None else None


def _controls(campaign: "Campaign") -> Lines:
    found = _diagnostics(campaign)
    return [] if found is None else controls_in_words(found["controls"])


def _reliability(campaign: "Campaign") -> Lines:
    found = _diagnostics(campaign)
    if found is None:
        return []
    partial = [f"from {found['models']:,} of {found['of']:,} models"] if found["models"] < found["of"] else []
    return [*partial, *rules_in_words(found), *goal_in_words(found.get("until"))]


def _next(campaign: "Campaign") -> Lines:
    root, imported = campaign.layout.root, campaign.config.imported is not None
    if read_record(campaign.layout.documents) is None:
        return ["memo import again" if imported else f"memo run CONFIG --dir {root}"]
    if len(campaign.trained_splits()) < campaign.config.design.splits and not campaign.has_scores():
        return [f"memo run CONFIG --dir {root} goes on; memo status {root} tells how far it is"]
    if not campaign.evaluates_documents:
        return ["campaign.influence()"]
    if not campaign.has_scores():
        return [f"memo aggregate {root}"]
    rule = next((name for name in reversed(campaign.rules()) if campaign.has_scores(name)), "document")
    return [
        f'campaign.scores("{rule}").nlargest(10, "memorization")',
        "campaign.document(doc_id), campaign.spectrum(), campaign.controls()",
    ]
