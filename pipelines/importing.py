"""`memo import`: a campaign directory from losses and masks that were made elsewhere.

Everything is read once and checked before anything is written, and a second time to be written; only some rows of a
matrix are in memory at a time. 400 models x 2,097,152 documents, float32 in .npz: 76 to 95 s and 1.3 GB at most, most
of it the identifiers and one block of bit-packed coins; the campaign takes 7.2 GB.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memo.campaign_file import build, load
from memo.errors import UsageError
from memo.layout import Layout
from memo.lock import writer
from memo.splits import NAMES, packed_bytes
from memo.store import differences, is_done, publishing, remove_temporaries, sha256_file, write_text
from pipelines.bank import Bank, Sources, open_bank
from pipelines.controls import COLUMNS as CONTROL_COLUMNS
from pipelines.progress import Reporter
from pipelines.status import status
from pipelines.survey import Survey, mask_rows, survey
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from memo.config import CampaignConfig

ROW_GROUP = 16_384
SEED = 0  # nothing is drawn


def run_import(sources: Sources, root: Path, reporter: Reporter) -> tuple[Workspace, bool]:
    """Writes everything but score tables. Also gives whether it was all there already.

    Raises `UsageError` for input that cannot be used, and for a directory that holds another campaign; in both cases
    nothing is written. An import that was stopped goes on when it is run again.
    """
    saved = _saved(root)
    bank = open_bank(sources)
    config = _config(sources, bank, survey(bank, reporter), reporter)
    with writer(Layout(root).lock):
        saved = _saved(root)
        if saved is not None:
            _refuse_another(root, saved, config)
            config = saved  # it may have got rules since
        workspace = Workspace(Layout(root), config)
        complete = _complete(workspace)
        if saved is None:
            write_text(workspace.layout.config, config.to_yaml())
        remove_temporaries(root)
        _write_texts(workspace, bank)
        _write_blocks(workspace, bank)
        _write_losses(workspace, bank, reporter)
    return workspace, complete


def _saved(root: Path) -> "CampaignConfig | None":
    """What the directory holds; `UsageError` where that is not an imported campaign."""
    layout = Layout(root)
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root}: expected a directory or nothing, found a file; choose another --dir")
    if not layout.config.exists():
        return None
    saved = load(layout.config)
    if saved.imported is None:
        raise UsageError(f"{root}: expected a new directory, found a campaign that memo trains; choose another --dir")
    return saved


def _refuse_another(root: Path, saved: "CampaignConfig", config: "CampaignConfig") -> None:
    if saved.imported is not None and config.imported is not None:
        changes = differences({"imported": saved.imported.source()}, {"imported": config.imported.source()})
        if changes:
            more = f" (and {len(changes) - 1} more)" if len(changes) > 1 else ""
            raise UsageError(f"{root}: holds another import: {changes[0]}{more}; choose another --dir")


def _complete(workspace: Workspace) -> bool:
    if not workspace.layout.config.exists():
        return False
    stages = status(workspace.layout.root)["stages"]
    return all(stages[name]["done"] == stages[name]["total"] for name in ("ingest", "sample", "train"))


def _config(sources: Sources, bank: Bank, found: Survey, reporter: Reporter) -> "CampaignConfig":
    models, equal = len(bank.models), len(set(bank.blocks)) == 1
    one_sided = found.one_sided(models)
    if one_sided:
        reporter.line(f"import: {one_sided:,} documents are in every model or in none; they have no score")
    if not bank.scored:
        texts = set(bank.texts["doc_id"].to_pylist())
        among = sum(doc_id in texts for doc_id in bank.documents["doc_id"].to_pylist())
        reporter.line(
            f"import: {among:,} of {len(bank.documents):,} documents are among the texts evaluated: no memorization "
            "scores, which take all of them; influence alone"
        )
    imported = {
        "files": {role: str(path.resolve()) for role, path in sources.files.items()},
        "sha256": {role: sha256_file(path) for role, path in sources.files.items()},
        "blocks": bank.blocks,
        "scored": bank.scored,
        "n_tokens": bank.documents["n_tokens"].null_count == 0,
        "accuracy": bool({"accuracy", "n_correct"} & set(bank.matrices)),
    }
    return build(
        {
            "imported": imported,
            "design": {
                "splits": models,
                "block": bank.blocks[0] if equal else models,
                "base": "bernoulli",  # how the coins were balanced is not known: errors are pooled over a block
                "include": found.share,
            },
            "training": {"epochs": bank.epochs[-1], "evaluate_at": bank.epochs[:-1]},
        },
        origin="import",
    )


def _write_texts(workspace: Workspace, bank: Bank) -> None:
    import pyarrow as pa

    layout, inputs = workspace.layout, workspace.ingest_inputs()
    if workspace.ingested():
        return
    documents = len(bank.documents)
    others = bank.texts.take(pa.array(bank.order[documents if bank.scored else 0 :]))
    tokens = bank.documents["n_tokens"]
    notes = {
        "kept": documents,
        "rejected": {},
        "read": documents,
        "tokens": None if tokens.null_count else int(tokens.to_numpy().sum()),
        "evaluation_kept": len(others),
        "evaluation_rejected": {},
    }
    _write_table(layout.evaluation, inputs, others)
    _write_table(layout.controls, inputs, pa.schema(list(CONTROL_COLUMNS)).empty_table())
    _write_table(layout.documents, inputs, bank.documents, notes)


def _write_table(path: Path, inputs: dict[str, Any], table: "pa.Table", notes: dict[str, Any] | None = None) -> None:
    import pyarrow.parquet as pq

    with publishing(path, inputs, notes) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=ROW_GROUP)


def _write_blocks(workspace: Workspace, bank: Bank) -> None:
    """One coin per document, which was flipped in every model but where `asked` says otherwise."""
    layout, design = workspace.layout, workspace.config.design
    documents, size = len(bank.documents), design.block_size
    rows = zip(mask_rows(bank.masks), _asked(bank), strict=True)
    everyone = np.packbits(np.ones(documents, dtype=np.bool_))
    packed = {name: np.zeros((size, len(everyone)), dtype=np.uint8) for name in NAMES}
    packed["controls"] = np.zeros((size, 0), dtype=np.uint8)
    for split, (mask, asked) in enumerate(rows):
        row = split % size
        packed["included"][row] = np.packbits(mask)
        packed["asked"][row] = everyone if asked is None else np.packbits(asked)
        packed["treated"][row] = packed["included"][row] & packed["asked"][row]
        if row + 1 == size:
            _publish_block(
                workspace, layout.block(split // size), split // size, packed_bytes(packed, documents, documents, 0)
            )


def _asked(bank: Bank) -> Iterator[NDArray[np.bool_] | None]:
    if "asked" in bank.matrices:
        yield from mask_rows(bank.matrices["asked"])
    else:
        yield from (None for _ in bank.models)


def _publish_block(workspace: Workspace, path: Path, block: int, content: bytes) -> None:
    inputs = workspace.block_inputs(block)
    if not is_done(path, inputs):
        with publishing(path, inputs) as temporary:
            temporary.write_bytes(content)


def _write_losses(workspace: Workspace, bank: Bank, reporter: Reporter) -> None:
    from safetensors.numpy import save_file

    models = len(bank.models)
    with reporter.bar("import", models, "model") as bar:
        for split, (loss, correct) in enumerate(zip(bank.losses.rows(), _correct(bank), strict=True)):
            path, inputs = workspace.layout.losses(split), workspace.loss_inputs(split)
            if not is_done(path, inputs):
                columns = _columns(bank, loss)
                # What is not known is NaN: 0 would be an accuracy.
                known = np.full_like(columns, np.nan) if correct is None else _columns(bank, correct)
                with publishing(path, inputs, {"model": bank.models[split]}) as temporary:
                    save_file({"loss": columns, "n_correct": known}, temporary)
            bar.update(split + 1)


def _columns(bank: Bank, row: NDArray[Any]) -> NDArray[np.float32]:
    """(T,) or (E, T) -> (E, C), as the loss files have them."""
    row = row[None] if row.ndim == 1 else row
    if not np.array_equal(bank.order, np.arange(len(bank.order))):
        row = row[:, bank.order]
    return np.ascontiguousarray(row, dtype=np.float32)


def _correct(bank: Bank) -> Iterator[NDArray[Any] | None]:
    """Right next tokens of every text, one model after the other; of an accuracy, so many of its n_tokens, or 1."""
    if "accuracy" in bank.matrices:
        tokens = 1 if bank.n_tokens is None else bank.n_tokens
        yield from (row * tokens for row in bank.matrices["accuracy"].rows())
    elif "n_correct" in bank.matrices:
        yield from bank.matrices["n_correct"].rows()
    else:
        yield from (None for _ in bank.models)
