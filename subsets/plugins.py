"""Code that a campaign file names: in a file of the user's (`path/to/file.py:name`), or installed (an entry point).

Both for rules (`subsets.registry`) and for what a rule takes, such as an embedding. Code is loaded when it is needed,
not before.
"""

import hashlib
import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from memo.errors import RuleError


def in_file(reference: str) -> bool:
    """Whether a reference names a file and not something installed."""
    return ".py:" in reference


def file_of(reference: str, kind: str = "rule") -> Path:
    """The file of `path/to/file.py:name`; raises `RuleError` where there is none."""
    path = Path(reference.rpartition(":")[0])
    if not path.is_file():
        raise RuleError(f"{kind} {reference}: no such file {path}; expected path/to/file.py:name")
    return path


def checksum(path: Path, kind: str) -> str:
    """SHA-256 of a file's content; raises `RuleError` where it cannot be read. `kind`: what the file is, for that."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RuleError(f"{kind}: expected a file, found {path}: {error.strerror}") from error


def module_of(reference: str, kind: str = "rule") -> ModuleType:
    """Runs the file of `path/to/file.py:name`; raises `RuleError` in one line where that fails."""
    path = file_of(reference, kind)
    # A module name of our own: a user's file may bear the name of any module.
    module_name = f"memo_rules_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise RuleError(f"{kind} {reference}: expected a Python file, found {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        told = f"{type(error).__name__}: {_one_line(error)}"
        raise RuleError(f"{kind} {reference}: {path} does not load: {told}") from error
    return module


def installed(name: str, group: str, kind: str) -> Any:
    """What the entry point of this name and group gives; raises `RuleError` in one line where it does not load."""
    (point,) = importlib.metadata.entry_points(group=group, name=name)
    package = point.dist.name if point.dist else point.value
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        raise RuleError(f"{kind} {name!r} of the package {package} does not load: {_one_line(error)}") from error


def offered(group: str, kind: str, built_in: dict[str, str]) -> dict[str, str]:
    """Name -> where it comes from, of what is built in and what packages offer; a double name raises `RuleError`."""
    known = dict(built_in)
    for point in importlib.metadata.entry_points(group=group):
        package = point.dist.name if point.dist else point.value
        if point.name in known:
            raise RuleError(
                f"two {kind}s are named {point.name!r}: {known[point.name]} and the package {package}; "
                "uninstall one, or name the other by file"
            )
        known[point.name] = f"the package {package}"
    return known


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
