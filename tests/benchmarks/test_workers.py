"""Two workers against one, and what it costs to look at a campaign that is finished.

    pytest -m benchmark -s tests/benchmarks/test_workers.py

Needs two idle cores.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.benchmark

SETTINGS = """
corpus: {path: corpus.jsonl}
tokenizer: {vocab_size: 512}
context_tokens: 64
design: {splits: 16}
model: {model_type: gpt2, n_embd: 64, n_layer: 2, n_head: 4}
training: {epochs: 40}
"""
TINY = ("model.n_embd=8", "model.n_layer=1", "model.n_head=1", "training.epochs=1", "design.splits=400")


def project(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    words = [f"word{index}" for index in range(200)]
    texts = [" ".join(rng.choice(words, size=rng.integers(20, 60))) for _ in range(128)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "campaign.yaml").write_text(SETTINGS)
    return folder / "campaign.yaml"


def seconds(*arguments: object) -> float:
    line = [sys.executable, "-P", "-m", "pipelines.cli", *map(str, arguments)]
    begun = time.perf_counter()
    subprocess.run(line, check=True, capture_output=True)
    return time.perf_counter() - begun


def prepared(config: Path, root: Path, *sets: str) -> Path:
    seconds("ingest", config, "--dir", root, *(part for value in sets for part in ("--set", value)))
    seconds("group", root)
    seconds("sample", root)
    return root


def test_two_workers_against_one(tmp_path: Path) -> None:
    config = project(tmp_path)
    ratios = []
    for repetition in range(3):
        times = {}
        for workers in (1, 2) if repetition % 2 else (2, 1):
            root = prepared(config, tmp_path / f"{repetition}-{workers}", f"cluster.workers={workers}")
            times[workers] = seconds("train", root)
        ratios.append(times[1] / times[2])
        print(f"\n16 splits: one worker {times[1]:.1f} s, two {times[2]:.1f} s, ratio {ratios[-1]:.2f}", end="")
    print(f"\nmedian ratio {statistics.median(ratios):.2f}, start of the workers included")
    assert statistics.median(ratios) >= 1.8


def test_a_finished_campaign_of_400_splits_checks_itself(tmp_path: Path) -> None:
    config = project(tmp_path)
    root, sets = tmp_path / "c", [part for value in TINY for part in ("--set", value)]
    first = seconds("run", config, "--dir", root, *sets)
    again = [seconds("run", config, "--dir", root, *sets) for _ in range(5)]
    looks = [seconds("status", root) for _ in range(5)]
    print(
        f"\n400 splits: first run {first:.0f} s; again {statistics.median(again):.2f} s (most {max(again):.2f}), "
        f"status {statistics.median(looks):.2f} s (medians of 5)"
    )
    assert max(again) < 5
