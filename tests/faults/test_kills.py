"""SIGKILL of everything at any moment, and of one training in the middle of a split."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.faults

SLOW = ("--set", "training.epochs=200")
OFTEN = (*SLOW, "--set", "training.checkpoint_minutes=0")
SERIAL = """
import sys
from pathlib import Path
from pipelines.child import train
for split in sys.argv[2:]:
    train(Path(sys.argv[1]), [int(split)])
"""


def events(root: Path, split: int = 0) -> list[dict[str, Any]]:
    log = root / "logs" / f"split-{split:05d}.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_process_group_is_killed_at_ever_later_moments(kit: Any, tmp_path: Path) -> None:
    root, kills = tmp_path / "c", 0
    for k in range(1, 100):
        process = kit.campaigns.start("run", kit.campaigns.config, "--dir", root, *SLOW)
        try:
            process.wait(timeout=0.3 * k)
        except subprocess.TimeoutExpired:
            kills += 1
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            continue
        assert process.returncode == 0, process.stderr.read()
        break
    print(f"\n{kills} kills")
    assert kills >= 10
    kit.same(root, kit.slow)


def serial(root: Path, *splits: int) -> list[str]:
    """Trains in one process, without Dask."""
    return [sys.executable, "-P", "-c", SERIAL, str(root), *map(str, splits)]


def trained(root: Path) -> None:
    subprocess.run(serial(root, 0), check=True, timeout=120)


def prepared(kit: Any, root: Path, *sets: str) -> Path:
    kit.campaigns.good("ingest", kit.campaigns.config, "--dir", root, *sets)
    kit.campaigns.good("group", root)
    kit.campaigns.good("sample", root)
    return root


@pytest.fixture(scope="module")
def killed(kit: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign whose split 0 was killed with two checkpoints."""
    root = prepared(kit, tmp_path_factory.mktemp("killed") / "c", *OFTEN)
    process = subprocess.Popen(serial(root, 0))
    while sum(event["event"] == "checkpoint" for event in events(root)) < 20:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    return root


def newest(root: Path) -> Path:
    """The newest checkpoint that has its record: the kill may have come between the two."""
    paths = sorted(root.glob("checkpoints/split-00000/*.safetensors"))
    return [path for path in paths if path.with_name(f"{path.name}.record.json").exists()][-1]


def test_a_killed_training_goes_on_to_the_same_bits(kit: Any, killed: Path, tmp_path: Path) -> None:
    root = kit.copy(killed, tmp_path / "c")
    step = int(newest(root).stem.removeprefix("step-"))
    trained(root)
    restored = [event for event in events(root) if event["event"] == "restored"]
    assert [event["step"] for event in restored] == [step] and step > 10
    name = "losses/split-00000.safetensors"
    assert (root / name).read_bytes() == (kit.slow / name).read_bytes()
    assert not list(root.glob("checkpoints/*"))


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["truncated", "zeroed", "no record"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(kit: Any, killed: Path, tmp_path: Path, harm: str) -> None:
    root = kit.copy(killed, tmp_path / "c")
    path = newest(root)
    step = int(path.stem.removeprefix("step-"))
    content = path.read_bytes()
    if harm == "no record":
        path.with_name(f"{path.name}.record.json").unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if harm == "truncated" else bytes(len(content)))
    assert kit.campaigns.memo("verify", root).returncode == 1
    trained(root)
    told = {event["event"]: event for event in events(root)}
    assert told["checkpoint_refused"]["reason"] and told["restored"]["step"] == step - 1
    name = "losses/split-00000.safetensors"
    assert (root / name).read_bytes() == (kit.slow / name).read_bytes()


def test_the_whole_campaign_goes_on_from_a_checkpoint(kit: Any, killed: Path, tmp_path: Path) -> None:
    root = kit.copy(killed, tmp_path / "c")
    kit.campaigns.run(root, *SLOW)
    kit.same(root, kit.slow)


def test_models_trained_one_by_one_without_dask_are_the_same(kit: Any, tmp_path: Path) -> None:
    root = prepared(kit, tmp_path / "c")
    subprocess.run(serial(root, *range(8)), check=True, timeout=120)
    kit.campaigns.good("aggregate", root)
    kit.same(root, kit.quick)


@pytest.mark.slow
def test_one_worker_gives_the_same_as_two(kit: Any, tmp_path: Path) -> None:
    kit.campaigns.run(tmp_path / "c", "--set", "cluster.workers=1")
    kit.same(tmp_path / "c", kit.quick)


@pytest.mark.slow
def test_shares_of_the_splits_on_several_hosts_are_the_same(kit: Any, tmp_path: Path) -> None:
    root = prepared(kit, tmp_path / "c")
    shares = [kit.campaigns.start("train", root, "--splits", splits) for splits in ("0-3", "4-7", "2,3,4")]
    for process in shares:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    kit.campaigns.good("aggregate", root)
    kit.same(root, kit.quick)


@pytest.mark.parametrize("text", ["8", "a", "3-1", "-1", "", "0,,1"])
def test_splits_that_are_not_there(kit: Any, text: str) -> None:
    assert "--splits: expected numbers from 0 to 7" in kit.campaigns.refused(2, "train", kit.quick, f"--splits={text}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_leaves_no_process(kit: Any, tmp_path: Path, number: signal.Signals, code: int) -> None:
    root = tmp_path / "c"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        process = kit.campaigns.start("run", kit.campaigns.config, "--dir", root, "--set", "training.epochs=5000")
    finally:
        signal.signal(signal.SIGINT, before)
    while not any(event["event"] == "step" for event in events(root)):
        assert process.poll() is None
        time.sleep(0.05)
    told = kit.campaigns.status(root)
    assert told["running"]["pid"] == process.pid and told["training"]["0"]["steps"] == 25_000
    family = psutil.Process(process.pid).children(recursive=True)
    begun = time.monotonic()
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code and time.monotonic() - begun < 10, errors
    _, alive = psutil.wait_procs(family, timeout=3)
    assert not alive
    assert kit.campaigns.status(root)["running"] is None and not (root / ".lock").exists()
    assert not list(root.rglob("*.tmp-*"))
