"""Checks the sizes in a campaign's `model:` section without importing transformers.

transformers accepts any keyword and ignores what it does not know, so `n_emdb: 64` would train the default width.
The valid keys are read from the source text of the installed configuration class, which takes milliseconds; importing
it would take seconds. Training checks once more against the class itself.
"""

import ast
import difflib
import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OWN_KEYS = ("model_type", "name", "pretrained")


def check_model_keys(model: Mapping[str, Any]) -> None:
    """Raises ValueError, in one line, for a model section that cannot be meant."""
    if "name" in model:
        if not isinstance(model["name"], str):
            raise ValueError("name: expected the name or folder of a checkpoint")
        if not isinstance(model.get("pretrained", False), bool):
            raise ValueError("pretrained: expected true or false")
        if "model_type" in model:
            raise ValueError("expected either name or model_type, found both")
        return  # the architecture is known only when its configuration is opened; training checks the keys
    if "pretrained" in model:
        raise ValueError("pretrained needs the name of a checkpoint, for instance name: EleutherAI/pythia-14m")
    if not isinstance(model.get("model_type"), str):
        raise ValueError("model_type is missing, for instance model_type: gpt2")
    keys = known_keys(model["model_type"])
    if keys is None:
        types = known_types()
        close = difflib.get_close_matches(model["model_type"], types, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"model_type: transformers has no {model['model_type']!r}{hint}")
    for key, value in model.items():
        refuse_unknown(str(key), keys, model["model_type"])
        _refuse_size(str(key), value)


def _refuse_size(key: str, value: Any) -> None:
    """A width or a number of layers below 1 would train a model without them, and say nothing."""
    counted = key.startswith(("n_", "num_")) or key.endswith("_size")
    if counted and value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError(f"{key}: expected a whole number of at least 1, found {value!r}")


def refuse_unknown(key: str, keys: frozenset[str], architecture: str) -> None:
    """Raises ValueError that names the nearest valid key, unless the key is valid."""
    if key in OWN_KEYS or key in keys:
        return
    close = difflib.get_close_matches(key, sorted(keys), n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"unknown key {key!r} for {architecture}{hint}")


@functools.cache
def known_types() -> tuple[str, ...]:
    """Names of the model families that the installed transformers brings."""
    root = _transformers()
    return tuple(sorted(p.name for p in (root / "models").iterdir() if any(p.glob("configuration_*.py"))))


@functools.cache
def known_keys(model_type: str) -> frozenset[str] | None:
    """Keys that this model type's configuration class takes; None where there is no such type."""
    folder = _transformers() / "models" / model_type.replace("-", "_")
    if not model_type.replace("-", "_").isidentifier() or not folder.is_dir():
        return None
    base = _class_fields(_parse(_transformers() / "configuration_utils.py"))
    for path in sorted(folder.glob("configuration_*.py")):
        classes = _class_fields(_parse(path))
        for name, (declared_type, _, _) in classes.items():
            if declared_type == model_type:
                return _with_parents(name, {**base, **classes})
    return None


def _transformers() -> Path:
    spec = importlib.util.find_spec("transformers")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("transformers is not installed; install memo with its dependencies")
    return Path(next(iter(spec.submodule_search_locations)))


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _class_fields(tree: ast.Module) -> dict[str, tuple[str | None, list[str], set[str]]]:
    """Class name -> (model_type, names of the bases, keys)."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = (
                _constant(node, "model_type"),
                [base.id for base in node.bases if isinstance(base, ast.Name)],
                _fields(node) | _aliases(node) | _init_arguments(node),
            )
    return found


def _fields(node: ast.ClassDef) -> set[str]:
    return {
        item.target.id
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and not item.target.id.startswith("_")
        and "ClassVar" not in ast.unparse(item.annotation)
    }


def _aliases(node: ast.ClassDef) -> set[str]:
    """`attribute_map` gives common names, such as hidden_size, to a class's own ones."""
    value = _assigned(node, "attribute_map")
    if not isinstance(value, ast.Dict):
        return set()
    return {str(key.value) for key in value.keys if isinstance(key, ast.Constant)}


def _init_arguments(node: ast.ClassDef) -> set[str]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return {argument.arg for argument in [*item.args.args[1:], *item.args.kwonlyargs]}
    return set()


def _constant(node: ast.ClassDef, name: str) -> str | None:
    value = _assigned(node, name)
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


def _assigned(node: ast.ClassDef, name: str) -> ast.expr | None:
    for item in node.body:
        if isinstance(item, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in item.targets):
            return item.value
    return None


def _with_parents(name: str, classes: dict[str, tuple[str | None, list[str], set[str]]]) -> frozenset[str]:
    _, bases, keys = classes[name]
    for base in bases:
        if base in classes:
            keys = keys | _with_parents(base, classes)
    return frozenset(keys)
