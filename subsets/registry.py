"""Finds duplication rules by name: built in, installed, or in a file of the user's.

    exact                        built in
    my_rule                      an entry point of the group `memo.rules` of an installed package
    path/to/file.py:frogs        a function or a `@memo.rule` in a file

A rule's code is loaded when it is needed, not before. `subsets.running` runs one.
"""

import difflib
import importlib
import inspect
import math
from pathlib import Path
from typing import Any, Final

from memo.campaign_file import EMBEDDED_RULE, FILE_RULES
from memo.config import RuleSpec
from memo.errors import RuleError
from memo.rules import Rule
from subsets.plugins import checksum, file_of, in_file, installed, module_of, offered

ENTRY_POINTS = "memo.rules"
BUILT_IN = {
    "exact": "subsets.rules.exact",
    "field": "subsets.rules.field",
    "keywords": "subsets.rules.keywords",
    "labels": "subsets.rules.labels",
    "near_duplicate": "subsets.rules.near_duplicate",
    "passage": "subsets.rules.passage",
    "semantic": "subsets.rules.semantic",
    "substring": "subsets.rules.substring",
}
TIMEOUT: Final = "timeout_s"  # a key of every rule: it stops the rule and decides nothing about its groups


def known_rules() -> dict[str, str]:
    """Name -> where it comes from, for every rule that needs no file."""
    return offered(ENTRY_POINTS, "rule", dict.fromkeys(BUILT_IN, "built in"))


def refuse_unknown(spec: RuleSpec) -> None:
    """Raises `RuleError` for a rule whose name nobody knows, or whose files are missing. Loads nothing of it."""
    source_of(spec)
    known = known_rules()
    if not in_file(spec.rule) and spec.rule not in known:
        close = difflib.get_close_matches(spec.rule, known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise RuleError(
            f"no duplication rule is named {spec.rule!r}; {hint}known: {', '.join(sorted(known))}; "
            "or name one in a file: path/to/file.py:name"
        )


def resolve(spec: RuleSpec) -> Rule:
    """The rule that a campaign file names; raises `RuleError` that lists the known ones."""
    if in_file(spec.rule):
        return _from_file(spec.rule)
    if spec.rule in BUILT_IN:
        return _as_rule(getattr(importlib.import_module(BUILT_IN[spec.rule]), spec.rule), spec.rule)
    refuse_unknown(spec)
    return _as_rule(installed(spec.rule, ENTRY_POINTS, "rule"), spec.rule)


def arguments(spec: RuleSpec, found: Rule) -> dict[str, Any]:
    """What the rule is called with: its parameters in the campaign file, and its name there if a built-in one asks."""
    accepted = inspect.signature(found.function).parameters
    given = {key: value for key, value in spec.parameters.items() if key != TIMEOUT or TIMEOUT in accepted}
    if spec.rule in BUILT_IN and "name" in accepted:
        given["name"] = spec.name
    return given


def timeout_s(spec: RuleSpec) -> float | None:
    """Seconds after which the rule is stopped, where the campaign file says so; raises `RuleError` for no such time."""
    value = spec.parameters.get(TIMEOUT)
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    if value is not None and not number:
        raise RuleError(f"rule {spec.name!r}: {TIMEOUT}: expected seconds, a number above 0, found {value!r}")
    return value


def source_of(spec: RuleSpec) -> str:
    """What identifies a rule besides its parameters: the checksum of its code, table or words; else nothing."""
    if in_file(spec.rule):
        return checksum(file_of(spec.rule), f"rule {spec.rule}")
    path, embedding = spec.parameters.get("path"), spec.parameters.get("embedding")
    if spec.rule in FILE_RULES and isinstance(path, str):
        return checksum(Path(path), f"rule {spec.rule!r}: path")
    if spec.rule == EMBEDDED_RULE and isinstance(embedding, str) and in_file(embedding):
        return checksum(file_of(embedding, "embedding"), f"embedding {embedding}")
    return "installed"


def is_foreign(spec: RuleSpec) -> bool:
    """Whether the rule runs code that is not memo's, or a pattern that may take for ever: it gets its own process."""
    if spec.rule not in BUILT_IN:
        return True
    return any(spec.parameters.get(key) is not None for key in ("regex", "embedding"))


def _from_file(reference: str) -> Rule:
    name = reference.rpartition(":")[2]
    found = vars(module_of(reference))
    rules = {key: value for key, value in found.items() if isinstance(value, Rule)}
    called = [key for key, value in rules.items() if value.name == name]
    different = {id(rules[key].function) for key in called}
    if len(different) > 1:
        raise RuleError(
            f"rule {reference}: two rules are named {name!r}, {' and '.join(called)}; rename one in @memo.rule(...)"
        )
    if name in found:
        return _as_rule(found[name], name)
    if not called:
        raise RuleError(
            f"rule {reference}: {file_of(reference).name} has no {name!r}; rules in it: {', '.join(rules) or 'none'}"
        )
    return rules[called[0]]


def _as_rule(found: Any, name: str) -> Rule:
    if isinstance(found, Rule):
        return found
    if callable(found):
        return Rule(name, found)
    raise RuleError(f"rule {name!r}: expected a function of the documents, found {type(found).__name__}")
