"""`memo export`: losses, masks, decisions and identifiers of a campaign as one file that other tools read.

Keys, columns and kinds are those of `memo.exchange` and `memo.long_form`, so `memo import` reads the file again. Only
some rows of a matrix are in memory; of .parquet, those of one model. Controls are no documents and stay behind.

Shapes: M models, E evaluations, T texts (documents first, then evaluation texts), N documents.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memo.campaign import Campaign
from memo.campaign_data import read_losses
from memo.errors import MemoError, UsageError
from memo.exchange import Matrices, Matrix, Names, of_array, write_npz, write_safetensors
from memo.long_form import write_long
from memo.splits import read_bits
from memo.store import read_parquet, read_record, temporary_path, verified
from pipelines.progress import Reporter
from pipelines.workspace import open_workspace

WRITERS: dict[str, Callable[[Path, Matrices, Names], None]] = {
    "npz": write_npz,
    "parquet": write_long,
    "safetensors": write_safetensors,
}


def run_export(
    root: Path, form: str, out: Path | None, everything: bool, allow_partial: bool, reporter: Reporter
) -> tuple[Path, int]:
    """Writes the file; gives its path and the number of models in it. `everything`: all evaluations, not the last.

    Raises `UsageError` for an unknown format and a file that is there already, `MemoError` where a model is missing and
    that is not allowed.
    """
    if form not in WRITERS:
        raise UsageError(f"--format: expected one of {', '.join(WRITERS)}, found {form!r}")
    workspace = open_workspace(root)
    path = Path(f"{root.resolve().name}.{form}") if out is None else out
    if path.exists():
        raise UsageError(f"{path}: expected a new file, found one; name another with --out")
    if path.suffix != f".{form}":
        raise UsageError(f"{path}: expected a name that ends in .{form}, by which it is known again; change --out")
    campaign = Campaign(workspace.layout, workspace.config)
    splits = _splits(campaign, allow_partial, reporter)
    for file in {workspace.layout.block(split // workspace.config.design.block_size) for split in splits}:
        verified(file)
    for split in splits:
        verified(workspace.layout.losses(split))
    temporary = temporary_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        WRITERS[form](temporary, matrices(campaign, splits, everything), names(campaign, splits))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path, len(splits)


def _splits(campaign: Campaign, allow_partial: bool, reporter: Reporter) -> list[int]:
    done, total = campaign.trained_splits(), campaign.config.design.splits
    missing = [split for split in range(total) if split not in set(done)]
    if not missing:
        return done
    named = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
    if not done or not allow_partial:
        raise MemoError(
            f"{campaign.layout.root}: expected {total} models, found {len(done)}; missing: {named}. Train them, or "
            "take what is there with --allow-partial"
        )
    reporter.line(f"export: {len(done)} of {total} models; left out: {named}")
    return done


def names(campaign: Campaign, splits: Sequence[int]) -> Names:
    """Identifiers; an evaluation text that bears the one of a document gets another."""
    documents, first = set(campaign.doc_ids), _documents_evaluated(campaign)
    others = [f"evaluation:{i}" if i in documents else i for i in campaign.text_ids[first:]]
    texts = [*campaign.text_ids[:first], *others]
    return {"models": [_model(campaign, s) for s in splits], "documents": campaign.doc_ids, "texts": texts}


def _documents_evaluated(campaign: Campaign) -> int:
    """Columns of the loss files before those of the evaluation texts."""
    imported = campaign.config.imported
    return len(campaign.doc_ids) if imported is None or imported.scored else 0


def _model(campaign: Campaign, split: int) -> str:
    """The name under which a model was imported; of one that memo trained, that of its files."""
    record = read_record(campaign.layout.losses(split))
    return str(record.notes["model"]) if record and "model" in record.notes else f"split-{split:05d}"


def matrices(campaign: Campaign, splits: Sequence[int], everything: bool) -> Matrices:
    """What the file holds, in the keys of `memo.exchange`; read when it is written."""
    imported, texts = campaign.config.imported, len(campaign.text_ids)
    epochs = campaign.config.training.evaluations
    chosen = range(len(epochs)) if everything else [len(epochs) - 1]
    shape = (len(splits), len(chosen), texts) if len(chosen) > 1 else (len(splits), texts)

    def measured(name: str) -> Matrix:
        def rows() -> Iterator[NDArray[Any]]:
            for split in splits:
                found = [read_losses(campaign.layout, split, name, e, slice(None, texts)) for e in chosen]
                yield np.stack(found).reshape(1, *shape[1:])

        return Matrix(name, shape, np.dtype(np.float32), rows)

    found = {"losses": measured("loss")}
    n_tokens = _n_tokens(campaign)
    if imported is None or imported.accuracy:
        # Without numbers of tokens each counted as 1, so that what is kept as right next tokens is the accuracy.
        found["accuracy" if n_tokens is None else "n_correct"] = measured("n_correct")
    if n_tokens is not None:
        found["n_tokens"] = of_array("n_tokens", n_tokens)
    found.update({key: _coins(campaign, splits, key) for key in ("masks", "asked", "treated")})
    blocks = campaign.blocks(np.asarray(splits, dtype=np.int64))
    if blocks is not None:
        found["blocks"] = of_array("blocks", blocks)
    if len(chosen) > 1:
        found["epochs"] = of_array("epochs", np.array(epochs, dtype=np.int64))
    return found


def _n_tokens(campaign: Campaign) -> NDArray[np.int64] | None:
    """(T,) where those of all texts are known."""
    layout, known = campaign.layout, []
    for path, number in ((layout.documents, _documents_evaluated(campaign)), (layout.evaluation, None)):
        if path.exists():
            known.append(read_parquet(path, columns=["n_tokens"])["n_tokens"].slice(0, number))
    if any(column.null_count for column in known):
        return None
    return np.concatenate([column.to_numpy() for column in known]).astype(np.int64)


def _coins(campaign: Campaign, splits: Sequence[int], key: str) -> Matrix:
    """masks: the document was in the split. asked: a coin of the document's own decided it. treated: both."""
    layout, size = campaign.layout, campaign.config.design.block_size
    unit = campaign.units.chain[0]
    alone = campaign.units.sizes[unit] == 1

    def row(split: int, name: str) -> NDArray[np.bool_]:
        number = split % size
        return read_bits(layout.block(split // size), name, slice(number, number + 1))

    def rows() -> Iterator[NDArray[np.bool_]]:
        for split in splits:
            if key == "masks":
                yield row(split, "included")
            else:
                yield row(split, key)[:, unit] & alone

    return Matrix(key, (len(splits), len(unit)), np.dtype(np.bool_), rows)
