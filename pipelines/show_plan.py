"""`memo plan` in words."""

from typing import Any

from memo.design_settings import DOCUMENT_RULE
from memo.sets import CONTROL
from memo.text import for_terminal
from pipelines.progress import duration
from pipelines.terminal import say

UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def print_plan(data: dict[str, Any]) -> None:
    """What `pipelines.plan.plan` found, on stdout."""
    print(
        f"{data['documents']:,} documents, {data['tokens']:,} tokens; {data['splits']:,} models of "
        f"{data['parameters']:,} parameters, each {data['epochs']} epochs of some {data['tokens_per_split']:,} tokens"
    )
    if data["splits_trained"]:
        print(f"{data['splits_trained']:,} of them are trained")
    for rung in data["rungs"]:
        print(f"  {rung['rule']}: {_rung(rung)}")
    for cell in data["cells"]:
        print(f"  {_cell(cell)}")
    print(_disk(data["disk_bytes"]))
    if data["pilot"]:
        _print_predicted(data)
    if data["not_known"]:
        say(data["not_known"])


def _rung(rung: dict[str, Any]) -> str:
    if not rung["documents"]:
        return "no group of two documents or more"
    groups = f"{rung['groups']:,} groups of {rung['documents']:,} documents"
    what = f"{rung['documents']:,} documents" if rung["rule"] == DOCUMENT_RULE else groups
    return f"{what}, {_splits(rung['splits_in'])} splits in and {_splits(rung['splits_out'])} out expected"


def _cell(cell: dict[str, Any]) -> str:
    least, most = (f"{cell['tokens'][name]:,.0f}" for name in ("least", "most"))
    tokens = f"of {least if least == most else f'{least} to {most}'} tokens"
    if cell["kind"] == "copies":
        numbers = ", ".join(map(str, cell["counts"]))
        told = f"copies ({numbers}): {cell['documents']:,} documents {tokens}, {_splits(cell['splits_in'])} splits each"
        return told + _with_error(cell, "a score")
    sets = f"{cell['sets']:,} set{'s' if cell['sets'] > 1 else ''} {tokens}"
    told = f"{cell['rule']}, removed whole: {sets}, {_splits(cell['splits_removed'])} splits without"
    if cell["rule"] == CONTROL:
        return told
    told += f", {_splits(cell['splits_in'])} with the set and the document, {_splits(cell['splits_out'])} with the set"
    return f"{told} alone{_with_error(cell, 'a total')}"


def _with_error(cell: dict[str, Any], what: str) -> str:
    return "" if cell["median_se"] is None else f"; standard error of {what} {cell['median_se']:.3f}"


def _splits(spread: dict[str, float]) -> str:
    least, most = (f"{spread[name]:.3g}" for name in ("least", "most"))
    return least if least == most else f"{least} to {most}"


def _disk(disk: dict[str, int]) -> str:
    kinds = ("losses", "inclusion", "token_losses", "weights")
    parts = ", ".join(f"{name.replace('_', ' ')} {_bytes(disk[name])}" for name in kinds if disk[name])
    more = disk["checkpoints_per_model"]
    passing = f"; up to {_bytes(more)} more for each model while it trains" if more else ""
    return f"disk: {_bytes(disk['total'])} ({parts}){passing}"


def _bytes(size: float) -> str:
    unit = 0
    while size >= 999.5 and unit + 1 < len(UNITS):
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {UNITS[unit]}"


def _print_predicted(data: dict[str, Any]) -> None:
    pilot = data["pilot"]
    print(f"expected, from the noise of {pilot['splits']} splits in {for_terminal(pilot['campaign'])}:")
    for rung in data["rungs"]:
        found = rung["predicted"]
        if found is None:
            print(f"  {rung['rule']}: not known: {rung['reason']}")
            continue
        error, rank = found["splits_for_se"], found["splits_for_reliability"]
        told = f"standard error {found['median_se']:.3f} for the median document ({found['se']:.3f} root mean square)"
        told += f", a score of {found['gap']:.2f} shows; {error['target']} takes {error['splits']:,} splits"
        if found["reliability"] is not None:
            told += f"; two such campaigns would rank alike at {found['reliability']:.2f}"
            told += f", {rank['target']} takes {rank['splits']:,}" if rank["splits"] is not None else ""
        print(f"  {rung['rule']}: {told}")
    if pilot["differs"]:
        print(f"the pilot differs in {', '.join(pilot['differs'])}: its noise may be another")
    time = data["time"]
    if time is None:
        print("time: not known; the pilot's files do not say how long it trained")
    else:
        print(
            f"time: {duration(time['seconds'])} for {time['splits']:,} models, {time['tokens_per_s']:,.0f} tokens per "
            "second, where and as the pilot was trained; the start of workers and scoring come on top"
        )
