"""Reads a campaign file: YAML, overrides, paths, and one line for whatever is wrong with it.

    config = load("campaign.yaml", ["design.splits=128"])

An unknown key is an error that names the nearest valid one. Nothing here imports torch or transformers, so that a
mistake is answered at once.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from memo.config import LABELS_RULE, CampaignConfig, rule_spec
from memo.errors import UsageError

FILE_RULES = (LABELS_RULE, "keywords")  # built-in rules that read the file `path`
EMBEDDED_RULE = "semantic"  # the built-in rule whose `embedding` may be a file of the user's


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers (PyYAML reads `1e-4` as a string) and no silent double keys."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = key_node.value
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def parse_yaml(text: str, origin: str) -> Any:
    """Plain data of a YAML text; `UsageError` with the line where it is not valid."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with two of its types made stricter
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise UsageError(f"{origin}{where}: not valid YAML: {problem}") from error


def load(path: str | Path, overrides: Sequence[str] = ()) -> CampaignConfig:
    """Reads a campaign file; `overrides` are `key.path=value` with a YAML value.

    Raises `UsageError` with one line that names the key, what was expected and what was found.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{path}: cannot read the campaign file: {reason}") from error
    data = parse_yaml(text, str(path))
    if not isinstance(data, dict):
        raise UsageError(f"{path}: expected a mapping such as `corpus: {{path: data.jsonl}}`, found {_kind(data)}")
    for override in overrides:
        _override(data, override)
    origin = " ".join([str(path), *(f"--set {override}" for override in overrides)])  # either may be what is wrong
    return build(_absolute(data, path.resolve().parent), origin)


def build(data: Mapping[str, Any], origin: str = "campaign") -> CampaignConfig:
    """Checks plain data and freezes it."""
    try:
        return CampaignConfig.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"{origin}: {_explain(error)}") from error


def with_rule(config: CampaignConfig, text: str, folder: Path) -> CampaignConfig:
    """The configuration with one more rule, written as in a campaign file: `exact`, `my_rules.py:frogs` or a mapping
    such as `{name: near, rule: near_duplicate, threshold: 0.7}`. Paths are relative to `folder`.
    """
    rule = parse_yaml(text, "--add")
    if not isinstance(rule, str | Mapping):
        raise UsageError(f"--add: expected a rule such as my_rules.py:frogs or {{rule: exact}}, found {text!r}")
    data = config.resolved()
    return build(_absolute({**data, "rules": [*data["rules"], rule]}, folder), "--add")


def _override(data: dict[str, Any], override: str) -> None:
    dotted, equals, value = override.partition("=")
    if not equals or not dotted:
        raise UsageError(f"--set {override}: expected key.path=value, for instance design.splits=128")
    *parents, last = dotted.split(".")
    node: Any = data
    for part in parents:
        if isinstance(node, dict) and node.get(part) is None:
            node[part] = {}
        node = _child(node, part, override)
    if isinstance(node, dict):
        node[last] = parse_yaml(value, f"--set {override}")
    else:
        _child(node, last, override)
        node[int(last)] = parse_yaml(value, f"--set {override}")


def _child(node: Any, part: str, override: str) -> Any:
    if isinstance(node, dict):
        return node[part]
    if isinstance(node, list) and part.isdigit() and int(part) < len(node):
        return node[int(part)]
    raise UsageError(f"--set {override}: {part!r} is below {_kind(node)}, which has no such key")


def _absolute(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Paths in a campaign file are relative to the file, so that it means the same from everywhere."""
    data = dict(data)
    for section in ("corpus", "evaluation"):
        sources = data.get(section)
        if isinstance(sources, dict):
            data[section] = _absolute_source(sources, folder)
        elif isinstance(sources, list):
            data[section] = [_absolute_source(s, folder) if isinstance(s, dict) else s for s in sources]
    for section in ("model", "tokenizer"):
        named = data.get(section)
        if isinstance(named, dict) and isinstance(named.get("name"), str):
            data[section] = {**named, "name": _absolute_name(named["name"], folder)}
    cluster = data.get("cluster")
    if isinstance(cluster, dict) and isinstance(cluster.get("scheduler"), str) and "://" not in cluster["scheduler"]:
        data["cluster"] = {**cluster, "scheduler": _absolute_path(cluster["scheduler"], folder)}
    if isinstance(data.get("rules"), list):
        data["rules"] = [_absolute_rule(rule, folder) for rule in data["rules"]]
    return data


def _absolute_source(source: dict[str, Any], folder: Path) -> dict[str, Any]:
    paths = source.get("path")
    if isinstance(paths, str):
        return {**source, "path": _absolute_path(paths, folder)}
    if isinstance(paths, list):
        return {**source, "path": [_absolute_path(p, folder) if isinstance(p, str) else p for p in paths]}
    return source


def _absolute_name(name: str, folder: Path) -> str:
    """A folder, if it looks like one or is there; else a name on the hub."""
    path = folder / Path(name).expanduser()
    return str(path) if name.startswith((".", "~", "/")) or path.is_dir() else name


def _absolute_path(path: str, folder: Path) -> str:
    if "://" in path or "::" in path:
        return path
    return str(folder / Path(path).expanduser())


def _absolute_rule(rule: Any, folder: Path) -> Any:
    if isinstance(rule, str):
        rule = rule_spec(rule) if ".py:" in rule else rule
    if isinstance(rule, dict) and isinstance(rule.get("rule"), str) and ".py:" in rule["rule"]:
        file, _, name = rule["rule"].rpartition(":")
        rule = {**rule, "rule": f"{_absolute_path(file, folder)}:{name}"}
        rule.setdefault("name", name)
    if isinstance(rule, dict) and rule.get("rule") in FILE_RULES and isinstance(rule.get("path"), str):
        rule = {**rule, "path": _absolute_path(rule["path"], folder)}
    if isinstance(rule, dict) and rule.get("rule") == EMBEDDED_RULE and ".py:" in str(rule.get("embedding")):
        file, _, name = str(rule["embedding"]).rpartition(":")
        rule = {**rule, "embedding": f"{_absolute_path(file, folder)}:{name}"}
    return rule


WANTED = {  # pydantic's names for kinds are those of Python
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
}


def _kind(value: Any) -> str:
    names = {
        dict: "a mapping",
        list: "a list",
        str: "text",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        type(None): "nothing",
    }
    return names.get(type(value), type(value).__name__)


def _explain(error: ValidationError) -> str:
    """The first problem in one line; the number of others behind it."""
    problems = error.errors(include_url=False)
    first, place = problems[0], _place(problems[0]["loc"])
    # A key that may be one of several kinds has a problem for each: one line says all that would do.
    same = [problem for problem in problems if _place(problem["loc"]) == place]
    where = ".".join(str(part) for part in place)
    if first["type"] == "extra_forbidden":
        text = f"unknown key {where!r}{_nearest(place)}"
    elif first["type"] == "missing":
        text = f"{where}: required key is missing"
    elif first["type"] == "value_error":
        message = str(first["ctx"]["error"])
        text = f"{where}: {message}" if where else message
    else:
        found = first["input"]
        shown = repr(found) if isinstance(found, str | int | float) else _kind(found)
        wanted = " or ".join(WANTED.get(problem["type"]) or _lowered(problem["msg"]) for problem in same)
        text = f"{where}: expected {wanted}, found {shown}"
    rest = len(problems) - len(same)
    return " ".join(text.split()) + (f" (and {rest} more)" if rest else "")


def _lowered(message: str) -> str:
    message = message.removeprefix("Input should be ")
    return message[0].lower() + message[1:]


def _place(location: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """The keys of a location, without pydantic's names for the kinds that a key may be."""
    section: Any = CampaignConfig
    place: list[str | int] = []
    for part in location:
        if isinstance(part, str) and section is not None and part in section.model_fields:
            section = _section_type(section.model_fields[part].annotation)
        elif isinstance(part, str) and section is None:
            break
        place.append(part)
    return tuple(place)


def _nearest(location: tuple[str | int, ...]) -> str:
    section: Any = CampaignConfig
    for part in location[:-1]:
        if isinstance(part, str):
            section = _section_type(section.model_fields[part].annotation)
    keys = list(section.model_fields)
    close = difflib.get_close_matches(str(location[-1]), keys, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; valid keys: {', '.join(keys)}"


def _section_type(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _section_type(argument)) is not None:
            return found
    return None
