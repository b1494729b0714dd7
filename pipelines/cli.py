"""The command line. Results on stdout, progress on stderr; exit code 0 done, 1 failed or partial, 2 wrong call.

Every heavy import is inside the command that needs it: help, status and configuration errors answer at once.
"""

import io
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from memo.errors import MemoError, UsageError, os_error
from memo.text import for_terminal
from pipelines import commands_exchange, commands_report, commands_run, commands_show
from pipelines.options import JsonOption, QuietOption

if TYPE_CHECKING:
    from memo.campaign import Campaign


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

STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Options that come before the command."""
    context.obj = _write_report


def _write_report(campaign: "Campaign", path: Path) -> None:
    from analysis.report import write_report

    write_report(campaign, path)


@app.command()
def demo(
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Campaign directory.")] = Path("campaigns/demo"),
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Runs the embedded example from corpus to scores.

    Example: memo demo
    """
    from pipelines.demo import RULE, print_demo, run_demo

    campaign = run_demo(directory, quiet, _write_report)
    from analysis.guesses import planted_guesses
    from analysis.summary import by_kind, extremes

    print_demo(campaign, *extremes(campaign, RULE), by_kind(campaign), planted_guesses(campaign), as_json)


for command in (
    *(commands_run.init, commands_show.plan, commands_run.run, commands_run.ingest, commands_run.group),
    *(commands_run.sample, commands_run.train, commands_run.aggregate, commands_show.status, commands_show.scores),
):
    app.command()(command)
app.command("show")(commands_show.show_document)
app.command()(commands_show.spectrum)
app.command()(commands_report.report)
app.command()(commands_run.verify)
app.command("import")(commands_exchange.import_)
app.command()(commands_exchange.export)
app.command()(commands_show.doctor)


def main() -> None:
    """Entry point of the `memo` command."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments or bool(os.environ.get("MEMO_DEBUG"))
    signal.signal(signal.SIGTERM, _terminate)
    _print_anything()
    try:
        code = app([a for a in arguments if a != "--debug"], standalone_mode=False)
    except (SystemExit, typer.Exit) as stop:
        code = stop.code if isinstance(stop, SystemExit) else stop.exit_code
        if isinstance(stop.__context__, BrokenPipeError):  # typer and rich make it an exit with 1
            code = _reader_has_gone()
    except (typer.Abort, KeyboardInterrupt):
        code = STOPPED[0]
    except BrokenPipeError:
        code = _reader_has_gone()
    except Exception as error:
        if debug:
            raise
        code = _explain(error)
    if code in STOPPED:  # typer turns Ctrl-C into an exit of its own, whose code it returns
        _complain("stopped; the same command goes on", code)
    sys.exit(code if isinstance(code, int) else 0)


def _reader_has_gone() -> int:
    """Nothing to tell the reader of our output, and no error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0


def _print_anything() -> None:
    """A character that the terminal's encoding lacks is printed as an escape, and is no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _explain(error: Exception) -> int:
    """One line for an error that ends the command."""
    if isinstance(error, MemoError):
        return _complain(str(error), error.exit_code)
    if hasattr(error, "format_message"):  # wrong arguments: typer's own error class has moved between its versions
        return _complain(error.format_message(), UsageError.exit_code)
    if isinstance(error, OSError):
        return _complain(os_error(error), 1)
    return _complain(f"unexpected {type(error).__name__}: {error} (--debug shows where)", 1)


def _complain(message: str, code: int) -> int:
    if not message:  # a call without arguments was answered with the help
        return code
    print(f"memo: error: {for_terminal(message)}", file=sys.stderr)
    return code


def _terminate(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
