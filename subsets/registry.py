"""Finds duplication rules by name: built in, installed, or in a file of the user's.

    exact                        built in
    my_rule                      an entry point of the group `memo.rules` of an installed package
    path/to/file.py:frogs        a function or a `@memo.rule` in a file

A rule's code is loaded when it is needed, not before.
"""

import difflib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from typing import Any

from memo.config import LABELS_RULE, RuleSpec
from memo.errors import RuleError
from memo.rules import Rule

ENTRY_POINTS = "memo.rules"
BUILT_IN = {
    "exact": "subsets.rules.exact",
    "labels": "subsets.rules.labels",
    "near_duplicate": "subsets.rules.near_duplicate",
}


def known_rules() -> dict[str, str]:
    """Name -> where it comes from, for every rule that needs no file."""
    known = dict.fromkeys(BUILT_IN, "built in")
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        package = point.dist.name if point.dist else point.value
        if point.name in known:
            raise RuleError(
                f"two rules are named {point.name!r}: {known[point.name]} and the package {package}; "
                "uninstall one, or name the other by file"
            )
        known[point.name] = f"the package {package}"
    return known


def resolve(spec: RuleSpec) -> Rule:
    """The rule that a campaign file names; raises `RuleError` that lists the known ones."""
    if ".py:" in spec.rule:
        return _from_file(spec.rule)
    if spec.rule in BUILT_IN:
        return _as_rule(getattr(importlib.import_module(BUILT_IN[spec.rule]), spec.rule), spec.rule)
    known = known_rules()
    if spec.rule not in known:
        close = difflib.get_close_matches(spec.rule, known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise RuleError(
            f"no duplication rule is named {spec.rule!r}; {hint}known: {', '.join(sorted(known))}; "
            "or name one in a file: path/to/file.py:name"
        )
    (point,) = importlib.metadata.entry_points(group=ENTRY_POINTS, name=spec.rule)
    try:
        loaded = point.load()
    except Exception as error:
        raise RuleError(f"rule {spec.rule!r} of {known[spec.rule]} does not load: {_one_line(error)}") from error
    return _as_rule(loaded, spec.rule)


def source_of(spec: RuleSpec) -> str:
    """What identifies a rule besides its parameters: the checksum of its code, or of its table; else nothing."""
    if spec.rule == LABELS_RULE and isinstance(spec.parameters.get("path"), str):
        return _checksum_of_table(spec.parameters["path"])
    if ".py:" not in spec.rule:
        return "installed"
    return hashlib.sha256(_rule_file(spec.rule).read_bytes()).hexdigest()


def _checksum_of_table(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RuleError(f"rule {LABELS_RULE!r}: path: expected a file, found {path}: {error.strerror}") from error


def _rule_file(reference: str) -> Path:
    path = Path(reference.rpartition(":")[0])
    if not path.is_file():
        raise RuleError(f"rule {reference}: no such file {path}; expected path/to/file.py:name")
    return path


def _from_file(reference: str) -> Rule:
    path, name = _rule_file(reference), reference.rpartition(":")[2]
    # A module name of our own: a user's file may bear the name of any module.
    module_name = f"memo_rules_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise RuleError(f"rule {reference}: expected a Python file, found {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RuleError(
            f"rule {reference}: {path} does not load: {type(error).__name__}: {_one_line(error)}"
        ) from error
    if not hasattr(module, name):
        found = [key for key, value in vars(module).items() if isinstance(value, Rule)]
        raise RuleError(f"rule {reference}: {path.name} has no {name!r}; rules in it: {', '.join(found) or 'none'}")
    return _as_rule(getattr(module, name), name)


def _as_rule(found: Any, name: str) -> Rule:
    if isinstance(found, Rule):
        return found
    if callable(found):
        return Rule(name, found)
    raise RuleError(f"rule {name!r}: expected a function of the documents, found {type(found).__name__}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
