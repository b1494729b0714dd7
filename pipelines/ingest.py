"""First stage: reads the corpus and the evaluation texts, trains or opens the tokenizer, counts the tokens.

Every input record is kept or rejected with a reason: kept + rejected = read. The campaign keeps its own copy of texts
and tokens; the sources are not read again.

Cost: the texts are held in memory once, because a tokenizer trained on the corpus must see it before it can count.
"""

import collections
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from memo.config import Source
from memo.errors import UsageError
from memo.store import publishing
from pipelines.controls import Controls, make_controls
from pipelines.progress import Bar, Reporter
from pipelines.workspace import Workspace
from subsets.readers import Document, Rejected, read_source
from subsets.readers.records import MISSING_TEXT

ROW_GROUP = 16_384
NO_TOKENS = "no tokens"
OWN_COLUMNS = ("doc_id", "text", "n_tokens")


@dataclass
class _Texts:
    """What was read from one list of sources."""

    kept: list[Document] = field(default_factory=list)
    rejected: list[tuple[int, Rejected]] = field(default_factory=list)  # number of the source, the rejection

    def reasons(self) -> dict[str, int]:
        return dict(sorted(collections.Counter(r.reason for _, r in self.rejected).items()))


def run(workspace: Workspace, reporter: Reporter) -> None:
    """Writes corpus/. Raises `UsageError` for sources that cannot be read, double identifiers, an empty corpus."""
    if workspace.ingested():
        return
    config = workspace.config
    _check_metadata([*config.corpus, *config.evaluation])
    with reporter.bar("ingest", None, "document") as bar:
        corpus = _read(config.corpus, config.seed, "corpus", bar)
        evaluation = _read(config.evaluation, config.seed, "evaluation", bar, before=len(corpus.kept))
    if not corpus.kept:
        why = ", ".join(f"{count} {reason}" for reason, count in corpus.reasons().items()) or "the sources are empty"
        hint = "; name the field that holds the text: corpus.text" if MISSING_TEXT in corpus.reasons() else ""
        raise UsageError(
            f"corpus: expected at least one document, found none of {len(corpus.rejected)} records ({why}){hint}"
        )
    for name in sorted({name for source in config.corpus for name in source.metadata}):
        if all(document.metadata.get(name) is None for document in corpus.kept):
            reporter.line(f"ingest: no record has the metadata field {name!r}; its column is empty")
    reporter.line(f"ingest: {len(corpus.kept):,} documents kept, {len(corpus.rejected):,} rejected; making tokens")
    tokenizer = _make_tokenizer(workspace, corpus)
    tokens, offsets = _tokenize(tokenizer, corpus, evaluation)
    controls = make_controls(config, corpus.kept, evaluation.kept, tokenizer, int(offsets[len(corpus.kept)]))
    _write(workspace, corpus, evaluation, controls, tokens, offsets)
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in corpus.reasons().items())
    reporter.line(
        f"ingest: {len(corpus.kept):,} documents, {int(offsets[len(corpus.kept)]):,} tokens"
        + (f"; rejected: {rejected}" if rejected else "")
    )


def _check_metadata(sources: Sequence[Source]) -> None:
    for name in (name for source in sources for name in source.metadata):
        if name in OWN_COLUMNS:
            raise UsageError(f"metadata: the field {name!r} bears the name of a column of memo; rename it")


def _read(sources: Sequence[Source], seed: int, section: str, bar: Bar, before: int = 0) -> _Texts:
    texts = _Texts()
    first_seen: dict[str, str] = {}
    for number, source in enumerate(sources):
        for item in read_source(source, seed):
            if isinstance(item, Rejected):
                texts.rejected.append((number, item))
                continue
            if item.doc_id in first_seen:
                raise UsageError(
                    f"{section}: the id {item.doc_id!r} stands twice: {first_seen[item.doc_id]}, {item.location}; "
                    "make ids unique, or name another field with `id:`"
                )
            first_seen[item.doc_id] = item.location
            texts.kept.append(item)
            if len(texts.kept) % 256 == 0:
                bar.update(before + len(texts.kept))
    bar.update(before + len(texts.kept))
    return texts


def _make_tokenizer(workspace: Workspace, corpus: _Texts) -> Any:
    from memo.lm import tokens as tokenizers

    settings = workspace.config.tokenizer
    with publishing(workspace.layout.tokenizer, workspace.ingest_inputs()) as folder:
        if settings.name is None:
            tokenizer = tokenizers.train_tokenizer((d.text for d in corpus.kept), settings.vocab_size, folder)
        else:
            tokenizer = tokenizers.save_tokenizer(settings.name, folder)
        tokenizers.window_start_id(tokenizer)  # refused now, not in every worker
    return tokenizer


def _tokenize(tokenizer: Any, corpus: _Texts, evaluation: _Texts) -> tuple[Any, Any]:
    """(tokens, offsets) of documents and then evaluation texts. Texts without a token move to the rejected."""
    from memo.lm import tokens as tokenizers

    texts = [document.text for document in (*corpus.kept, *evaluation.kept)]
    tokens, offsets = tokenizers.encode(tokenizer, texts)
    counts = np.diff(offsets)
    first_text = len(corpus.kept)
    _reject_empty(corpus, counts[:first_text])
    _reject_empty(evaluation, counts[first_text:])
    # Texts without tokens take no room in `tokens`; only their offsets go.
    return tokens, np.concatenate([[0], np.cumsum(counts[counts > 0])]).astype(np.int64)


def _reject_empty(texts: _Texts, counts: Any) -> None:
    for document, count in zip(texts.kept, counts, strict=True):
        if count == 0:
            texts.rejected.append((0, Rejected(document.location, NO_TOKENS, "the tokenizer gives no token for it")))
    texts.kept = [document for document, count in zip(texts.kept, counts, strict=True) if count > 0]


def _write(
    workspace: Workspace, corpus: _Texts, evaluation: _Texts, controls: Controls, tokens: Any, offsets: Any
) -> None:
    from safetensors.numpy import save

    layout, inputs = workspace.layout, workspace.ingest_inputs()
    counts = np.diff(offsets)
    notes = {
        "kept": len(corpus.kept),
        "rejected": corpus.reasons(),
        "read": len(corpus.kept) + len(corpus.rejected),
        "tokens": int(offsets[len(corpus.kept)]),
        "evaluation_kept": len(evaluation.kept),
        "evaluation_rejected": evaluation.reasons(),
        "phantoms": sum(row["copies"] == 0 for row in controls.rows),
        "canaries": sum(row["copies"] > 0 for row in controls.rows),
    }
    with publishing(layout.evaluation, inputs) as path:
        _write_documents(path, evaluation.kept, counts[len(corpus.kept) :])
    everything = np.concatenate([counts, controls.n_tokens])
    with publishing(layout.controls, inputs) as path:
        controls.write(path, everything)
    with publishing(layout.rejected, inputs) as path:
        _write_rejected(path, {"corpus": corpus, "evaluation": evaluation})
    with publishing(layout.tokens, inputs, {"tokenizer": _tokenizer_note(workspace)}) as path:
        all_offsets = np.concatenate([[0], np.cumsum(everything)]).astype(np.int64)
        all_tokens = np.concatenate([tokens, controls.tokens]).astype(tokens.dtype)
        path.write_bytes(save({"tokens": all_tokens, "offsets": all_offsets}))
    with publishing(layout.documents, inputs, notes) as path:
        _write_documents(path, corpus.kept, counts[: len(corpus.kept)])


def _tokenizer_note(workspace: Workspace) -> str:
    name = workspace.config.tokenizer.name
    if name is None:
        return "trained on all documents of the corpus: it has seen what the models leave out"
    return f"{name}: it may have seen the documents"


def _write_documents(path: Path, documents: Sequence[Document], n_tokens: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = dict.fromkeys(key for document in documents for key in document.metadata)
    columns = {
        "doc_id": pa.array([d.doc_id for d in documents], pa.string()),
        "text": pa.array([d.text for d in documents], pa.large_string()),
        "n_tokens": pa.array(n_tokens, pa.int64()),
        **{name: pa.array([d.metadata.get(name) for d in documents], pa.string()) for name in fields},
    }
    pq.write_table(pa.table(columns), path, compression="zstd", row_group_size=ROW_GROUP)


def _write_rejected(path: Path, sections: dict[str, _Texts]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"source": f"{section}.{number}", "location": r.location, "reason": r.reason, "detail": r.detail}
        for section, texts in sections.items()
        for number, r in texts.rejected
    ]
    schema = pa.schema([(name, pa.string()) for name in ("source", "location", "reason", "detail")])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")
