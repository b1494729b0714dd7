"""How long a rule's description is: the bytes that the user gave to it. Its complexity in bits is made of them.

    description_bytes(spec)      # 0 for `exact`; 16 for {rule: substring, contains: "In the beginning"}

A rule that is told much can single out anything; the spectrum sets what a rule removes against what it had to be told.
So everything that the user wrote and that decides the groups counts, as it stands:

- the values of its parameters: text in UTF-8, numbers and true, false, null as JSON writes them, lists and mappings
  (with their keys) as the sum of what is in them. The parameters' names do not count: the rule brings them. Neither
  does `timeout_s`, which decides nothing.
- instead of the path of a word list or of a table of labels, the content of the file: a table that names the documents
  one by one is the longest description there is.
- the code of a rule or an embedding in a file: the function, and whatever else of that file it uses, without comments,
  docstrings and layout. What the file imports does not count, nor does the code of an installed package.
"""

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memo.campaign_file import EMBEDDED_RULE, FILE_RULES
from memo.config import RuleSpec
from memo.errors import RuleError
from subsets.plugins import file_of, in_file
from subsets.registry import TIMEOUT


def description_bytes(spec: RuleSpec) -> int:
    """Bytes of the literals, parameters and code that the user gave to a rule.

    Raises `RuleError` where a file that belongs to the rule cannot be read, or is not Python where it should be.
    """
    total = _code_bytes(spec.rule, "rule") if in_file(spec.rule) else 0
    for name, value in spec.parameters.items():
        if name == TIMEOUT:
            continue
        if name == "path" and spec.rule in FILE_RULES and isinstance(value, str):
            total += _file_bytes(value, spec.name)
        elif name == "embedding" and spec.rule == EMBEDDED_RULE and isinstance(value, str) and in_file(value):
            total += _code_bytes(value, "embedding")
        else:
            total += _value_bytes(value)
    return total


def _value_bytes(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        return sum(_value_bytes(key) + _value_bytes(item) for key, item in value.items())
    if isinstance(value, list | tuple | set):
        return sum(map(_value_bytes, value))
    return len(json.dumps(value, default=str))


def _file_bytes(path: str, rule: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError as error:
        raise RuleError(f"rule {rule!r}: path: expected a file, found {path}: {error.strerror}") from error


def _code_bytes(reference: str, kind: str) -> int:
    """Of the statement that defines the name, and of those of the same file that it needs. Nothing is run."""
    path, name = file_of(reference, kind), reference.rpartition(":")[2]
    try:
        module = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise RuleError(f"{kind} {reference}: expected Python, found {' '.join(str(error).split())}") from error
    statements = [each for each in module.body if not isinstance(each, ast.Import | ast.ImportFrom)]
    defined = [_defined(each, name) for each in statements]
    if not any(name in names for names in defined):
        raise RuleError(f"{kind} {reference}: expected {path.name} to define {name!r}, found that it does not")
    needed: set[int] = set()
    open_ = {name}
    while open_:
        wanted = open_.pop()
        for index, names in enumerate(defined):
            if wanted in names and index not in needed:
                needed.add(index)
                open_ |= {node.id for node in ast.walk(statements[index]) if isinstance(node, ast.Name)}
    code = [ast.unparse(_without_docstrings(statements[index])) for index in sorted(needed)]
    return len("\n".join(code).encode("utf-8", "surrogatepass"))


def _defined(statement: ast.stmt, sought: str) -> set[str]:
    """Names that a statement of a module binds or may change: functions, classes, targets of assignments (also
    `NAME[key] = ...`), and whatever a call that stands for itself mentions (`NAME.update(...)`).

    A function decorated as `@memo.rule("frogs")` is `frogs` as well, whatever it is called.
    """
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        nodes = [node for each in statement.decorator_list for node in ast.walk(each)]
        decorated = any(isinstance(node, ast.Constant) and node.value == sought for node in nodes)
        return {statement.name, sought} if decorated else {statement.name}
    names = set()
    for node in ast.walk(statement):
        bound = isinstance(getattr(node, "ctx", None), ast.Store) or isinstance(node, ast.Expr)
        names |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} if bound else set()
    return names


def _without_docstrings(statement: ast.stmt) -> ast.stmt:
    for node in ast.walk(statement):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return statement
