"""The controls of a campaign (see `subsets.controls`): which texts, and in which columns of the losses they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from memo.config import CampaignConfig
from subsets.controls import CANARIES, Control, canaries_for, make_canaries, make_phantoms, phantoms_for
from subsets.readers import Document

COLUMNS = (
    ("doc_id", "string"),
    ("text", "large_string"),
    ("kind", "string"),
    ("copies", "int64"),
    ("column", "int64"),  # among documents, evaluation texts and controls: where losses and tokens have it
    ("n_tokens", "int64"),
)


@dataclass(frozen=True)
class Controls:
    """Phantoms and canaries. Phantoms that are evaluation texts have their tokens and columns already."""

    rows: list[dict[str, Any]]
    tokens: Any  # of the made-up ones, one after the other
    n_tokens: Any  # of each made-up one

    def write(self, path: Path, n_tokens: Any) -> None:
        """n_tokens: of every document, evaluation text and made-up control, in this order."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [{**row, "n_tokens": int(n_tokens[row["column"]])} for row in self.rows]
        pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(list(COLUMNS))), path, compression="zstd")


def make_controls(
    config: CampaignConfig,
    documents: Sequence[Document],
    evaluation: Sequence[Document],
    tokenizer: Any,
    corpus_tokens: int,
) -> Controls:
    """Evaluation texts and then made-up ones as phantoms; canaries, if not given, as many as the corpus can bear."""
    from memo.lm.tokens import encode

    wanted, texts = config.controls, [document.text for document in documents]
    number = phantoms_for(len(texts)) if wanted.phantoms == "auto" else wanted.phantoms
    held_out = [Control(document.doc_id, document.text, 0) for document in evaluation[:number]]
    made = make_phantoms(texts, number - len(held_out), config.seed)
    canaries = make_canaries(texts, CANARIES if wanted.canaries == "auto" else wanted.canaries, config.seed)
    tokens, offsets = encode(tokenizer, [control.text for control in (*made, *canaries)])
    if wanted.canaries == "auto":
        n_tokens = np.diff(offsets)[len(made) :].tolist()
        canaries = canaries[: canaries_for(corpus_tokens, n_tokens)]
    made += canaries
    columns = [*range(len(documents), len(documents) + len(held_out))]
    columns += [len(documents) + len(evaluation) + i for i in range(len(made))]
    rows = [
        {"doc_id": c.doc_id, "text": c.text, "kind": c.kind, "copies": c.copies, "column": column}
        for c, column in zip([*held_out, *made], columns, strict=True)
    ]
    return Controls(rows, tokens[: offsets[len(made)]], np.diff(offsets)[: len(made)])
