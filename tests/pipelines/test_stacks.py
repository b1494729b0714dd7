"""Which splits are trained side by side: as few stacks as fit, written down, cut, forgotten, and never twice in one."""

from pathlib import Path

import pytest

from memo.config import CampaignConfig
from memo.errors import DamagedError
from memo.layout import Layout
from memo.lm.batches import COHORT
from pipelines import stacks
from pipelines.stacks import Stack, halves, is_stacked, plan, record, recorded
from pipelines.workspace import Workspace


def workspace(root: Path, stack: int | str = "auto", splits: int = 208) -> Workspace:
    data = {"corpus": {"path": "x.txt"}, "design": {"splits": splits}, "training": {"stack": stack}}
    return Workspace(Layout(root), CampaignConfig.model_validate(data))


def never(splits: int) -> tuple[int, str]:
    raise AssertionError("it was asked how wide a stack may be")


def wide(width: int) -> stacks.Ask:
    return lambda splits: (width, "measured")


def test_the_cohort_is_that_of_the_batches() -> None:
    assert stacks.COHORT == COHORT


def test_stacks_are_even_and_within_a_cohort(tmp_path: Path) -> None:
    found, how = plan(workspace(tmp_path), range(144), wide(48))
    assert [len(splits) for splits in found] == [32, 32, 32, 32, 16]
    assert [split for splits in found for split in splits] == list(range(144))
    assert how == "stacks of up to 48 models: measured"


def test_one_by_one_needs_no_record_and_no_question(tmp_path: Path) -> None:
    assert plan(workspace(tmp_path, stack=1), [3, 5], never) == ([(3,), (5,)], None)
    found, how = plan(workspace(tmp_path), [3, 5], wide(1))
    assert found == [(3,), (5,)] and how == "one model at a time: measured"
    assert not (tmp_path / "stacks").exists()


def test_a_stack_that_was_begun_comes_back_whole(tmp_path: Path) -> None:
    campaign = workspace(tmp_path)
    plan(campaign, range(8), wide(4))
    assert plan(campaign, [6], never) == ([(4, 5, 6, 7)], None)
    # More splits: the width that was measured is kept.
    found, _ = plan(campaign, [2, *range(8, 16)], never)
    assert found == [(0, 1, 2, 3), (8, 9, 10, 11), (12, 13, 14, 15)]


def test_the_halves_of_a_stack_replace_it(tmp_path: Path) -> None:
    campaign = workspace(tmp_path)
    plan(campaign, range(5), wide(8))
    assert halves(campaign, (0, 1, 2, 3, 4), "it died") == [(0, 1, 2), (3, 4)]
    assert [stack.splits for stack in recorded(campaign)] == [(0, 1, 2), (3, 4)]
    assert halves(campaign, (3, 4), "it died") == [(3,), (4,)]
    assert is_stacked(campaign, (4,)) and not is_stacked(campaign, (5,))
    assert plan(campaign, [4], never) == ([(4,)], None)


def test_a_cut_that_was_interrupted_counts(tmp_path: Path) -> None:
    campaign = workspace(tmp_path)
    plan(campaign, range(4), wide(4))
    record(campaign, Stack((2, 3), 2, "auto", "it died"))  # killed before the first half replaced the whole
    assert [stack.splits for stack in recorded(campaign)] == [(0, 1), (2, 3)]


def test_another_width_plans_anew_what_was_not_begun(tmp_path: Path) -> None:
    plan(workspace(tmp_path), range(8), wide(4))
    begun = tmp_path / "losses" / "split-00001.safetensors"
    begun.parent.mkdir()
    begun.touch()
    found, how = plan(workspace(tmp_path, stack=2), range(8), wide(2))
    assert found == [(0, 1, 2, 3), (4, 5), (6, 7)] and how == "stacks of up to 2 models: measured"


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    plan(workspace(tmp_path), range(8), wide(8))
    path = tmp_path / "stacks" / "stack-00000.json"
    path.write_text(path.read_text()[:20])
    with pytest.raises(DamagedError, match=r"stack-00000.json: expected the splits of a stack.*delete it"):
        recorded(workspace(tmp_path))
