"""Splits that fail, diverge or are missing: blamed alone, named, counted, and never part of a mean by accident."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import memo
from tests.faults.conftest import one_line

pytestmark = pytest.mark.faults

KILL = """
import memo.lm.train as module
train = module.train_split
def poisoned(setup, split, *arguments):
    if split == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return train(setup, split, *arguments)
module.train_split = poisoned
"""
RAISE = KILL.replace("os.kill(os.getpid(), signal.SIGKILL)", "raise RuntimeError('no luck')")
DIVERGE = """
import dataclasses
import memo.lm.train as module
train = module.train_split
def poisoned(setup, split, *arguments):
    if split == 2:
        hot = setup.training.model_copy(update={"learning_rate": 1e30, "clip": 1e30})
        setup = dataclasses.replace(setup, training=hot)
    return train(setup, split, *arguments)
module.train_split = poisoned
"""


@pytest.fixture(scope="module")
def failed(kit: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign whose split 2 kills the process that trains it."""
    folder = tmp_path_factory.mktemp("failed")
    poisoned = kit.campaigns.sabotage(folder / "sabotage", KILL)
    result = poisoned.memo("run", poisoned.config, "--dir", folder / "c")
    assert "train: 7 of 8 models, " in result.stderr, result.stderr
    error = one_line(result, 1)
    assert "1 of 8 splits failed; the others are kept. Split 2: the training process ended with signal 9" in error
    assert "3 of 3 tries" in error and "split-00002.jsonl" in error
    return folder / "c"


def test_a_split_that_kills_its_process_is_blamed_alone(kit: Any, failed: Path) -> None:
    status = kit.campaigns.status(failed)
    assert status["stages"]["train"] == {"done": 7, "total": 8, "failed": 1, "stale": 0}
    assert list(status["failed"]) == ["2"] and "signal 9" in status["failed"]["2"]
    assert "split 2 failed" in kit.campaigns.good("status", failed)
    events = [json.loads(line)["event"] for line in (failed / "logs" / "split-00002.jsonl").read_text().splitlines()]
    assert events == ["start", "retry", "start", "retry", "start", "failed"]


def test_aggregation_refuses_unless_partial_is_allowed(kit: Any, failed: Path, tmp_path: Path) -> None:
    root = kit.copy(failed, tmp_path / "c")
    error = kit.campaigns.refused(1, "aggregate", root)
    assert "7 of 8 are there, split 2 is not: failed" in error and "--allow-partial" in error
    assert not (root / "scores").exists()
    kit.campaigns.good("aggregate", root, "--allow-partial")
    shown = kit.campaigns.memo("scores", root)
    assert "7 of 8 models" in shown.stdout and "from 7 of 8 models" in shown.stderr
    campaign, there = memo.open(root), [0, 1, 3, 4, 5, 6, 7]
    table = campaign.scores("exact")
    assert table.attrs == {"models": 7, "of": 8}
    assert (table["n_in"] + table["n_out"]).unique().tolist() == [7]
    losses, included = campaign.losses(allow_partial=True), campaign.included()
    assert np.isnan(losses[2]).all() and np.isfinite(losses[there]).all()
    rows, blocks = included[there], np.array([0, 0, 0, 1, 1, 1, 1])
    column = campaign.doc_ids.index("t0")
    means = {
        side: np.mean([losses[there][(blocks == b) & (rows[:, column] == side), column].mean() for b in (0, 1)])
        for side in (True, False)
    }
    pooled = losses[there][~rows[:, column], column].mean() - losses[there][rows[:, column], column].mean()
    found = table.set_index("doc_id").loc["t0", "memorization"]
    assert min(abs(found - (means[False] - means[True])), abs(found - pooled)) < 1e-6


def test_missing_splits_are_listed_by_coin(kit: Any, failed: Path) -> None:
    data = json.loads(kit.campaigns.good("status", failed, "--missing", "--json"))
    assert list(data["missing"]) == ["2"] and len(data["coins"]) == 18  # two documents share a coin: not their own
    assert all(coin["missing_in"] + coin["missing_out"] == 1 for coin in data["coins"])
    assert "missing in" in kit.campaigns.good("status", failed, "--missing", "--rule", "exact")
    assert "no split is missing" in kit.campaigns.good("status", kit.quick, "--missing")


def test_a_failed_split_is_tried_again_by_the_same_command(kit: Any, failed: Path, tmp_path: Path) -> None:
    root = kit.copy(failed, tmp_path / "c")
    kit.campaigns.good("aggregate", root, "--allow-partial")
    kit.campaigns.run(root)
    kit.same(root, kit.quick)


def test_a_run_that_may_be_partial_gives_tables_and_still_says_so(kit: Any, tmp_path: Path) -> None:
    poisoned = kit.campaigns.sabotage(tmp_path / "sabotage", RAISE)
    sets = ("--set", "cluster.retries=0")
    error = poisoned.refused(1, "run", poisoned.config, "--dir", tmp_path / "c", "--allow-partial", *sets)
    assert "1 of 8 splits failed" in error and "RuntimeError: no luck" in error
    assert memo.open(tmp_path / "c").scores().attrs == {"models": 7, "of": 8}
    kit.campaigns.run(tmp_path / "c", *sets)
    kit.same(tmp_path / "c", kit.quick)


def test_a_split_that_diverges_is_marked_and_never_enters_a_mean(kit: Any, tmp_path: Path) -> None:
    poisoned = kit.campaigns.sabotage(tmp_path / "sabotage", DIVERGE)
    root = tmp_path / "c"
    error = poisoned.refused(1, "run", poisoned.config, "--dir", root)
    assert "7 of 8 are there, split 2 is not: the loss of split 2 became" in error
    status = poisoned.status(root)
    assert status["stages"]["train"] == {"done": 7, "total": 8, "failed": 0, "stale": 0}
    assert list(status["diverged"]) == ["2"] and not status["complete"]
    losses = root / "losses" / "split-00002.safetensors"
    stamp = losses.stat().st_mtime_ns
    poisoned.refused(1, "run", poisoned.config, "--dir", root)
    assert losses.stat().st_mtime_ns == stamp  # it would only diverge again
    with pytest.raises(memo.errors.MemoError, match="7 of 8"):
        memo.open(root).losses()
    assert "partial: 7 of 8" in poisoned.refused(1, "run", poisoned.config, "--dir", root, "--allow-partial")
    table = memo.open(root).scores()
    assert np.isfinite(table["memorization"][table["reason"].isna()]).all() and table.attrs["models"] == 7
    assert "agree" in poisoned.good("verify", root)


def test_all_models_diverge(kit: Any, tmp_path: Path) -> None:
    sets = ("--set", "training.learning_rate=1e30", "--set", "training.clip=1e30")
    root = tmp_path / "c"
    error = kit.campaigns.refused(1, "run", kit.campaigns.config, "--dir", root, *sets)
    assert "0 of 8 models can be used" in error and "lower training.learning_rate" in error
    assert "need every model" not in kit.campaigns.refused(1, "aggregate", root, "--allow-partial")
