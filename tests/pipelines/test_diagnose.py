"""Diagnostics of large campaigns: coins stay packed, and the numbers are those of unpacked ones."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from memo.campaign import Campaign
from memo.estimators import reliability
from memo.testing import toy_campaign
from pipelines import aggregate
from pipelines.diagnose import of_rule


def written(root: Path, splits: int, documents: int) -> Campaign:
    rng = np.random.default_rng(0)
    half = rng.random((splits // 2, documents)) < 0.5
    included = np.concatenate([half, ~half])
    included[:, 1::2] = included[:, 0::2]
    effect = rng.exponential(0.5, documents)
    losses = 3 + rng.gamma(2.0, 0.1, (splits, documents)) - effect * included
    label = [f"g{number // 2}" for number in range(documents)]
    design = {"unit": "pair", "base": "balanced"}
    return toy_campaign(root, losses.clip(0.1), included, groups={"pair": label}, design=design)


@pytest.mark.parametrize("rule", ["pair", "document"])
def test_packed_coins_give_the_same_diagnostics(tmp_path: Path, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = written(tmp_path / "c", 24, 60)
    monkeypatch.setattr(reliability, "SAMPLE", 20)
    found = of_rule(campaign, rule, range(24))
    monkeypatch.setattr(aggregate, "packed_rule", lambda campaign, *arguments: campaign.scored_rule(*arguments))
    assert of_rule(campaign, rule, range(24)) == found
    if rule == "pair":
        assert found["documents"] == 30 and 0.5 < found["reliability"] < 1 and found["median_se"] > 0
    else:
        assert found["documents_without_se"] == found["documents_sampled"]  # no coin of its own


def test_memory_is_that_of_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits, documents = 256, 60_000
    half = np.random.default_rng(0).random((splits // 2, documents)) < 0.5
    losses = np.random.default_rng(1).random((splits, documents), dtype=np.float32)
    campaign = toy_campaign(tmp_path / "c", losses, np.concatenate([half, ~half]))
    monkeypatch.setattr(reliability, "SAMPLE", 200)
    assert campaign.doc_ids and campaign.n_tokens.size and campaign.units.count == documents
    tracemalloc.start()
    of_rule(campaign, "document", range(splits))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"peak {peak / 1e6:.1f} MB, coins unpacked {2 * splits * documents / 1e6:.1f} MB")
    assert peak < 2 * splits * documents  # what the coins take by themselves
