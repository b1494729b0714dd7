"""Commands that make something: a campaign file, a campaign, one of its stages, what is damaged."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memo.errors import MemoError, PartialError, UsageError
from pipelines.options import (
    ConfigArgument,
    DirArgument,
    DirOption,
    JsonOption,
    MaxSplitsOption,
    PartialOption,
    QuietOption,
    SchedulerOption,
    SetOption,
    SlurmOption,
    UntilReliabilityOption,
    UntilSeOption,
)
from pipelines.terminal import say

if TYPE_CHECKING:
    from memo.cluster_settings import Cluster
    from pipelines.workspace import Workspace


def init(
    path: Annotated[Path, typer.Argument(metavar="[FILE]", help="Where to write it.")] = Path("campaign.yaml"),
    slurm: Annotated[
        bool, typer.Option("--slurm", help="Also a job script for `sbatch`, where no scheduler runs.")
    ] = False,
) -> None:
    """Writes a commented campaign file to start from.

    Example: memo init my-campaign.yaml
    """
    from pipelines.template import write_array_script, write_template

    if not (slurm and path.exists()):
        write_template(path)
        say(f"wrote {path}; set corpus.path, then: memo run {path} --dir campaigns/{path.stem}")
    if slurm:
        script = path.with_suffix(".sbatch")
        write_array_script(path, script)
        say(f"wrote {script}; its comments say what to run before and after: sbatch {script}")


def run(
    context: typer.Context,
    config: ConfigArgument,
    directory: DirOption,
    override: SetOption = None,
    scheduler: SchedulerOption = None,
    slurm: SlurmOption = False,
    until_se: UntilSeOption = None,
    until_reliability: UntilReliabilityOption = None,
    max_splits: MaxSplitsOption = None,
    allow_partial: PartialOption = False,
    page: Annotated[bool, typer.Option("--report/--no-report", help="Make DIR/report.html at the end.")] = True,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Runs every stage; run it again and it goes on where it stopped.

    Example: memo run campaign.yaml --dir campaigns/first --set design.splits=32
    """
    from pipelines.progress import Reporter

    reporter = Reporter(quiet)
    reporter.line(f"memo: {config} -> {directory}")
    from memo.campaign_file import load
    from pipelines.stages import run_config

    goal = {"until.se": until_se, "until.reliability": until_reliability, "until.max_splits": max_splits}
    goals = [f"{key}={value}" for key, value in goal.items() if value is not None]
    settings = load(config, [*(override or ()), *goals])
    if max_splits is not None and not settings.until.wanted:
        raise UsageError("--max-splits: expected a goal beside it (--until-se, --until-reliability), found none")
    cluster = _cluster(settings.cluster, scheduler, slurm)
    how: dict[str, Any] = {"cluster": cluster, "allow_partial": allow_partial, "report": context.obj if page else None}
    workspace, before = run_config(settings, directory, reporter, **how)
    total, used = workspace.config.design.splits, len(workspace.usable_splits())
    _print_outcome(workspace, {"models": used, "of": total, "already_complete": before}, as_json)
    if used < total:
        raise PartialError(f"partial: {used} of {total} models; see which: memo status {directory} --missing")
    if not as_json:
        say(f"{'already complete' if before else 'complete'}: {total} models; see them with: memo scores {directory}")
        if page:
            say(f"report: {workspace.layout.report}")


def _print_outcome(workspace: "Workspace", outcome: dict[str, Any], as_json: bool) -> None:
    from memo.in_words import in_words
    from pipelines.status import saved_diagnostics
    from pipelines.until import unmet

    found = saved_diagnostics(workspace)
    missing = unmet(workspace, found)
    if as_json:
        from pipelines.show import print_json

        print_json({**outcome, "goal_missing": missing, "diagnostics": found})
    elif found is not None:
        print("\n".join([*in_words(found), *([f"the goal is not met: {missing}"] if missing else [])]))


def _cluster(settings: "Cluster", scheduler: str | None, slurm: bool) -> "Cluster":
    """Where this call wants the work to run."""
    if scheduler is not None and slurm:
        raise UsageError("expected --scheduler or --slurm, found both")
    if scheduler is not None:
        where = scheduler if "://" in scheduler else str(Path(scheduler).resolve())
        return settings.model_copy(update={"scheduler": where, "slurm": None})
    if slurm and settings.slurm is None:
        raise UsageError(
            "--slurm: expected cluster.slurm in the campaign file, for instance {interface: eth0}; found none"
        )
    chosen = settings.model_copy(update={"scheduler": None}) if slurm else settings
    if chosen.slurm is not None and chosen.scheduler is None:
        from pipelines.slurm import check_slurm

        check_slurm(chosen.slurm)  # now, not after the corpus is read
    return chosen


def ingest(
    config: ConfigArgument, directory: DirOption, override: SetOption = None, quiet: QuietOption = False
) -> None:
    """Reads the corpus, makes the tokens. The first stage alone.

    Example: memo ingest campaign.yaml --dir campaigns/first
    """
    from memo.campaign_file import load
    from pipelines.progress import Reporter
    from pipelines.stages import run_config

    run_config(load(config, override or ()), directory, Reporter(quiet), stages=("ingest",))


def group(
    directory: DirArgument,
    add: Annotated[
        str | None,
        typer.Option("--add", metavar="RULE", help="One more rule, as in a campaign file; no model is trained again."),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Runs the duplication rules. After `memo ingest`.

    With --add, a new rule is scored from the splits in which its groups happen to be whole.

    Example: memo group campaigns/first --add my_rules.py:frogs
    """
    if add is None:
        _stage("group", directory, quiet)
        return
    from pipelines.add_rule import add_rule, in_words
    from pipelines.progress import Reporter
    from pipelines.show import print_json

    found = add_rule(directory, add, Reporter(quiet))
    print_json(found) if as_json else print(in_words(found))


def sample(directory: DirArgument, quiet: QuietOption = False) -> None:
    """Flips the coins: which documents each model trains on. After `memo group`.

    Example: memo sample campaigns/first
    """
    _stage("sample", directory, quiet)


def train(
    directory: DirArgument,
    splits: Annotated[
        str | None,
        typer.Option(
            "--splits", metavar="A-B", help="Only these, for instance 0-15; several hosts can share the work."
        ),
    ] = None,
    scheduler: SchedulerOption = None,
    slurm: SlurmOption = False,
    quiet: QuietOption = False,
) -> None:
    """Trains the models that are not trained yet. After `memo sample`.

    Example: memo train campaigns/first --splits 0-15
    """
    from pipelines.progress import Reporter
    from pipelines.stages import run_stage, train_some
    from pipelines.workspace import open_workspace

    cluster = _cluster(open_workspace(directory).config.cluster, scheduler, slurm)
    if splits is None:
        run_stage("train", directory, Reporter(quiet), cluster)
    else:
        train_some(splits, directory, Reporter(quiet), cluster)


def aggregate(directory: DirArgument, allow_partial: PartialOption = False, quiet: QuietOption = False) -> None:
    """Makes the score tables. After `memo train`.

    Example: memo aggregate campaigns/first
    """
    _stage("aggregate", directory, quiet, allow_partial)


def _stage(name: str, directory: Path, quiet: bool, allow_partial: bool = False) -> None:
    from pipelines.progress import Reporter
    from pipelines.stages import run_stage

    run_stage(name, directory, Reporter(quiet), allow_partial=allow_partial)


def verify(
    context: typer.Context,
    directory: DirArgument,
    repair: Annotated[bool, typer.Option("--repair", help="Make what is damaged anew, and only that.")] = False,
    scheduler: SchedulerOption = None,
    slurm: SlurmOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Hashes every file again and names what is damaged.

    Example: memo verify campaigns/first
    """
    from pipelines import verify as verification
    from pipelines.progress import Reporter
    from pipelines.show import print_json
    from pipelines.show_status import print_verified
    from pipelines.workspace import open_workspace

    reporter = Reporter(quiet)
    data = verification.verify(directory, reporter)
    if repair and data["findings"]:
        for finding in data["findings"]:
            reporter.line(f"repair: {finding['path']}: {finding['problem']}")
        cluster = _cluster(open_workspace(directory).config.cluster, scheduler, slurm)
        verification.repair(directory, data["findings"], reporter, cluster, context.obj)
        data = verification.verify(directory, reporter)
    print_json(data) if as_json else print_verified(data, directory)
    if data["findings"]:
        first, found = data["findings"][0], len(data["findings"])
        if first["path"] == "campaign.yaml":  # which no repair can make anew
            raise MemoError(f"{directory / 'campaign.yaml'}: {first['problem']}")
        raise MemoError(
            f"{found} file{'s' if found > 1 else ''} not as recorded, the first: {first['path']}; "
            f"make them anew: memo verify {directory} --repair"
        )
