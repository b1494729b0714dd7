"""The commented campaign file of `memo init`, made from the configuration's own documentation."""

import json
import textwrap
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from memo.config import CampaignConfig, Source
from memo.errors import UsageError
from memo.store import write_text

HEAD = """\
# A memo campaign: which corpus, which splits, which models.
#
#     memo run {name} --dir campaigns/{stem}
#
# Only corpus.path is needed; everything else shows its default.

corpus:                        # or a list of sources; or builtin: stdlib; or hub: {{name: wikitext, config: ...}}
  path: data/*.jsonl
"""
NOT_SHOWN = {"path", "hub", "builtin", "planted"}


def write_template(path: Path) -> None:
    """Raises `UsageError` rather than overwrite a file."""
    if path.exists():
        raise UsageError(f"{path}: expected a new file, found one; choose another name")
    write_text(path, HEAD.format(name=path, stem=path.stem) + _body())


def _body() -> str:
    lines = _fields(Source, indent="  ", skip=NOT_SHOWN)
    for name, field in CampaignConfig.model_fields.items():
        if name != "corpus":
            lines += ["", *_section(name, field)]
    return "\n".join(lines) + "\n"


def _section(name: str, field: FieldInfo) -> list[str]:
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        about = (type(default).__doc__ or "").strip().splitlines()[0]
        return [f"# {about}", f"{name}:", *_fields(type(default), indent="  ")]
    return _line(name, default, field, "")


def _fields(section: type[BaseModel], indent: str, skip: set[str] | None = None) -> list[str]:
    lines: list[str] = []
    for name, field in section.model_fields.items():
        if name not in (skip or set()):
            lines += _line(name, field.get_default(call_default_factory=True), field, indent)
    return lines


def _line(name: str, default: Any, field: FieldInfo, indent: str) -> list[str]:
    about = [f"{indent}# {line}" for line in textwrap.wrap(field.description or "", 110)]
    # What is not set by default is shown as a comment: writing `null` would say nothing to a reader.
    # The number of splits has a default that depends on the rest of the design.
    mark = "# " if default is None or name == "splits" else ""
    return [*about, f"{indent}{mark}{name}: {_flow(default) if default is not None else '...'}"]


def _flow(value: Any) -> str:
    plain = json.loads(json.dumps(value))
    return yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=10_000).removesuffix("...\n").strip()
