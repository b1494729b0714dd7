"""The `cluster:` section of a campaign file: where the work runs. None of it is part of a fingerprint."""

import unicodedata
from typing import Annotated, Literal

from pydantic import Field, field_validator

from memo.sections import Count, Natural, Real, Section

# These go into a shell script unquoted: letters, digits and a few signs that no shell and no sbatch interprets.
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.,:@+-]*$")]


class Slurm(Section):
    """Jobs of a SLURM cluster, each one worker that trains one model at a time."""

    interface: Word | None = Field(
        None,
        description="network interface (ib0, eth0, ...) on which the scheduler of this machine and the workers listen, "
        "encrypted and with credentials of this run alone; required, because memo listens to nobody else unasked",
    )
    queue: Word | None = Field(None, description="partition; none: the cluster's default")
    account: Word | None = Field(None, description="account that is charged; none: the cluster's default")
    jobs: Count = Field(8, description="jobs at a time, and never more than models to train")
    cores: Count = Field(1, description="cores per job; a model trains on one, further ones help a GPU job only")
    memory: Annotated[str, Field(pattern=r"^[1-9][0-9]*[KMGT]$")] = Field(
        "4G", description="memory per job, a whole number of K, M, G or T"
    )
    walltime: Annotated[str, Field(pattern=r"^([0-9]+-)?[0-9]+(:[0-9]{1,2}){0,2}$")] = Field(
        "4:00:00",
        description="longest time of a job, in quotes: minutes, h:mm:ss or d-hh:mm:ss. A job that reaches it is "
        "replaced, and the model it trained starts again: make it several times what a model takes",
    )
    gpus: Annotated[int, Field(strict=True, ge=0, le=1)] = Field(0, description="GPUs per job: 0 or 1")
    directives: tuple[str, ...] = Field(
        (), description="further options of sbatch as they are, for instance [--qos=long, --constraint=a100]"
    )
    prologue: tuple[str, ...] = Field(
        (), description="shell lines that run before the worker as they are, for instance [module load python]"
    )

    @field_validator("walltime", mode="before")
    @classmethod
    def _in_quotes(cls, value: object) -> object:
        if isinstance(value, int):  # YAML reads 1:30:00 as 5400
            raise ValueError(f"expected a time in quotes such as '1:30:00', found the number {value}")
        return value

    @field_validator("directives", "prologue")
    @classmethod
    def _single_lines(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        for line in lines:
            if not line.strip() or any(unicodedata.category(sign) in ("Cc", "Zl", "Zp") for sign in line):
                raise ValueError(f"expected single lines, none empty and without control characters, found {line!r}")
        return lines

    @field_validator("directives")
    @classmethod
    def _options(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        for line in lines:
            if not line.startswith("-"):
                raise ValueError(f"expected options of sbatch such as --qos=long, without #SBATCH, found {line!r}")
        return lines


class Cluster(Section):
    """Where the work runs. Never part of a fingerprint."""

    workers: Literal["auto"] | Count = Field(
        "auto", description="local worker processes; auto: one per GPU, or one per core where there is none"
    )
    scheduler: str | None = Field(
        None,
        description="a running Dask scheduler, tcp://host:8786 or its scheduler file; none: workers on this machine",
    )
    slurm: Slurm | None = Field(None, description="workers as jobs of a SLURM cluster; none: workers on this machine")
    retries: Natural = Field(
        2, description="further tries of a split whose worker or process died, before it has failed"
    )
    patience_minutes: Annotated[Real, Field(gt=0)] | None = Field(
        10.0,
        description="give up when a scheduler has had no worker for so many minutes; null: never. Not for SLURM jobs",
    )
