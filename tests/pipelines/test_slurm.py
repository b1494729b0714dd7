"""SLURM without SLURM: the job script, who may talk to the scheduler, what is refused, the array script."""

import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from memo.cluster_settings import Slurm
from memo.errors import MemoError, UsageError
from pipelines import slurm_jobs
from pipelines.progress import Reporter
from pipelines.slurm import check_slurm, load_jobqueue, slurm_client
from pipelines.template import write_array_script

JOB_SCRIPT = """\
#!/usr/bin/env bash

#SBATCH -J memo
#SBATCH -p gpu,long
#SBATCH -A lab-1
#SBATCH -n 1
#SBATCH --cpus-per-task=2
#SBATCH --mem=16G
#SBATCH -t 1-12:00:00
#SBATCH --output='{folder}/a b 100%%/slurm-%j.log'
#SBATCH --open-mode=append
#SBATCH --gres=gpu:1
#SBATCH --qos=long --comment="two words"
module load python && source "$HOME/my env/bin/activate"
export HF_HOME=/scratch/$USER
{python} -P -m distributed.cli.dask_worker tls://127.0.0.1:{port} --name memo-0 --nthreads 1 --memory-limit 0 --nanny \
--death-timeout 60 --dashboard-address 127.0.0.1:0 --no-dashboard --resources GPU=1 --interface lo --protocol tls:// \
--tls-ca-file '{private}/cert.pem' --tls-cert '{private}/cert.pem' --tls-key '{private}/key.pem'
"""

SBATCH = """\
#!/bin/sh
cp "$1" "$0.script.$$" && echo Submitted batch job $$
"""
SQUEUE = """\
#!/bin/sh
for script in "${0%squeue}"sbatch.script.*; do echo "${script##*.}" PENDING Resources; done
"""


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands that look like SLURM's: jobs are submitted and wait for ever."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("scancel", "#!/bin/sh\n")):
        executable(folder / name, text)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slurm_jobs, "CHECK_S", 0.1)
    return folder


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_the_job_script_is_shown_and_then_submitted(
    commands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Slurm(
        interface="lo",
        queue="gpu,long",
        account="lab-1",
        jobs=5,
        cores=2,
        memory="16G",
        walltime="1-12:00:00",
        gpus=1,
        directives=('--qos=long --comment="two words"',),
        prologue=('module load python && source "$HOME/my env/bin/activate"', "export HF_HOME=/scratch/$USER"),
    )
    folder = tmp_path / "a b 100%"
    with slurm_client(settings, folder, tasks=1, reporter=Reporter()) as client:
        (private,) = folder.glob("credentials*")
        port = client.scheduler.address.rpartition(":")[2]
    (submitted,) = commands.glob("sbatch.script.*")  # one task, so one job
    expected = JOB_SCRIPT.format(folder=tmp_path, python=sys.executable, port=port, private=private)
    assert submitted.read_text() == expected
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == f"slurm: the scheduler listens on tls://127.0.0.1:{port}; each job runs"
    assert [line.removeprefix("    ") for line in shown[1 : len(expected.splitlines()) + 1]] == expected.splitlines()
    assert shown[len(expected.splitlines()) + 1] == "slurm: jobs: 1 pending (Resources); 0 workers connected"


def test_a_user_s_own_dask_settings_do_not_enter_the_script(
    commands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import dask

    load_jobqueue()
    hidden = {"queue": "theirs", "account": "theirs", "job-directives-skip": ["--mem"], "local-directory": "/theirs"}
    hidden |= {"job-script-prologue": ["theirs"], "job-extra-directives": ["theirs"], "worker-extra-args": ["theirs"]}
    hidden |= {"env-extra": ["theirs"], "job-extra": ["theirs"], "extra": ["theirs"], "header-skip": ["--mem"]}
    with (
        dask.config.set({"jobqueue.slurm": {**dask.config.get("jobqueue.slurm"), **hidden}}),
        slurm_client(Slurm(interface="lo"), tmp_path / "logs", tasks=1, reporter=Reporter()),
    ):
        pass
    script = capsys.readouterr().err
    assert "theirs" not in script and "--mem=4G" in script


def test_only_who_has_the_credentials_may_talk_to_the_scheduler(commands: Path, tmp_path: Path) -> None:
    from distributed import Client
    from distributed.security import Security

    folder = tmp_path / "logs"
    with slurm_client(Slurm(interface="lo"), folder, tasks=1, reporter=Reporter(quiet=True)) as client:
        (private,) = folder.glob("credentials*")
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in private.iterdir()} == {0o600}
        address = client.scheduler.address
        strangers = ((address, Security.temporary()), (address.replace("tls", "tcp"), None))
        for where, security in strangers:
            with pytest.raises(OSError):
                Client(where, security=security, timeout=2, set_as_default=False)
    assert not private.exists()


def test_ctrl_c_stays_ctrl_c() -> None:
    ask = (
        "import signal; from pipelines.slurm import load_jobqueue; load_jobqueue(); signal.raise_signal(signal.SIGINT)"
    )
    result = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
    assert result.returncode == -signal.SIGINT and result.stderr.endswith("KeyboardInterrupt\n")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("interface", "lo; reboot"),
        ("interface", "--host=0.0.0.0"),
        ("queue", "main\n#SBATCH --uid=0"),
        ("queue", "$(reboot)"),
        ("queue", "main\n"),
        ("account", "my lab"),
        ("account", ""),
        ("memory", "4 GB"),
        ("memory", "4G\nreboot"),
        ("memory", "0G"),
        ("walltime", "1:00:00 --uid=0"),
        ("walltime", "`reboot`"),
        ("walltime", 5400),
        ("gpus", 2),
        ("gpus", True),
        ("jobs", 0),
        ("cores", "1; reboot"),
        ("directives", ["--qos=long\nreboot"]),
        ("directives", ["#SBATCH --qos=long"]),
        ("directives", "--qos=long"),
        ("prologue", ["module load python\r\nreboot"]),
        ("prologue", ["a\u2028b"]),
        ("prologue", [""]),
        ("nodes", 1),
    ],
)
def test_hostile_settings(key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Slurm.model_validate({key: value})


def test_ordinary_settings() -> None:
    for key, values in {
        "walltime": ("90", "1:30", "1:30:00", "2-0", "1-12:00:00"),
        "memory": ("500M", "1T"),
        "queue": ("main", "gpu_a100", "gpu,long", "a.b-c"),
        "interface": ("ib0", "enp0s31f6", "br-lan", "eth0.100", "eth0:1"),
    }.items():
        for value in values:
            assert getattr(Slurm.model_validate({key: value}), key) == value


@pytest.mark.parametrize("interface", [None, "ib7"])
def test_an_interface_must_be_named(interface: str | None) -> None:
    with pytest.raises(UsageError, match=rf"cluster.slurm.interface: .*\blo\b.*; found {interface or 'none'}$"):
        check_slurm(Slurm(interface=interface))


@pytest.mark.parametrize("package", ["dask_jobqueue", "cryptography"])
def test_without_the_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        UsageError, match=rf"{package}, which is not installed: pip install 'counterfactual-memo\[slurm"
    ):
        check_slurm(Slurm(interface="lo"))


def test_without_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="sbatch, squeue, scancel not found; start memo where they are"):
        check_slurm(Slurm(interface="lo"))


def test_a_folder_that_sbatch_would_misread(commands: Path, tmp_path: Path) -> None:
    for name in ("a\\b", "a\nb"):
        with (
            pytest.raises(UsageError, match="rename it"),
            slurm_client(Slurm(interface="lo"), tmp_path / name, tasks=1, reporter=Reporter(quiet=True)),
        ):
            pass
    assert not list(commands.glob("sbatch.script.*"))


def test_a_refusal_of_sbatch_is_told_at_once(commands: Path, tmp_path: Path) -> None:
    executable(commands / "sbatch", "#!/bin/sh\necho 'sbatch: error: invalid partition: nope' >&2\nexit 1\n")
    with (
        pytest.raises(
            UsageError, match=r"sbatch refused the job: sbatch: error: invalid partition: nope; see cluster\."
        ),
        slurm_client(Slurm(interface="lo"), tmp_path / "logs", tasks=2, reporter=Reporter(quiet=True)),
    ):
        pytest.fail("the block must not begin")


def test_jobs_that_end_without_a_worker_end_the_campaign(commands: Path, tmp_path: Path) -> None:
    executable(commands / "squeue", "#!/bin/sh\n")  # every job is gone at once
    folder = tmp_path / "logs"
    executable(
        commands / "sbatch",
        f"#!/bin/sh\necho module: not found > '{folder}'/slurm-$$.log; echo Submitted batch job $$\n",
    )
    with (
        pytest.raises(
            MemoError, match=rf"3 SLURM jobs in a row ended .* module: not found \(log: {folder}/slurm-\d+\."
        ),
        slurm_client(Slurm(interface="lo", jobs=1), folder, tasks=2, reporter=Reporter(quiet=True)) as client,
    ):
        client.submit(os.getpid).result(timeout=60)


def test_a_controller_that_does_not_answer_is_no_news(commands: Path, tmp_path: Path) -> None:
    executable(commands / "squeue", "#!/bin/sh\nexit 1\n")
    with slurm_client(Slurm(interface="lo", jobs=1), tmp_path / "logs", 1, Reporter(quiet=True)) as client:
        with pytest.raises(TimeoutError):
            client.submit(os.getpid).result(timeout=2)
        assert client.status == "running"
    assert len(list(commands.glob("sbatch.script.*"))) == 1


def fake_memo(folder: Path) -> dict[str, str]:
    """An environment in which `memo` and `sbatch` note their arguments, one a line, in `folder/calls`."""
    (folder / "bin").mkdir(exist_ok=True)
    note = f'#!/bin/sh\nfor word in "${{0##*/}}" "$@"; do echo "$word" >> \'{folder}/calls\'; done\n'
    executable(folder / "bin/memo", note)
    executable(folder / "bin/sbatch", note + "echo 42\n")
    return {**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    found = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return found


@pytest.mark.parametrize(
    ("splits", "per_task"), [(64, None), (48, None), (16, 5), (16, 16), (16, 40), (16, 1), (1, None)]
)
def test_the_array_trains_every_split_once(splits: int, per_task: int | None, tmp_path: Path) -> None:
    campaign = tmp_path / "first.yaml"
    include = ", base: bernoulli" if splits == 1 else ""
    campaign.write_text(f"corpus: {{path: data.jsonl}}\ndesign: {{splits: {splits}{include}}}\n")
    script = tmp_path / "first.sbatch"
    write_array_script(campaign, script, per_task=per_task)
    subprocess.run(["bash", "-n", script], check=True)
    found = re.search(r"^#SBATCH --array=0-(\d+)$", script.read_text(), re.MULTILINE)
    assert found is not None
    environment = fake_memo(tmp_path)
    trained: list[int] = []
    for task in range(int(found[1]) + 1):
        subprocess.run(["bash", script], env={**environment, "SLURM_ARRAY_TASK_ID": str(task)}, check=True)
        *words, shares = calls(tmp_path)
        assert words == ["memo", "train", "campaigns/first", "--splits"]
        first, last = map(int, shares.split("-"))
        assert first <= last
        trained += range(first, last + 1)
    assert trained == list(range(splits))


def test_the_array_script_without_a_campaign_file_has_the_defaults(tmp_path: Path) -> None:
    write_array_script(tmp_path / "new.yaml", tmp_path / "new.sbatch")
    assert "#SBATCH --array=0-3\n" in (tmp_path / "new.sbatch").read_text()
    with pytest.raises(UsageError, match=r"new\.sbatch: expected a new file"):
        write_array_script(tmp_path / "new.yaml", tmp_path / "new.sbatch")


def test_the_commands_in_the_array_script_s_comments_run(tmp_path: Path) -> None:
    """With names that a shell would take apart."""
    name = "it's $(touch hacked) `touch hacked` 100% #1"
    campaign, script = Path(f"{name}.yaml"), tmp_path / f"{name}.sbatch"
    write_array_script(campaign, script)
    environment = fake_memo(tmp_path)
    lines = [line.removeprefix("#     ") for line in script.read_text().splitlines() if line.startswith("#     ")]
    subprocess.run(["bash", "-euc", "\n".join(lines)], env=environment, cwd=tmp_path, check=True)
    where = f"campaigns/{name}"
    *before, wrap = calls(tmp_path)
    assert before == [
        *("memo", "ingest", str(campaign), "--dir", where),
        *("memo", "group", where),
        *("memo", "sample", where),
        *("sbatch", "--parsable", str(script)),
        *("sbatch", "--dependency=afterok:42"),
    ]
    subprocess.run(["bash", "-c", wrap.removeprefix("--wrap=")], env=environment, cwd=tmp_path, check=True)
    assert calls(tmp_path) == ["memo", "aggregate", where]
    assert (tmp_path / where / "logs").is_dir()
    subprocess.run(["bash", script], env={**environment, "SLURM_ARRAY_TASK_ID": "3"}, cwd=tmp_path, check=True)
    assert calls(tmp_path) == ["memo", "train", where, "--splits", "48-63"]
    assert not list(tmp_path.rglob("hacked"))


@pytest.mark.parametrize("name", ["a\nb", "a\rb"])
def test_names_that_would_break_a_line_of_the_array_script(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="control characters"):
        write_array_script(tmp_path / f"{name}.yaml", tmp_path / "x.sbatch")
    with pytest.raises(UsageError, match="control characters"):
        write_array_script(tmp_path / "x.yaml", tmp_path / f"{name}.sbatch")
    assert not list(tmp_path.iterdir())
