"""The docstrings of the running interpreter's standard library: an English corpus that needs no download.

Sources are parsed, never imported. CPython 3.11 gives about 1,950 documents of 250 characters and more, 1.2 MB; other
versions give other texts. Test folders and installed packages are left out.
"""

import ast
import os
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from memo.config import Source
from memo.errors import UsageError
from subsets.readers.records import NOT_PYTHON, Document, Record, Rejected, replace_surrogates, to_document

DEFAULT_MIN_CHARS: Final = 250  # shorter docstrings are mostly one formula: "Return the ..."
_SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test"}
_FIELDS = Source.model_validate({"builtin": "stdlib", "id": "id", "metadata": ("module", "kind")})
_BLOCKS = (ast.stmt, ast.ExceptHandler, ast.match_case)  # what definitions can stand in; expressions hold none

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def stdlib_documents() -> Iterator[Document | Rejected]:
    """Every docstring, files in sorted order, source order inside a file; of any length."""
    root = Path(sysconfig.get_path("stdlib"))
    if not root.is_dir():
        raise UsageError(f"{root}: expected the sources of the standard library, found none; use another corpus")
    seen: Counter[str] = Counter()
    for path in sorted(_python_files(root)):
        yield from _file_documents(path, path.relative_to(root), seen)


def _python_files(root: Path) -> Iterator[Path]:
    """Installed packages can be many times the library, so their folders are not walked."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _SKIPPED]
        files = (Path(folder) / name for name in names if name.endswith(".py"))
        yield from (file for file in files if file.is_file())  # not links that lead nowhere


def _file_documents(path: Path, relative: Path, seen: Counter[str]) -> Iterator[Document | Rejected]:
    location = f"stdlib/{relative.as_posix()}"
    try:
        tree = _parse(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; check the Python installation") from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        yield Rejected(location, NOT_PYTHON, replace_surrogates(" ".join(str(error).split())))
        return
    parts = relative.with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    for name, node in [(module, tree), *_definitions(tree, module)]:
        text = ast.get_docstring(node, clean=True)
        if text is not None:
            seen[name] += 1
            yield _document(name, seen[name], node, module, text, location)


def _parse(source: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in somebody else's string literals
        return ast.parse(source)


def _definitions(parent: ast.AST, prefix: str) -> Iterator[tuple[str, Definition]]:
    """Classes and functions below a node, with their qualified names."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, Definition):
            name = f"{prefix}.{node.name}"
            yield name, node
            yield from _definitions(node, name)
        elif isinstance(node, _BLOCKS):
            yield from _definitions(node, prefix)


def _document(
    name: str, occurrence: int, node: ast.Module | Definition, module: str, text: str, location: str
) -> Document | Rejected:
    """A name that is defined again, under another condition for instance, is `name#2`."""
    doc_id = f"stdlib:{name}" if occurrence == 1 else f"stdlib:{name}#{occurrence}"
    kinds = {ast.Module: "module", ast.ClassDef: "class"}
    fields = {"text": text, "id": doc_id, "module": module, "kind": kinds.get(type(node), "function")}
    record = Record(f"{location}:{getattr(node, 'lineno', 1)}", doc_id, fields)
    return to_document(record, _FIELDS)
