"""Stacks that die, do not fit or have a poisonous member: nothing is lost, one split is to blame, and alone."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import memo
from tests.faults.conftest import contents, is_child, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.slow]
STACKED = ("--set", "training.stack=4", "--set", "training.checkpoint_minutes=0.002", "--set", "training.epochs=60")
POISON = """
import memo.lm.stacks as module
import torch
stacked, alone = module.train_stack, module.train_split
def train_stack(setup, splits, *arguments):
    if 2 in splits:
        {what}
    return stacked(setup, splits, *arguments)
def train_split(setup, split, *arguments):
    if split == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return alone(setup, split, *arguments)
module.train_stack, module.train_split = train_stack, train_split
"""
DIE = "os.kill(os.getpid(), signal.SIGKILL)"
FULL = "raise torch.OutOfMemoryError('CUDA out of memory')"


@pytest.fixture(scope="module")
def stacked(kit: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed campaign in two stacks of four."""
    root = tmp_path_factory.mktemp("stacked") / "c"
    kit.campaigns.run(root, *STACKED)
    return root


def stacks(root: Path) -> list[list[int]]:
    return [json.loads(path.read_text())["splits"] for path in sorted((root / "stacks").glob("*.json"))]


def test_a_stack_gives_the_losses_of_models_trained_alone(kit: Any, stacked: Path, tmp_path: Path) -> None:
    """Alone, but in the order of batches that stacks have: with a record of one split."""
    assert stacks(stacked) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    root = kit.copy(stacked, tmp_path / "c")
    for folder in ("losses", "token_losses", "scores", "stacks"):
        for path in (root / folder).iterdir():
            path.unlink()
    for split in range(8):
        said = {"splits": [split], "width": 4, "wanted": 4, "reason": "a test"}
        (root / "stacks" / f"stack-{split:05d}.json").write_text(json.dumps(said))
    kit.campaigns.run(root, *STACKED)
    alone, together = memo.open(root), memo.open(stacked)
    assert np.abs(alone.losses(0) - together.losses(0)).max() < 1e-5
    # Sixty epochs magnify rounding: some models end in the same fifth digit, others in the second.
    assert np.median(np.abs(alone.losses() - together.losses())) < 1e-3
    assert np.abs(alone.losses() - memo.open(kit.quick).losses()).max() > 0.1
    doc_id = together.doc_ids[0]
    assert together.token_scores(doc_id)["memorization"].mean() == pytest.approx(
        together.scores().set_index("doc_id").loc[doc_id, "memorization"], abs=1e-5
    )


def test_a_killed_stack_goes_on_and_ends_in_the_same_bytes(kit: Any, stacked: Path, tmp_path: Path) -> None:
    root = tmp_path / "c"
    process = kit.campaigns.start("run", kit.campaigns.config, "--dir", root, *STACKED)
    wait_for(lambda: list(root.glob("checkpoints/split-0000*/step-*.record.json")))
    for child in psutil.Process(process.pid).children(recursive=True):
        if is_child(child):
            child.send_signal(signal.SIGKILL)
    assert process.wait(120) == 0
    kit.same(root, stacked)
    logs = [(root / "logs" / f"split-0000{split}.jsonl").read_text().splitlines() for split in (1, 5)]
    events = [[json.loads(line)["event"] for line in log] for log in logs]  # of a member of either stack
    assert any("restored" in log for log in events) and all("retry" in log and log[-1] == "done" for log in events)


def test_what_is_missing_of_a_stack_is_made_again_as_it_was(kit: Any, stacked: Path, tmp_path: Path) -> None:
    """As if the process had died between publishing the first and the second half of it."""
    root = kit.copy(stacked, tmp_path / "c")
    for split in (2, 3):
        (root / "losses" / f"split-0000{split}.safetensors").unlink()
        (root / "losses" / f"split-0000{split}.safetensors.record.json").unlink()
    (root / "token_losses" / "split-00005.safetensors").write_bytes(b"damaged")
    before = (root / "losses" / "split-00004.safetensors").stat().st_mtime_ns
    verified = kit.campaigns.memo("verify", root, "--repair")
    assert verified.returncode == 0 and "token_losses/split-00005" in verified.stderr, verified.stderr
    kit.same(root, stacked)
    assert contents(root, "token_losses/*.safetensors") == contents(stacked, "token_losses/*.safetensors")
    assert (root / "losses" / "split-00004.safetensors").stat().st_mtime_ns == before


def test_a_poisonous_stack_is_cut_down_to_the_split_that_is_to_blame(kit: Any, stacked: Path, tmp_path: Path) -> None:
    root = tmp_path / "c"
    poisoned = kit.campaigns.sabotage(tmp_path / "sabotage", POISON.format(what=DIE))
    error = poisoned.refused(1, "run", poisoned.config, "--dir", root, *STACKED, "--set", "cluster.retries=1")
    assert "1 of 8 splits failed; the others are kept. Split 2: the training process ended with signal 9" in error
    assert stacks(root) == [[0, 1], [2], [3], [4, 5, 6, 7]]
    assert memo.open(root).trained_splits() == [0, 1, 3, 4, 5, 6, 7]
    # Not poisoned any more, the same command trains the one that is missing, and nothing else.
    done = contents(root, "losses/*")
    kit.campaigns.run(root, *STACKED)
    assert {name: data for name, data in contents(root, "losses/*").items() if name in done} == done
    assert np.abs(memo.open(root).losses(0) - memo.open(stacked).losses(0)).max() < 1e-3


def test_a_stack_that_does_not_fit_the_memory_is_halved(kit: Any, stacked: Path, tmp_path: Path) -> None:
    root = tmp_path / "c"
    code = POISON.format(what=FULL).replace("if 2 in splits", "if len(splits) > 2").replace(DIE, "0")
    full = kit.campaigns.sabotage(tmp_path / "sabotage", code)
    full.run(root, *STACKED)
    assert stacks(root) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert np.abs(memo.open(root).losses(0) - memo.open(stacked).losses(0)).max() < 1e-3


WIDTH_DIES = """
import memo.lm.stack_width as module
before = module.plan_width
def plan_width(*arguments):
    if {when}:
        os.kill(os.getpid(), signal.SIGKILL)
    return before(*arguments)
module.plan_width = plan_width
"""


def test_a_process_that_dies_over_the_width_of_stacks_is_replaced(kit: Any, stacked: Path, tmp_path: Path) -> None:
    first = f"not os.path.exists({str(tmp_path / 'died')!r}) and not os.mkdir({str(tmp_path / 'died')!r})"
    dying = kit.campaigns.sabotage(tmp_path / "once", WIDTH_DIES.format(when=first))
    done = dying.memo("run", dying.config, "--dir", tmp_path / "c", *STACKED)
    assert done.returncode == 0 and (tmp_path / "died").is_dir(), done.stderr
    assert "before the first split: the training process ended with signal 9; it is tried again" in done.stderr
    kit.same(tmp_path / "c", stacked)

    always = kit.campaigns.sabotage(tmp_path / "always", WIDTH_DIES.format(when="True"))
    sets = (*STACKED, "--set", "cluster.retries=1")
    error = always.refused(1, "run", always.config, "--dir", tmp_path / "d", *sets)
    assert error.startswith("no model was trained: finding out how many to train side by side, the training process")
    assert "ended with signal 9 (2 of 2 tries)" in error and not stacks(tmp_path / "d")
    kit.campaigns.run(tmp_path / "d", *STACKED)
    kit.same(tmp_path / "d", stacked)


def test_a_worker_that_dies_over_the_width_of_stacks_is_awaited(
    kit: Any, cluster: Any, stacked: Path, tmp_path: Path
) -> None:
    hangs = WIDTH_DIES.replace("os.kill(os.getpid(), signal.SIGKILL)", "import time; time.sleep(600)").format(
        when=f"not os.path.exists({str(tmp_path / 'seen')!r}) and not os.mkdir({str(tmp_path / 'seen')!r})"
    )
    sabotaged = kit.campaigns.sabotage(tmp_path / "sabotage", hangs)
    cluster.environment["PYTHONPATH"] = sabotaged.environment["PYTHONPATH"]
    cluster.start(1, "--no-nanny")
    line = ("run", sabotaged.config, "--dir", tmp_path / "c", "--scheduler", cluster.file, *STACKED)
    process = sabotaged.start(*line, "--set", "cluster.patience_minutes=0.05")
    wait_for((tmp_path / "seen").is_dir)
    cluster.workers()[0].kill()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1 and "memo: error: no worker for " in said, said
    cluster.add_worker()
    sabotaged.good(*line)
    kit.same(tmp_path / "c", stacked)
