"""`memo status` and `memo verify` in words."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from memo.in_words import in_words
from memo.text import for_terminal
from pipelines.progress import duration
from pipelines.show import print_json, print_table, records
from pipelines.terminal import say

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 10  # lines of each kind


def print_status(data: dict[str, Any]) -> None:
    """What `pipelines.status.status` found, on stdout."""
    say(f"{data['campaign']}: {'complete' if data['complete'] else 'not complete'}")
    corpus = data["corpus"]
    if corpus:
        rejected = sum(corpus["rejected"].values())
        print(
            f"{corpus['kept']:,} documents, {_tokens(corpus['tokens'])}, {rejected:,} records rejected"
            + (" (corpus/rejected.parquet says why)" if rejected else "")
        )
    for name, count in data["stages"].items():
        others = {**count, "diverged": len(data["diverged"]) if name == "train" else 0}
        told = "".join(f", {others[kind]} {kind}" for kind in ("failed", "diverged", "stale") if others[kind])
        print(f"  {name:<10} {count['done']:>5} of {count['total']}{told}")
    for kind in ("failed", "diverged"):
        for split, why in _some(data[kind]):
            print(f"split {split} {kind}: {for_terminal(why, 160)}")
    if data["running"]:
        who = data["running"]
        print(
            f"running: process {who['pid']} on {who['host']}" if who["pid"] else "running: a lock that cannot be read"
        )
    elif not (data["complete"] or data["training"]):
        print("nothing is running here; memo run, or the next stage, goes on from what is there")
    for split, step in _some(data["interrupted"]):
        print(f"  split {split}: interrupted, has a checkpoint of step {step:,}")
    for split, told in _some(data["training"]):
        print(f"  split {split}: {_doing(told)}")
    if data["diagnostics"]:
        print("\n".join(in_words(data["diagnostics"])))
    if data["training"]:
        print(f"speed: {_speed(data['speed'])}")


def _tokens(number: int | None) -> str:
    return "tokens not known" if number is None else f"{number:,} tokens"


def _some(found: dict[str, Any]) -> list[tuple[str, Any]]:
    """The first few; how many there are is in the counts above them."""
    return list(found.items())[:SHOWN]


def _doing(told: dict[str, Any]) -> str:
    where = f" on {for_terminal(str(told['host']), 40)}" if "host" in told else ""
    step = f"step {told['step']:,} of {told['steps']:,}" if "steps" in told else str(told["doing"])
    loss = f", loss {told['loss']:.3f}" if told.get("loss") is not None else ""
    again = f", try {told['attempt']}" if told.get("attempt", 1) > 1 else ""
    return f"{step}{loss}{where}{again}, heard {duration(told['heard_s_ago'])} ago"


def _speed(speed: dict[str, Any]) -> str:
    parts = []
    if speed["tokens_per_s"]:
        parts.append(f"{speed['tokens_per_s']:,.0f} tokens per second")
    if speed["models_per_hour"]:
        parts.append(f"{speed['models_per_hour']:,.1f} models per hour")
    if speed["left_s"] is not None:
        parts.append(f"{duration(speed['left_s'])} left")
    return ", ".join(parts) or "not known yet"


def print_missing(states: dict[int, str], coins: "pd.DataFrame", rule: str, as_json: bool) -> None:
    """Which splits have no losses, why, and on which side of the coins they are."""
    if as_json:
        print_json({"missing": {str(split): why for split, why in states.items()}, "coins": records(coins)})
        return
    if not states:
        print("no split is missing")
        return
    for split, why in states.items():
        print(f"split {split}: {for_terminal(why, 160)}")
    rows = [
        [
            f"{row['missing_in']} of {row['planned_in']}",
            f"{row['missing_out']} of {row['planned_out']}",
            f"{row['p_value']:.3g}",
            for_terminal(row["group_id"], 60),
        ]
        for row in records(coins.head(2 * SHOWN))
    ]
    print_table(
        f"Rule {rule}: {len(coins):,} coins were flipped in the missing splits, the most lopsided first",
        ["missing in", "missing out", "p", "group"],
        rows,
    )
    least = min(1.0, coins["p_value"].min() * len(coins)) if len(coins) else 1.0
    print(
        f"p: how often splits missing at random are as lopsided. The smallest, times the number of coins: {least:.2g}"
        + (" - not missing at random" if least < 0.05 else "")
    )


def print_verified(data: dict[str, Any], root: Path) -> None:
    """What `pipelines.verify.verify` found, on stdout."""
    say(f"{root}: {data['checked']:,} files, {data['bytes'] / 1e6:,.1f} MB agree with their records")
    for finding in data["findings"]:
        print(f"  {for_terminal(finding['path'], 120)}: {finding['problem']}")
