"""Numbers as people read them: a score with its interval, and the diagnostics of a campaign in sentences."""

import math
from typing import Any

SIGNIFICANT = 0.05
# Share of the scores below zero, of so many at least: by chance in one of 5,000 campaigns where nothing is memorized.
NEARLY_ALL, MANY = 0.9, 20


def number(value: float | None) -> str:
    """Two digits after the point, or a dash where there is none."""
    if value is None or math.isnan(value):
        return "-"
    shown = f"{value:.2f}"
    return "0.00" if shown == "-0.00" else shown


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """`1.23 [0.98, 1.48]`, or a dash where there is no score."""
    if value is None or low is None or high is None or math.isnan(value) or math.isnan(low):
        return number(value)
    return f"{number(value)} [{number(low)}, {number(high)}]"


def sides(inside: int, outside: int) -> str:
    """How many splits or losses are on either side: `24/24`."""
    return f"{inside}/{outside}"


def in_words(found: dict[str, Any]) -> list[str]:
    """Lines for people: the controls first."""
    return [*controls_in_words(found["controls"]), *rules_in_words(found), *goal_in_words(found.get("until"))]


def goal_in_words(goal: dict[str, Any] | None) -> list[str]:
    """A stop rule, where the number of splits was decided by one."""
    if not goal:
        return []
    told = ", ".join(f"{key} {value}" for key, value in goal.items() if value is not None)
    return [f"the number of models was not fixed beforehand: a goal decided it ({told})"]


def controls_in_words(found: dict[str, Any]) -> list[str]:
    """What phantoms and canaries say, from the `controls` of diagnostics.json."""
    lines = []
    phantoms, canaries = found["phantoms"], found["canaries"]
    if phantoms["number"]:
        bad = phantoms["p_value"] is not None and phantoms["p_value"] < 0.001
        lines.append(
            f"phantoms: {phantoms['number']} texts that no model saw score {phantoms['mean']:+.3f} on average, "
            f"{phantoms['significant']} at p < {SIGNIFICANT} ({phantoms['expected_significant']:.1f} expected)"
            + ("; far too many: do not believe the scores" if bad else "")
        )
    if canaries["number"]:
        by_copies = ", ".join(f"{copies}: {mean:.2f}" for copies, mean in canaries["mean_by_copies"].items())
        lines.append(f"canaries: {canaries['number']} planted texts, mean score by copies: {by_copies}")
    return lines


def rules_in_words(found: dict[str, Any]) -> list[str]:
    """What can be resolved by each rule, and how alike another campaign would rank."""
    lines = []
    for name, rule in found["rules"].items():
        below = rule.get("below_zero")  # older files do not have it
        if below is not None and below >= NEARLY_ALL and rule["documents"] >= MANY:
            lines.append(
                f"{name}: {below:.0%} of the scores are below zero, as if training made the loss larger; masks must be "
                "true where a model trained on a document, not where it was left out"
            )
        if rule["median_se"] is None:
            continue
        text = f"{name}: median standard error {rule['median_se']:.3f}, a score of {rule['resolvable_gap']:.2f} shows"
        if rule["reliability"] is not None:
            text += f"; two campaigns of {rule['models']} models would rank alike at {rule['reliability']:.2f}"
            wanted = rule["models_for_target"]
            text += f", {rule['target']} takes {wanted:,} models" if wanted is not None else ""
        lines.append(text)
    return lines
