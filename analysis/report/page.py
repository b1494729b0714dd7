"""Puts the page together: facts, checks, figures, spectrum and packed data into the template, under one strict policy.

    write_report(campaign, path)

The policy allows the one inline style and the one inline script by their SHA-256, images of data: URLs inside the
figures, and nothing else: no network, no handler attribute, no style attribute, no eval. Everything that comes from the
campaign goes through the filter `shown` or is packed.
"""

import base64
import hashlib
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.report import checks, facts, figures
from analysis.report.details import document_details
from analysis.report.rows import RuleScores, all_scores, clipped, document_table
from memo import __version__
from memo.design_settings import DOCUMENT_RULE
from memo.errors import MemoError, UsageError
from memo.estimators.verdicts import MARGIN
from memo.spectrum import corpus_spectrum
from memo.spectrum_controls import FalseCalls, false_calls
from memo.text import for_html

if TYPE_CHECKING:
    from jinja2 import Template

    from memo.campaign import Campaign

SCRIPTS = ("data.js", "table.js", "document.js", "page.js")
NAME = 100  # characters of the campaign's name in the title
LIMIT_BYTES = 15_000_000


def write_report(campaign: "Campaign", path: Path) -> None:
    """Writes the page to a path. Raises `MemoError` where there are no scores to report."""
    path.write_text(render(campaign), encoding="utf-8")


def render(campaign: "Campaign") -> str:
    """The page. Raises `MemoError` where there are no scores to report; the same campaign gives the same text."""
    _refuse_without_scores(campaign)
    documents = campaign.documents()
    scores = all_scores(campaign)
    models = checks.models_of(campaign, scores[0].frame.attrs)
    diagnostics = campaign.diagnostics() if campaign.layout.diagnostics.exists() else None
    entries = campaign.spectrum(evaluation=None, allow_partial=True)
    summary = corpus_spectrum(entries)
    sources = _sources(campaign, scores, diagnostics)
    verdicts = entries.drop_duplicates("doc_id")[["doc_id", "verdict", "verdict_rule"]]
    table = document_table(campaign, documents, scores, verdicts)
    details = document_details(campaign, documents, table.documents, scores)
    style, script = _read("report.css"), "\n".join(map(_read, SCRIPTS))
    page = _template().render(
        name=clipped(campaign.layout.root.resolve().name, NAME),
        version=__version__,
        models=models,
        summary=facts.summary(campaign, documents, models),
        settings=facts.settings(campaign),
        caveats=list(facts.caveats(campaign, models, scores[0].frame.attrs)),
        checks=checks.all_checks(diagnostics, models, _false_calls(campaign, sources.controls)),
        reliability=None if diagnostics is None else figures.reliability_figure(diagnostics),
        figures=figures.all_figures(sources),
        spectrum=summary.to_dict("records"),
        spectrum_figure=figures.spectrum_figure(summary),
        spectrum_others=summary.attrs,
        margin=MARGIN,
        notes=[*table.notes, *details.notes],
        rows=len(table.documents),
        table_data=table.packed,
        detail_data=details.packed,
        style=style,
        script=script,
        policy=policy(style, script),
    )
    return page + "\n"


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy that allows this style and this script."""
    return (
        f"default-src 'none'; script-src 'sha256-{_hash(script)}'; style-src 'sha256-{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _refuse_without_scores(campaign: "Campaign") -> None:
    root = campaign.layout.root
    if not campaign.evaluates_documents:
        raise UsageError(
            f"{root}: expected losses of the documents trained on, found those of other texts alone: there are no "
            "memorization scores to report; memo.open(...).influence() tells what the documents do to these texts"
        )
    missing = [rule for rule in campaign.rules() if not campaign.has_scores(rule)]
    if missing:
        raise MemoError(
            f"{root}: expected the score table of every rule, found none of {', '.join(missing)}; "
            f"make it: memo aggregate {root}, with --allow-partial from the models that are there"
        )


def _sources(campaign: "Campaign", scores: list[RuleScores], diagnostics: dict[str, Any] | None) -> figures.Sources:
    trained = bool(campaign.trained_splits())
    several = len(campaign.config.training.evaluations) > 1 and trained
    scored = next((s.name for s in scores if s.frame["memorization"].notna().any()), DOCUMENT_RULE)
    return figures.Sources(
        scores=scores,
        controls=_controls(campaign, diagnostics) if trained else None,
        by_epoch=campaign.by_epoch(scored, allow_partial=True) if several else None,
        logs=campaign.training_log(),
    )


def _controls(campaign: "Campaign", diagnostics: dict[str, Any] | None) -> pd.DataFrame | None:
    """The phantoms one by one, where there are any."""
    if diagnostics is None or not diagnostics["controls"]["phantoms"]["number"]:
        return None
    return campaign.controls(allow_partial=True)


def _false_calls(campaign: "Campaign", controls: pd.DataFrame | None) -> FalseCalls | None:
    """Of the phantoms, where there are any."""
    return None if controls is None else false_calls(campaign, allow_partial=True)


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    shown: Callable[[object], Markup] = lambda value: Markup(for_html(str(value)))  # noqa: E731, S704  escaped there
    safe: Callable[[str], Markup] = lambda value: Markup(value)  # noqa: E731, S704  of our own making alone
    environment.filters.update(shown=shown, ours=safe)
    return environment.from_string(_read("template.html"))


@cache
def _read(name: str) -> str:
    return files("analysis.report").joinpath(name).read_text(encoding="utf-8")
