"""What `memo init` writes: a commented campaign file, made from the configuration's documentation, and a job script.

write_template(Path("first.yaml"))
write_array_script(Path("first.yaml"), Path("first.sbatch"))
"""

import json
import math
import shlex
import textwrap
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from memo.campaign_file import load
from memo.config import CampaignConfig, Source
from memo.design_settings import Design
from memo.errors import UsageError
from memo.store import write_text
from pipelines.slurm_text import sbatch_path, shell_path

HEAD = """\
# A memo campaign: which corpus, which splits, which models.
#
#     memo run {name} --dir campaigns/{stem}
#
# Only corpus.path is needed; everything else shows its default.

corpus:                        # or a list of sources; or builtin: stdlib; or hub: {{name: wikitext, config: ...}}
  path: data/*.jsonl
"""
ARRAY = """\
#!/usr/bin/env bash
# Trains the {splits} models of a memo campaign as a SLURM job array, {share} models a task, where no scheduler runs.
#
# Before, in this folder, which the nodes must see as well:
#
#     memo ingest {config} --dir {directory} && memo group {directory} && memo sample {directory}
#     mkdir -p {logs}
#
# This script, and what follows when every task is done:
#
#     job=$(sbatch --parsable {script})
#     sbatch --dependency=afterok:$job --wrap={aggregate}
#
# A task that is preempted starts again by itself. After a time limit or a failure submit the script once more: what is
# trained is not trained again.
#
#SBATCH --job-name=memo
#SBATCH --array=0-{last}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output={log}
#
# For one task. memo trains one model per core, or one per GPU where it finds GPUs.
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=4:00:00
##SBATCH --gres=gpu:1
##SBATCH --partition=...
##SBATCH --account=...
set -euo pipefail

# Whatever makes the command `memo` available: module load python; source .venv/bin/activate

# As in the campaign file. If design.splits changes there, change it here and in --array: write this file again.
splits={splits}
share={share}
first=$((SLURM_ARRAY_TASK_ID * share))
last=$((first + share < splits ? first + share - 1 : splits - 1))
exec memo train {directory} --splits "$first-$last"
"""
NOT_SHOWN = {"path", "hub", "builtin", "planted"}


def write_template(path: Path) -> None:
    """Raises `UsageError` rather than overwrite a file."""
    if path.exists():
        raise UsageError(f"{path}: expected a new file, found one; choose another name")
    write_text(path, HEAD.format(name=path, stem=path.stem) + _body())


def write_array_script(
    campaign_file: Path, path: Path, directory: Path | None = None, per_task: int | None = None
) -> None:
    """Writes a job script for `sbatch --array` that trains `per_task` models a task, by default a block of the design.

    The numbers are those of the campaign file, or the defaults where there is none yet. Raises `UsageError` rather than
    overwrite a file, and for paths that a job script cannot hold.
    """
    if path.exists():
        raise UsageError(f"{path}: expected a new file, found one; delete it to have it written again")
    directory = directory or Path("campaigns") / campaign_file.stem
    design = load(campaign_file).design if campaign_file.exists() else Design()
    share = min(per_task or design.block_size, design.splits)
    text = ARRAY.format(
        splits=design.splits,
        share=share,
        last=math.ceil(design.splits / share) - 1,
        config=shell_path(campaign_file),
        directory=shell_path(directory),
        logs=shell_path(directory / "logs"),
        log=sbatch_path(directory / "logs", "slurm-%A_%a.log"),
        script=shell_path(path),
        aggregate=shlex.quote(f"memo aggregate {shell_path(directory)}"),
    )
    write_text(path, text)


def _body() -> str:
    lines = _fields(Source, indent="  ", skip=NOT_SHOWN)
    for name, field in CampaignConfig.model_fields.items():
        if name not in ("corpus", "imported"):
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
