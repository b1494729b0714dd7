"""A source of the campaign file into documents and rejections, in a stable order.

    for item in read_source(source, seed=config.seed):
        match item: ...

Records stream; only `sample` holds the texts of the source in memory.
"""

from collections.abc import Iterator

import numpy as np

from memo.config import Source
from memo.seeding import streams, uniforms, unit_keys
from subsets.readers.files import expand
from subsets.readers.formats import READERS, format_of
from subsets.readers.hub import hub_records
from subsets.readers.planted import planted_documents
from subsets.readers.records import NOT_SAMPLED, TOO_LONG, TOO_SHORT, Document, Record, Rejected, to_document
from subsets.readers.stdlib import DEFAULT_MIN_CHARS, stdlib_documents

Items = Iterator[Document | Rejected]


def read_source(source: Source, seed: int) -> Items:
    """Exactly one `Document` or `Rejected` for every record that is read.

    `seed` is the campaign's: it draws the sample and the planted texts. Raises `UsageError` for a source that cannot
    be read; a wrong record is never an error.
    """
    items = _filtered(_documents(source, seed), source)
    if source.limit is not None:
        items = _first(items, source.limit)
    if source.sample is not None:
        items = _sampled(items, source.sample, seed)
    return items


def _documents(source: Source, seed: int) -> Items:
    if source.builtin == "planted":
        yield from planted_documents(source.planted, seed)
    elif source.builtin == "stdlib":
        yield from stdlib_documents()
    else:
        for record in _records(source):
            yield record if isinstance(record, Rejected) else to_document(record, source)


def _records(source: Source) -> Iterator[Record | Rejected]:
    if source.hub is not None:
        yield from hub_records(source.hub, source)
        return
    files = expand(source.path or ())
    formats = [format_of(file, source) for file in files]  # a file of no known format is an error before any is read
    for file, name in zip(files, formats, strict=True):
        yield from READERS[name](file, source)


def _filtered(items: Items, source: Source) -> Items:
    shortest = source.min_chars
    if source.builtin == "stdlib" and shortest == 0:
        shortest = DEFAULT_MIN_CHARS
    for item in items:
        if isinstance(item, Document) and len(item.text) < shortest:
            yield Rejected(item.location, TOO_SHORT, f"{len(item.text)} characters, expected at least {shortest}")
        elif isinstance(item, Document) and source.max_chars is not None and len(item.text) > source.max_chars:
            yield Rejected(item.location, TOO_LONG, f"{len(item.text)} characters, expected at most {source.max_chars}")
        else:
            yield item


def _first(items: Items, limit: int) -> Items:
    """Stops at the limit: what comes after is not read, so it is not counted either."""
    kept = 0
    for item in items:
        yield item
        kept += isinstance(item, Document)
        if kept == limit:
            return


def _sampled(items: Items, size: int, seed: int) -> Items:
    """The `size` documents with the smallest numbers of their own, so that others coming or going changes little."""
    read = list(items)
    ids = [item.doc_id for item in read if isinstance(item, Document)]
    if len(ids) <= size:
        yield from read
        return
    order = np.argsort(uniforms(streams(unit_keys(ids), "corpus sample", seed=seed), draw=0), kind="stable")
    chosen = np.zeros(len(ids), dtype=bool)
    chosen[order[:size]] = True
    keep = iter(chosen.tolist())
    for item in read:
        if isinstance(item, Rejected) or next(keep):
            yield item
        else:
            yield Rejected(item.location, NOT_SAMPLED, f"sample of {size} from {len(ids)}")
