"""Commands that take numbers from other tools, and give them."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.options import DirArgument, DirOption, JsonOption, QuietOption
from pipelines.terminal import say


def import_(
    losses: Annotated[
        Path,
        typer.Option(
            "--losses",
            help="`losses` (models, texts), nats per token, and `masks` (models, documents), in .npz, .safetensors or "
            "Parquet; or losses alone, also .npy.",
            show_default=False,
        ),
    ],
    directory: DirOption,
    masks: Annotated[
        Path | None, typer.Option("--masks", help="Which documents each model trained on, in a file of its own.")
    ] = None,
    correct: Annotated[
        Path | None, typer.Option("--correct", help="`n_correct`: right next tokens, as `losses`; needs n_tokens.")
    ] = None,
    accuracy: Annotated[
        Path | None, typer.Option("--accuracy", help="`accuracy`: the same as a share, 0 to 1.")
    ] = None,
    documents: Annotated[
        Path | None, typer.Option("--documents", help="doc_id, text, n_tokens: Parquet or JSON lines.")
    ] = None,
    texts: Annotated[
        Path | None, typer.Option("--texts", help="The same of the texts evaluated, where they are not the documents.")
    ] = None,
    blocks: Annotated[
        int | None, typer.Option("--blocks", min=1, help="The design was balanced in so many blocks of equal size.")
    ] = None,
    block_size: Annotated[int | None, typer.Option("--block-size", min=1, help="Models in such a block.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Takes losses and masks made elsewhere, as a campaign.

    Example: memo import --losses bank.npz --dir campaigns/bank
    """
    from pipelines.bank import Sources
    from pipelines.importing import run_import
    from pipelines.progress import Reporter

    sources = Sources(losses, masks, correct, accuracy, documents, texts, blocks, block_size)
    workspace, before = run_import(sources, directory, Reporter(quiet))
    models = workspace.config.design.splits
    if as_json:
        from pipelines.show import print_json

        print_json({"models": models, "already_imported": before, "scored": bool(workspace.rules)})
        return
    done = "already imported" if before else "imported"
    following = f"memo aggregate {directory}" if workspace.rules else "memo.open(...).influence()"
    say(f"{done}: {models} models; next: {following}")


def export(
    directory: DirArgument,
    form: Annotated[
        str, typer.Option("--format", metavar="npz|parquet|safetensors", help="Of the file.", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="A new file; by default the name of DIR, here.", show_default=False)
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all-evaluations", help="Losses of every evaluation, not of the last alone.")
    ] = False,
    allow_partial: Annotated[bool, typer.Option("--allow-partial", help="The models that are there.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Writes losses, masks, decisions and identifiers for other tools.

    Example: memo export campaigns/first --format npz --out first.npz
    """
    from pipelines.exporting import run_export
    from pipelines.progress import Reporter

    path, models = run_export(directory, form, out, everything, allow_partial, Reporter(quiet))
    if as_json:
        from pipelines.show import print_json

        print_json({"path": str(path), "models": models, "bytes": path.stat().st_size})
        return
    say(f"wrote {path}: {models} models, {path.stat().st_size / 1e6:,.1f} MB")
