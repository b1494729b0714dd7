"""Last stage: blocks of documents x all splits become the score table of each rule, as one Dask graph.

A task reads its columns of every split's losses and nothing else, one block of splits at a time into the same buffers,
and scores all rules from them: memory is bounded by the documents of a task, not by the corpus or by the number of
splits. Tasks are plain functions of arrays and paths, so any Dask scheduler runs them; the table has the same bits
whatever the blocks and workers, but for p-values of groups, which are equal to rounding.

Groups of several documents need the mean loss of the whole group in every split. Groups whose sums would take more than
`GROUP_BYTES` are summed in further passes over the files.

Cost: 400 models of 2,097,152 documents, 6.7 GB of losses: see tests/benchmarks/test_aggregation.py.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from memo.contrasts import Bits, packed_contrast
from memo.errors import MemoError
from memo.estimators.checks import LARGEST_SINGLE, BadValueError
from memo.estimators.moments import WIDTH
from memo.groups import Index
from memo.imported_scores import of_imported
from memo.layout import Layout
from memo.scorer import GroupLosses, GroupSums, Part, Piece, Rows, Scorer
from memo.store import is_done, publishing, verified
from memo.tables import ScoredRule
from pipelines import training_log
from pipelines.loss_files import LossFile, Reader, loss_file
from pipelines.progress import Reporter
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from memo.campaign import Campaign

# Documents of a file at a time, and of a task. Longer reads are fewer, and with them the moments at which two threads
# wait for the interpreter; few tasks open every split's file less often. 400 models of 2,097,152 documents on two
# cores, in turn: 4.8 s with 2 widths a read and 4 reads a task, 4.2 with 4 and 2, 3.9 with 4 and 4. With 8 a read, 4.0
# to 4.2 in another run where 4 and 4 took 4.4: too little for twice the buffers.
READ_DOCUMENTS = 4 * WIDTH  # of 16 splits 8 MB, which stay in the last cache
TASK_DOCUMENTS = 4 * READ_DOCUMENTS
GROUP_BYTES = 1 << 28  # sums of group losses held at a time, of each rule
DAMAGED = "its losses are damaged or without a record; memo verify says which"
NO_GROUPS: Index = np.zeros(0, dtype=np.int64)


def run(workspace: Workspace, reporter: Reporter, allow_partial: bool = False) -> None:
    """Writes scores/NAME.parquet for each rule. Raises `MemoError` where a model is missing, unless that is allowed."""
    splits = workspace.usable_splits()
    absent = absences(workspace, splits)
    if absent and not (allow_partial and splits):
        raise MemoError(_refusal(workspace, absent, len(splits)))
    if absent:
        reporter.line(
            f"aggregate: from {len(splits)} of {workspace.config.design.splits} models; whether the others are missing "
            f"at random: memo status {workspace.layout.root} --missing"
        )
    layout = workspace.layout
    todo = [n for n in workspace.rules if not is_done(layout.scores(n), workspace.score_inputs(n, splits))]
    if not todo:
        return
    from memo.campaign import Campaign

    campaign = Campaign(workspace.layout, workspace.config)
    for block in range(workspace.config.design.blocks):
        verified(workspace.layout.block(block))
    import pyarrow.parquet as pq

    with reporter.bar("aggregate", len(todo), "rule") as bar:
        for done, (name, table) in enumerate(score_tables(campaign, todo, splits), start=1):
            with publishing(layout.scores(name), workspace.score_inputs(name, splits)) as path:
                pq.write_table(table, path, compression="zstd")
            bar.update(done)


def absences(workspace: Workspace, usable: Sequence[int]) -> dict[int, str]:
    """Split -> why it has no losses that count: it failed, diverged, or is not trained."""
    there, absent = set(usable), {}
    never = "not trained" if workspace.config.imported is None else "its losses are missing or damaged"
    for split in range(workspace.config.design.splits):
        if split not in there:
            error = training_log.read(workspace.layout.log(split)).error
            damaged = workspace.config.imported is None and workspace.layout.losses(split).exists()
            why = f"failed: {error}" if error else DAMAGED if damaged else never
            absent[split] = workspace.diverged(split) or why
    return absent


def _refusal(workspace: Workspace, absent: dict[int, str], usable: int) -> str:
    split, why = next(iter(absent.items()))
    root, total = workspace.layout.root, workspace.config.design.splits
    more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
    ways = []
    if workspace.config.imported is not None:
        ways.append("import the same files again: memo import --losses FILE --dir " + str(root))
    elif any(workspace.diverged(missing) is None for missing in absent):
        ways.append(f"run `memo train {root}`")
    if usable:
        ways.append(f"take what is there: memo aggregate {root} --allow-partial")
    if usable:
        told = f"scores need every model: {usable} of {total} are there, split {split} is not{more}: {why}"
    else:
        told = f"no scores: 0 of {total} models can be used; split {split}{more}: {why}"
    return f"{told}. To go on, {', or '.join(ways)}" if ways else told


def score_tables(
    campaign: "Campaign", names: Sequence[str], splits: Sequence[int], documents: int = TASK_DOCUMENTS
) -> "Iterator[tuple[str, pa.Table]]":
    """The score table of each rule from these splits, at the last evaluation. documents: of a task.

    Raises `MemoError` where no score can be made from them, and for losses that are none.
    """
    splits = scored_splits(campaign, splits)
    files = [loss_file(campaign.layout.losses(split)) for split in splits]
    rules = [packed_rule(campaign, name, splits) for name in names]
    batches = [_batches(rule) for rule in rules]
    p_values = [np.full(len(rule.several), np.nan) for rule in rules]
    rows: list[list[Rows]] = [[] for _ in rules]
    for number in range(max(map(len, batches), default=0)):
        groups = [b[number] if number < len(b) else NO_GROUPS for b in batches]
        try:
            found = _pass(files, rules, groups, documents, scored=number == 0)
        except BadValueError as error:
            raise MemoError(_bad_value(campaign, splits, error)) from None
        for rule, scored in enumerate(rules):
            rows[rule] += [part.rows[rule] for part in found if part.rows]
            sums = [part.groups[rule] for part in found]
            p_values[rule][np.searchsorted(scored.several, groups[rule])] = scored.group_p_values(groups[rule], sums)
    for scored, parts, values in zip(rules, rows, p_values, strict=True):
        yield scored.name, scored.table(parts, values)


def scored_splits(campaign: "Campaign", splits: Sequence[int]) -> list[int]:
    """Those that scores are made from. Raises `MemoError` where that is none."""
    found = campaign.config.design.scored(splits)
    if not found:
        raise MemoError(
            f"{campaign.layout.root}: expected pairs of opposite splits such as 0 and 1, found {len(splits)} splits "
            "without their partners; train these as well"
        )
    return found


@dataclass(frozen=True)
class Section:
    """Documents that are read together, and what is made of them: an entry for each rule."""

    documents: slice
    parts: list[Part]  # none in a pass that only sums group losses
    sums: list[GroupSums]


@dataclass(frozen=True)
class Found:
    """What became of a section: an entry for each rule."""

    rows: list[Rows]
    groups: list[GroupLosses]


def _pass(
    files: Sequence[LossFile], rules: Sequence[ScoredRule], groups: Sequence[Index], documents: int, scored: bool
) -> list[Found]:
    """One pass over the files: the rows of every document if `scored`, and the loss sums of these groups."""
    import dask

    def section(start: int, stop: int) -> Section:
        parts = [rule.part(start, stop) for rule in rules] if scored else []
        return Section(
            slice(start, stop), parts, [r.group_sums(start, stop, g) for r, g in zip(rules, groups, strict=True)]
        )

    tasks = []
    for start, stop in _cut(0, len(rules[0].doc_ids), documents):
        sections = [section(*ends) for ends in _cut(start, stop, READ_DOCUMENTS)]
        # Bound beforehand: Dask would look for its own collections in every argument of a call.
        tasks.append(dask.delayed(functools.partial(score_sections, files, rules[0].pieces, sections), pure=False)())
    return [found for task in dask.compute(*tasks) for found in task]


def score_sections(files: Sequence[LossFile], pieces: Sequence[Piece], sections: Sequence[Section]) -> list[Found]:
    """One task: reads every split's losses of these documents once, a block of splits at a time."""
    scorers = [[Scorer(part) for part in section.parts] for section in sections]
    widest = max(section.documents.stop - section.documents.start for section in sections)
    longest = max(piece.splits.stop - piece.splits.start for piece in pieces)
    # Rows a power of two apart would share the few places that a cache has for them.
    buffers = np.empty((2, longest, widest + 16), dtype="<f4")
    for piece in pieces:
        with Reader(files[piece.splits]) as reader:
            for section, of_rules in zip(sections, scorers, strict=True):
                start, width = section.documents.start, section.documents.stop - section.documents.start
                losses, correct = buffers[:, : piece.splits.stop - piece.splits.start, :width]
                reader.read("loss", start, losses)
                if of_rules:
                    reader.read("n_correct", start, correct)
                for scorer in of_rules:
                    scorer.add(piece, losses, correct)
                for sums in section.sums:
                    sums.add(losses)
    return [
        Found([scorer.rows() for scorer in of_rules], [sums.losses() for sums in section.sums])
        for section, of_rules in zip(sections, scorers, strict=True)
    ]


def packed_rule(campaign: "Campaign", name: str, splits: Sequence[int]) -> ScoredRule:
    """As `Campaign.scored_rule`, with the coins bit-packed: unpacked they take gigabytes at the largest size."""
    design, used = campaign.config.design, np.asarray(splits, dtype=np.int64)
    groups = campaign.scored_groups(name)
    scored = ScoredRule(
        name=name,
        doc_ids=campaign.doc_ids,
        n_tokens=campaign.n_tokens,
        groups=groups,
        contrast=packed_contrast(_decisions(campaign.layout, design.block_size, used), campaign.units, groups),
        blocks=campaign.blocks(used),
        include=design.include,
        models=(len(used), design.splits),
        until=campaign.config.until.goal,
        removal=campaign.removal(name, used),
    )
    return scored if campaign.config.imported is None else of_imported(scored, campaign.config.imported)


def _decisions(layout: Layout, size: int, used: Index) -> Iterator[tuple[Bits, Bits]]:
    """asked and treated of the used splits of one block after another, bit-packed as they lie on disk."""
    from safetensors import safe_open

    for block in np.unique(used // size):
        rows = used[used // size == block] - block * size
        with safe_open(layout.block(int(block)), framework="numpy") as file:
            asked, treated = file.get_tensor("asked"), file.get_tensor("treated")
        yield (asked, treated) if len(rows) == len(asked) else (asked[rows], treated[rows])


def _batches(rule: ScoredRule) -> list[Index]:
    """Groups of two or more, cut so that their documents' losses stay within `GROUP_BYTES`; one batch at least."""
    rows = np.cumsum(rule.groups.sizes[rule.several])
    limit = max(1, GROUP_BYTES // (8 * rule.models[0]))
    return np.split(rule.several, np.flatnonzero(np.diff(rows // limit)) + 1)


def _cut(start: int, stop: int, size: int) -> list[tuple[int, int]]:
    return [(first, min(first + size, stop)) for first in range(start, stop, size)]


def _bad_value(campaign: "Campaign", splits: Sequence[int], error: BadValueError) -> str:
    split, document = splits[error.row], campaign.doc_ids[error.column]
    limit = f" and below {LARGEST_SINGLE:g}" if LARGEST_SINGLE <= error.found < np.inf else ""
    return (
        f"{campaign.layout.losses(split)}: split {split}, document {document!r}: expected a {error.name} that is a "
        f"finite number and not negative{limit}, found {error.found}; memo verify {campaign.layout.root} says what is "
        "damaged"
    )
