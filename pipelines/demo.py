"""`memo demo`: the embedded example, and what came out in words."""

from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from memo.campaign_file import build, parse_yaml
from pipelines.progress import Reporter
from pipelines.stages import run_config

if TYPE_CHECKING:
    import pandas as pd

    from analysis.guesses import Guess
    from memo.campaign import Campaign
    from pipelines.report import Writer

RULE = "document"


def run_demo(directory: Path, quiet: bool, report: "Writer") -> "Campaign":
    """Runs the demo campaign, or goes on with it. Returns the campaign for the summary. report: writes its page."""
    reporter = Reporter(quiet)
    reporter.line(f"memo: the demo trains 48 small models in {directory}; a few minutes on two cores")
    text = files("pipelines").joinpath("demo.yaml").read_text(encoding="utf-8")
    run_config(build(parse_yaml(text, "demo.yaml"), "demo.yaml"), directory, reporter, report=report)
    from memo.campaign import open_campaign

    return open_campaign(directory)


def print_demo(
    campaign: "Campaign",
    most: "pd.DataFrame",
    least: "pd.DataFrame",
    kinds: "pd.DataFrame",
    guesses: "list[Guess]",
    as_json: bool = False,
) -> None:
    """The end of the demo on stdout. As JSON: `campaign`, `most`, `least`, `kinds` and `guesses`."""
    from memo.text import for_terminal
    from pipelines.show import interval, number, print_json, print_table, records
    from pipelines.terminal import say

    if as_json:
        tables = {"most": records(most), "least": records(least), "kinds": records(kinds)}
        told = [{**asdict(guess), "verdict": guess.verdict} for guess in guesses]
        print_json({"campaign": str(campaign.layout.root), **tables, "guesses": told})
        return
    design = campaign.config.design
    print(
        f"\n{design.splits} models, each trained on a random half of {len(campaign.doc_ids)} documents. A score is the "
        "loss of the models\nthat never saw a document minus the loss of those that did, in nats per token: "
        "0 = not memorized.\n"
    )
    for title, frame in (("Most memorized real documents", most), ("Least memorized", least)):
        rows = [(interval(r), number(r["loss_out"]), for_terminal(r["text"], 70)) for r in records(frame)]
        print_table(title, ("score [95 %]", "loss out", "text"), rows)
    rules = campaign.rules()
    planted = [
        (r["kind"], str(r["documents"]), *(number(r[rule]) for rule in rules), number(r["loss_out"]))
        for r in records(kinds)
    ]
    print_table(
        "What was planted, and what was measured: mean score one by one, with exact copies, with near-duplicates",
        ("kind", "documents", *rules, "loss out"),
        planted,
    )
    print("Guesses")
    for guess in guesses:
        print(f"  {guess.verdict.upper()}: {guess.claim}")
        print(f"    {guess.estimate:+.3f} [{guess.ci_low:+.3f}, {guess.ci_high:+.3f}] {guess.unit}; {guess.detail}")
    say(f"\nNext: memo scores {campaign.layout.root}    memo show {campaign.layout.root} planted:uuid:00")
    say(f"The report, to open in a browser: {campaign.layout.report}")
