"""The command line. Results on stdout, progress on stderr; exit code 0 done, 1 failed or partial, 2 wrong call.

Every heavy import is inside the command that needs it: help, status and configuration errors answer at once.
"""

import errno
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from memo.errors import MemoError, UsageError


def _version(wanted: bool) -> None:
    if wanted:
        from memo import __version__

        print(f"memo {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="memo",
    help="Measures what language models memorize: train many small models on random subsets of a corpus, compare the "
    "loss of those that saw a document with the loss of those that did not.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DirArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Campaign directory.", show_default=False)]
DirOption = Annotated[Path, typer.Option("--dir", help="Campaign directory, new or begun.", show_default=False)]
ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG", help="Campaign file (YAML).", show_default=False)]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Overrides a key of the campaign file: design.splits=128."),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]

STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Options that come before the command."""


@app.command()
def demo(
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Campaign directory.")] = Path("campaigns/demo"),
    quiet: QuietOption = False,
) -> None:
    """Runs the embedded example from corpus to scores.

    Example: memo demo
    """
    from pipelines.demo import RULE, print_demo, run_demo

    campaign = run_demo(directory, quiet)
    from analysis.guesses import planted_guesses
    from analysis.summary import by_kind, extremes

    print_demo(campaign, *extremes(campaign, RULE), by_kind(campaign), planted_guesses(campaign))


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="[FILE]", help="Where to write it.")] = Path("campaign.yaml"),
) -> None:
    """Writes a commented campaign file to start from.

    Example: memo init my-campaign.yaml
    """
    from pipelines.template import write_template

    write_template(path)
    print(f"wrote {path}; set corpus.path, then: memo run {path} --dir campaigns/{path.stem}")


@app.command()
def run(config: ConfigArgument, directory: DirOption, override: SetOption = None, quiet: QuietOption = False) -> None:
    """Runs every stage; run it again and it goes on where it stopped.

    Example: memo run campaign.yaml --dir campaigns/first --set design.splits=32
    """
    from pipelines.progress import Reporter

    reporter = Reporter(quiet)
    reporter.line(f"memo: {config} -> {directory}")
    from memo.campaign_file import load
    from pipelines.stages import run_config

    workspace, before = run_config(load(config, override or ()), directory, reporter)
    total = workspace.config.design.splits
    print(f"{'already complete' if before else 'complete'}: {total} models; see them with: memo scores {directory}")


@app.command()
def ingest(
    config: ConfigArgument, directory: DirOption, override: SetOption = None, quiet: QuietOption = False
) -> None:
    """Reads the corpus, makes the tokens. The first stage alone.

    Example: memo ingest campaign.yaml --dir campaigns/first
    """
    from memo.campaign_file import load
    from pipelines.progress import Reporter
    from pipelines.stages import run_config

    run_config(load(config, override or ()), directory, Reporter(quiet), stages=("ingest",))


def _stage_command(name: str, text: str) -> None:
    def command(directory: DirArgument, quiet: QuietOption = False) -> None:
        from pipelines.progress import Reporter
        from pipelines.stages import run_stage

        run_stage(name, directory, Reporter(quiet))

    command.__doc__ = f"{text}\n\n    Example: memo {name} campaigns/first\n    "
    app.command(name)(command)


_stage_command("group", "Runs the duplication rules. After `memo ingest`.")
_stage_command("sample", "Flips the coins: which documents each model trains on. After `memo group`.")
_stage_command("train", "Trains the models that are not trained yet. After `memo sample`.")
_stage_command("aggregate", "Makes the score tables. After `memo train`.")


@app.command()
def status(directory: DirArgument, as_json: JsonOption = False) -> None:
    """What is done, also while it runs.

    Example: memo status campaigns/first --json
    """
    from pipelines.show import print_json
    from pipelines.status import status as campaign_status

    data = campaign_status(directory)
    if as_json:
        print_json(data)
        return
    corpus = data["corpus"]
    print(f"{data['campaign']}: {'complete' if data['complete'] else 'not complete'}")
    if corpus:
        rejected = sum(corpus["rejected"].values())
        print(
            f"{corpus['kept']:,} documents, {corpus['tokens']:,} tokens, {rejected:,} records rejected"
            + (" (corpus/rejected.parquet says why)" if rejected else "")
        )
    for name, count in data["stages"].items():
        others = "".join(f", {count[kind]} {kind}" for kind in ("failed", "stale") if count[kind])
        print(f"  {name:<10} {count['done']:>5} of {count['total']}{others}")
    if data["running"]:
        print(f"running: process {data['running']['pid']} on {data['running']['host']}")
        for split, event in data["running"]["training"].items():
            print(f"  split {split}: step {event.get('step')} of {event.get('steps')}")


@app.command()
def scores(
    directory: DirArgument,
    rule: Annotated[str, typer.Option("--rule", help="What was kept or left out together.")] = "document",
    top: Annotated[int | None, typer.Option("--top", min=1, help="Only this many, the most memorized.")] = None,
    siblings: Annotated[
        bool, typer.Option("--siblings", help="The document score by the number of its siblings in the split.")
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
    _warn_if_stale(directory, rule)
    if siblings and rule == "document":
        raise UsageError("--siblings: expected the rule whose groups are meant, for instance --rule near")
    if siblings:
        show.print_siblings(campaign.scores_by_siblings(rule), rule, as_json, as_csv)
        return
    frame = campaign.scores(rule)
    total = len(frame)
    frame = frame.sort_values("memorization", ascending=False, kind="stable", na_position="last")
    if as_json or as_csv:
        frame = frame if top is None else frame.head(top)
        show.print_json(show.records(frame)) if as_json else show.print_csv(frame)
        return
    frame = frame.head(top or 20)
    show.print_scores(campaign, frame, f"Rule {rule}: {len(frame)} of {total:,} rows, nats per token, out - in")


def _warn_if_stale(directory: Path, rule: str) -> None:
    from pipelines.status import stale_scores

    if stale_scores(directory, rule):
        print(f"memo: this table is older than the campaign; renew it: memo aggregate {directory}", file=sys.stderr)


@app.command("show")
def show_document(
    directory: DirArgument,
    document: Annotated[str, typer.Argument(metavar="DOC", help="Identifier of the document.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """One document: text, scores under every rule, loss by epoch.

    Example: memo show campaigns/demo planted:uuid:00
    """
    from memo.campaign import open_campaign
    from pipelines import show

    campaign = open_campaign(directory)
    if as_json:
        show.print_json(show.document(campaign, document))
    else:
        show.print_document(campaign, document)


@app.command()
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


def main() -> None:
    """Entry point of the `memo` command."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments or bool(os.environ.get("MEMO_DEBUG"))
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = app([a for a in arguments if a != "--debug"], standalone_mode=False)
    except (SystemExit, typer.Exit) as stop:
        code = stop.code if isinstance(stop, SystemExit) else stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = STOPPED[0]
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader of our output has gone; nothing to tell it
        code = 0
    except Exception as error:
        if debug:
            raise
        code = _explain(error)
    if code in STOPPED:  # typer turns Ctrl-C into an exit of its own, whose code it returns
        _complain("stopped; the same command goes on", code)
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: Exception) -> int:
    """One line for an error that ends the command."""
    if isinstance(error, MemoError):
        return _complain(str(error), error.exit_code)
    if hasattr(error, "format_message"):  # wrong arguments: typer's own error class has moved between its versions
        return _complain(error.format_message(), UsageError.exit_code)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return _complain(
            f"the disk is full{_file_of(error)}; free some space, then run the same command: it goes on", 1
        )
    if isinstance(error, OSError):
        return _complain(f"{error.strerror or error}{_file_of(error)}", 1)
    return _complain(f"unexpected {type(error).__name__}: {error} (--debug shows where)", 1)


def _file_of(error: OSError) -> str:
    return f" ({error.filename})" if error.filename else ""


def _complain(message: str, code: int) -> int:
    if not message:  # a call without arguments was answered with the help
        return code
    print(f"memo: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _terminate(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
