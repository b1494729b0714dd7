"""Which splits are trained side by side: decided and written down before the first of them is trained.

With the same batches a model in a stack has the same losses as alone but for rounding, and rounding depends on who is
beside it. So a stack that was begun is finished with the same members, in this run or a later one. (Without a stack the
order of batches is another one, see `memo.lm.batches`.) One that does not fit the memory, or that
a member of it brings down, is cut in halves, which are written down as well.

    stacks/stack-00000.json     {"splits": [0, 1, 2, 3], "width": 4, "wanted": "auto", "reason": "..."}
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Literal

from memo.errors import DamagedError
from memo.store import remove, write_text
from pipelines.workspace import Workspace

COHORT = 64  # as `memo.lm.batches.COHORT`, which would import torch; splits of one share when which length comes
Ask = Callable[[int], tuple[int, str]]  # number of splits -> width and the reason for it


@dataclass(frozen=True)
class Stack:
    """The record of a stack."""

    splits: tuple[int, ...]
    width: int  # as planned: the last of a campaign may be narrower
    wanted: int | Literal["auto"]  # `training.stack` at that time
    reason: str


def recorded(workspace: Workspace) -> list[Stack]:
    """The stacks of a campaign, each split in one of them, by their first split. Raises `DamagedError`."""
    found = sorted(_read(workspace), key=lambda stack: (len(stack.splits), stack.splits))
    taken: set[int] = set()
    stacks = []
    for stack in found:  # of a stack whose second half was written when the process died, the half counts
        left = tuple(split for split in stack.splits if split not in taken)
        taken |= set(left)
        if left:
            stacks.append(Stack(left, stack.width, stack.wanted, stack.reason))
    return sorted(stacks, key=lambda stack: stack.splits)


def _read(workspace: Workspace) -> Iterable[Stack]:
    for path in workspace.layout.stacks.glob("stack-*.json"):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            splits = tuple(int(split) for split in data["splits"])
            yield Stack(splits, int(data["width"]), data["wanted"], str(data["reason"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(
                f"{path}: expected the splits of a stack, found something else ({error}); delete it, and its splits "
                "that are not done are planned again"
            ) from error


def plan(workspace: Workspace, todo: Sequence[int], ask: Ask) -> tuple[list[tuple[int, ...]], str | None]:
    """The splits that are to be trained, as they are trained together, and how wide new stacks are and why.

    A recorded stack comes with all its members, those that are done as well. `ask` is called where there are splits
    that no stack has yet and `training.stack` is not 1.
    """
    wanted = workspace.config.training.stack
    stacks = [stack for stack in recorded(workspace) if not _forgotten(workspace, stack)]
    known = {split for stack in stacks for split in stack.splits}
    begun = [stack.splits for stack in stacks if set(stack.splits) & set(todo)]
    fresh = [split for split in todo if split not in known]
    if not fresh or wanted == 1:
        return sorted([*begun, *((split,) for split in fresh)]), None
    before = [stack for stack in stacks if stack.wanted == wanted]
    width, reason = (before[-1].width, before[-1].reason) if before else ask(len(fresh))
    if width == 1:
        return sorted([*begun, *((split,) for split in fresh)]), f"one model at a time: {reason}" if reason else None
    new = list(_cut(fresh, width))
    for members in new:
        record(workspace, Stack(members, width, wanted, reason))
    return sorted([*begun, *new]), f"stacks of up to {width} models: {reason}"


def _cut(splits: Sequence[int], width: int) -> Iterable[tuple[int, ...]]:
    """As few stacks as the width allows, of sizes as equal as can be, none across two cohorts."""
    for _, cohort in groupby(splits, key=lambda split: split // COHORT):
        left = list(cohort)
        size = -(-len(left) // -(-len(left) // width))
        for begin in range(0, len(left), size):
            yield tuple(left[begin : begin + size])


def _forgotten(workspace: Workspace, stack: Stack) -> bool:
    """A stack that was planned for another `training.stack` and of which nothing is there is planned anew."""
    layout = workspace.layout
    if stack.wanted == workspace.config.training.stack:
        return False
    if any(layout.losses(split).exists() for split in stack.splits) or layout.checkpoints(stack.splits[0]).exists():
        return False
    remove(layout.stack(stack.splits[0]))
    return True


def is_stacked(workspace: Workspace, splits: Sequence[int]) -> bool:
    """Whether these splits, or this one that is left of a stack, are trained in the order that stacks have."""
    return any(set(splits) <= set(stack.splits) for stack in recorded(workspace))


def halves(workspace: Workspace, members: tuple[int, ...], reason: str) -> list[tuple[int, ...]]:
    """The two parts of a stack that is cut, recorded."""
    wanted = workspace.config.training.stack
    middle = -(-len(members) // 2)
    parts = [members[:middle], members[middle:]]
    for part in reversed(parts):  # the first replaces the record of the whole
        record(workspace, Stack(part, len(part), wanted, reason))
    return parts


def record(workspace: Workspace, stack: Stack) -> None:
    """Writes a stack down."""
    data: dict[str, Any] = asdict(stack)
    write_text(workspace.layout.stack(stack.splits[0]), json.dumps(data) + "\n")
