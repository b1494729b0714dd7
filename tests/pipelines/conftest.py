"""A SLURM of this machine for tests: real controller, real node, real sbatch, gone afterwards.

    def test_it(slurm: Slurm) -> None:
        subprocess.run(["sbatch", "--wait", script], check=True)

Four cores and a GPU that is only a name, on 127.0.0.1; no accounting, no cgroups, no systemd. The test is skipped, with
the reason, where the programs are missing or it is not root (Debian: slurmctld slurmd slurm-client munge). Starting
takes about three seconds, a job about one.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol")
DEADLINE_S = 30.0

CONFIGURATION = """\
ClusterName=memo
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0
# A machine with fewer cores than this does as well: what runs here is small.
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
# slurmd of 22.05 needs no cgroups with the plugins above, later ones only if told so, which 22.05 does not know.
CGROUP_CONFIGURATIONS = ("", "CgroupPlugin=disabled\n")


@dataclass(frozen=True)
class Slurm:
    """A running SLURM; SLURM_CONF of this process names it."""

    folder: Path

    def jobs(self) -> list[str]:
        """Identifiers of the jobs that wait, run or are ending."""
        line = ["squeue", "--noheader", "--format=%A"]
        return subprocess.run(line, capture_output=True, text=True, check=True, timeout=30).stdout.split()

    def logs(self) -> str:
        """What the daemons said, for the message of a test that failed."""
        return "\n".join(f"{path.name}: {path.read_text()}" for path in sorted(self.folder.glob("*.log")))


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"no SLURM on this machine: {', '.join(missing)} not found")
    if os.geteuid() != 0:
        pytest.skip("only root may start a SLURM of its own")
    # Not tmp_path: a socket's path has at most 107 bytes, and munge wants every folder above it open to all.
    folder = Path(tempfile.mkdtemp(prefix="memo-slurm-"))
    folder.chmod(0o755)
    try:
        with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as daemons:
            patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
            machine = Slurm(folder)
            _start(machine, daemons)
            yield machine
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(machine: Slurm, daemons: contextlib.ExitStack) -> None:
    folder = machine.folder
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    controller_port, node_port = _free_ports(2)
    host = socket.gethostname().partition(".")[0]
    settings = {"host": host, "folder": folder, "controller_port": controller_port, "node_port": node_port}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**settings))
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
    files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munge.pid", "seed-file": "munge.seed"}
    options = [f"--{option}={folder / name}" for option, name in files.items()]
    _daemon(daemons, machine, "munged", "--foreground", f"--log-file={folder / 'munge.log'}", *options)
    _wait_until((folder / "munge.socket").exists, machine, "munged")
    _daemon(daemons, machine, "slurmctld", "-D", "-c")
    for text in CGROUP_CONFIGURATIONS:
        (folder / "cgroup.conf").write_text(text)
        node = _daemon(daemons, machine, "slurmd", "-D", "-c")
        with contextlib.suppress(subprocess.TimeoutExpired):
            node.wait(timeout=2)
            continue
        break
    _wait_until(_idle, machine, "slurmd")


def _daemon(daemons: contextlib.ExitStack, machine: Slurm, *line: str) -> subprocess.Popen[bytes]:
    with (machine.folder / f"{line[0]}.log").open("ab") as log:
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    daemons.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _idle() -> bool:
    line = ["sinfo", "--noheader", "--format=%T"]
    return subprocess.run(line, capture_output=True, text=True, timeout=30).stdout.strip() == "idle"


def _wait_until(happened: Callable[[], bool], machine: Slurm, name: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not happened():
        if time.monotonic() > deadline:
            pytest.fail(f"SLURM does not start on this machine ({name}): {machine.logs()[-2000:]}")
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
