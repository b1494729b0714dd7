"""Commands that show something and change nothing."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from memo.errors import MemoError, UsageError
from memo.text import for_terminal
from pipelines.completion import rule_names
from pipelines.options import ConfigArgument, DirArgument, JsonOption, QuietOption, RuleOption, SetOption


def plan(
    config: ConfigArgument,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Campaign directory, where one was begun: its corpus, its pilot.")
    ] = None,
    pilot: Annotated[
        Path | None, typer.Option("--pilot", help="A campaign with 8 trained splits or more, for noise and speed.")
    ] = None,
    override: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """What it will cost and what can be resolved, before training.

    Example: memo plan campaign.yaml --pilot campaigns/first
    """
    from memo.campaign_file import load
    from pipelines.plan import plan as planned
    from pipelines.progress import Reporter
    from pipelines.show import print_json
    from pipelines.show_plan import print_plan

    data = planned(load(config, override or ()), config, directory, pilot, Reporter(quiet))
    print_json(data) if as_json else print_plan(data)


def status(
    directory: DirArgument,
    missing: Annotated[
        bool, typer.Option("--missing", help="The splits without losses, and on which side of the coins they are.")
    ] = False,
    rule: Annotated[
        str, typer.Option("--rule", help="With --missing: whose coins.", autocompletion=rule_names)
    ] = "document",
    as_json: JsonOption = False,
) -> None:
    """What is done, also while it runs.

    Example: memo status campaigns/first --json
    """
    from pipelines import show_status
    from pipelines.show import print_json

    if missing:
        from memo.campaign import open_campaign
        from pipelines.aggregate import absences
        from pipelines.workspace import open_workspace

        campaign = open_campaign(directory)
        absent = absences(open_workspace(directory), campaign.trained_splits())
        show_status.print_missing(absent, campaign.missing_by_coin(rule), rule, as_json)
        return
    from pipelines.status import status as campaign_status

    data = campaign_status(directory)
    print_json(data) if as_json else show_status.print_status(data)


def scores(
    directory: DirArgument,
    rule: RuleOption = "document",
    top: Annotated[int | None, typer.Option("--top", min=1, help="Only this many, the most memorized.")] = None,
    siblings: Annotated[
        bool, typer.Option("--siblings", help="The document score by the number of its siblings in the split.")
    ] = False,
    copies: Annotated[
        bool, typer.Option("--copies", help="What so many copies of a document do, where the design copies some.")
    ] = False,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on stdout.")] = False,
) -> None:
    """The score table of a rule, most memorized first.

    Example: memo scores campaigns/first --rule exact --top 10
    """
    from memo.campaign import open_campaign
    from pipelines import show

    if as_json and as_csv:
        raise UsageError("expected --json or --csv, found both")
    campaign = open_campaign(directory)
    if copies and (siblings or top is not None or rule != "document"):
        raise UsageError(
            "--copies: expected it alone or with --json or --csv, found --rule, --top or --siblings as well"
        )
    if copies:
        from pipelines.show_copies import print_copies

        print_copies(campaign.copies_scores(), as_json, as_csv)
        return
    _warn_if_stale(directory, rule)
    if siblings and rule == "document":
        raise UsageError("--siblings: expected the rule whose groups are meant, for instance --rule near")
    if siblings:
        show.print_siblings(campaign.scores_by_siblings(rule), rule, as_json, as_csv)
        return
    frame = campaign.scores(rule)
    models = _models(directory, frame.attrs)
    _note_goal(frame.attrs)
    total = len(frame)
    frame = frame.sort_values("memorization", ascending=False, kind="stable", na_position="last")
    if as_json or as_csv:
        frame = frame if top is None else frame.head(top)
        show.print_json(show.records(frame)) if as_json else show.print_csv(frame)
        return
    _print_controls(directory)
    frame = frame.head(top or 20)
    show.print_scores(campaign, frame, f"Rule {rule}: {len(frame)} of {total:,} rows, nats per token, out - in{models}")


def _print_controls(directory: Path) -> None:
    """Before any score is believed."""
    from memo.in_words import controls_in_words
    from pipelines.status import saved_diagnostics
    from pipelines.workspace import open_workspace

    found = saved_diagnostics(open_workspace(directory))
    for line in controls_in_words(found["controls"]) if found else ():
        print(line)


def _models(directory: Path, attributes: Mapping[Any, Any]) -> str:
    """Says where a table is from fewer models than the campaign has."""
    used, planned = attributes.get("models"), attributes.get("of")
    if used == planned:
        return ""
    line = f"memo: from {used} of {planned} models; whether the others are missing at random: "
    print(for_terminal(f"{line}memo status {directory} --missing"), file=sys.stderr)
    return f"; {used} of {planned} models"


def _note_goal(attributes: Mapping[Any, Any]) -> None:
    """Says where the number of models was not fixed beforehand."""
    from memo.in_words import goal_in_words

    for line in goal_in_words(attributes.get("until")):
        print(f"memo: {line}; intervals cover a little less than they say", file=sys.stderr)


def _warn_if_stale(directory: Path, rule: str) -> None:
    from pipelines.status import stale_scores

    if stale_scores(directory, rule):
        line = f"memo: this table is older than the campaign; renew it: memo aggregate {directory}"
        print(for_terminal(line), file=sys.stderr)


def show_document(
    directory: DirArgument,
    document: Annotated[str, typer.Argument(metavar="DOC", help="Identifier of the document.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """One document: text, scores under every rule, loss by epoch; token by token where these losses were kept.

    Example: memo show campaigns/demo planted:uuid:00
    """
    from memo.campaign import open_campaign
    from memo.document import document_data
    from pipelines.show import print_json
    from pipelines.show_document import print_document

    campaign = open_campaign(directory)
    if as_json:
        print_json(document_data(campaign, document))
    else:
        print_document(campaign, document)


def spectrum(
    directory: DirArgument,
    margin: Annotated[
        float, typer.Option("--margin", min=0.0, help="Nats per token above which a gap counts as memorized.")
    ] = 0.5,
    document: Annotated[str | None, typer.Option("--doc", help="One document under every rule.")] = None,
    allow_partial: Annotated[bool, typer.Option("--allow-partial", help="From the models that are there.")] = False,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Every document under every rule, as CSV on stdout.")] = False,
) -> None:
    """From memorization to generalization: at which rule each document is memorized.

    Example: memo spectrum campaigns/first --margin 0.5 --json
    """
    from memo.campaign import open_campaign
    from pipelines import show_spectrum

    if as_json and as_csv:
        raise UsageError("expected --json or --csv, found both")
    campaign = open_campaign(directory)
    entries = campaign.spectrum(margin=margin, allow_partial=allow_partial)
    if document is not None:
        entries = entries[entries["doc_id"] == document]
        if entries.empty:
            raise UsageError(f"no document has the id {document!r}; see campaign.documents()")
    controls = None
    if document is None and not as_csv and campaign.layout.controls.exists():
        from memo.spectrum_controls import false_calls

        controls = false_calls(campaign, margin=margin, allow_partial=allow_partial)
    show_spectrum.print_spectrum(entries, margin, document, as_json, as_csv, controls)


def doctor(as_json: JsonOption = False) -> None:
    """Versions, devices, and modules of the user's own that shadow memo's.

    Example: memo doctor
    """
    from pipelines.doctor import diagnose
    from pipelines.show import print_json

    data = diagnose()
    if as_json:
        print_json(data)
    else:
        for key, value in data.items():
            print(f"{key:<12} {value}")
    if data["shadowed"]:
        raise MemoError(f"shadowed: {'; '.join(data['shadowed'])}; rename these, or start memo elsewhere")
