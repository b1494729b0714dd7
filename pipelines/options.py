"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.completion import rule_names

DirArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Campaign directory.", show_default=False)]
DirOption = Annotated[Path, typer.Option("--dir", help="Campaign directory, new or begun.", show_default=False)]
ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG", help="Campaign file (YAML).", show_default=False)]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Overrides a key of the campaign file: design.splits=128."),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
RuleOption = Annotated[
    str, typer.Option("--rule", help="What was kept or left out together.", autocompletion=rule_names)
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
SchedulerOption = Annotated[
    str | None,
    typer.Option("--scheduler", metavar="ADDRESS", help="A running Dask scheduler: tcp://host:8786, or its file."),
]
SlurmOption = Annotated[bool, typer.Option("--slurm", help="Workers as SLURM jobs; settings in cluster.slurm.")]
PartialOption = Annotated[
    bool, typer.Option("--allow-partial", help="Scores from the models that are there; the tables say how many.")
]
UntilSeOption = Annotated[
    float | None,
    typer.Option("--until-se", help="Add blocks of splits until the median standard error is this small, nats."),
]
UntilReliabilityOption = Annotated[
    float | None,
    typer.Option("--until-reliability", help="Add blocks of splits until ranks would agree so well, 0 to 1."),
]
MaxSplitsOption = Annotated[int | None, typer.Option("--max-splits", help="With --until-...: stop here in any case.")]
