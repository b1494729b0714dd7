"""Aggregation at the scale of the paper: 400 models, 2,097,152 documents; time and memory, side by side.

    pytest -m benchmark -s tests/benchmarks/test_aggregation.py         MEMO_BENCHMARK_DOCUMENTS=262144 for a quick look

Compared, each in a process of its own, in rotating order:

    sum       the sum of all numbers of the same files, in order, by one thread
    sum2      the same by two threads, a half of the files each
    stage     `pipelines.aggregate.score_tables` with two threads: the whole score table but for its Parquet file
    dense     scores of loss and accuracy by the form that the field copies (Feldman and Zhang 2020), without errors

The dense form takes some 13 GB, so it gets a quarter of the documents, and its time and memory count four times.
Reading is part of all of them, from the page cache; checksums and the import of modules are part of none. The least
disturbed run counts.

Shapes: M models, N documents.
"""

import importlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memo.campaign import Campaign, open_campaign
from memo.campaign_file import build
from memo.layout import Layout
from memo.splits import metadata
from memo.store import publishing, write_text

SPLITS, BLOCK = 400, 16
FULL = 1 << 21
DOCUMENTS = int(os.environ.get("MEMO_BENCHMARK_DOCUMENTS", FULL))
ROUNDS = int(os.environ.get("MEMO_BENCHMARK_ROUNDS", 3))
PART = 4  # the dense form gets this part of the documents
KINDS = ("sum", "sum2", "stage", "dense")
THREADS = 2


def write_campaign(root: Path, documents: int) -> None:
    """A campaign as the stages before aggregation leave it, with losses from a simple model of memorization."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save, save_file

    layout, rng = Layout(root), np.random.default_rng(0)
    design = {"splits": SPLITS, "block": BLOCK}
    config = build({"corpus": {"path": "toy.jsonl"}, "design": design, "training": {"epochs": 1}})
    write_text(layout.config, config.to_yaml())
    tokens = rng.integers(20, 256, documents)
    ids = [f"d{index:07d}" for index in range(documents)]
    with publishing(layout.documents, {}) as path:
        pq.write_table(pa.table({"doc_id": ids, "text": [""] * documents, "n_tokens": tokens}), path)
    level = (rng.gamma(9.0, 0.4, documents) + 0.5).astype(np.float32)
    effect = rng.exponential(0.3, documents).astype(np.float32)
    layout.losses(0).parent.mkdir()
    for block in range(SPLITS // BLOCK):
        half = rng.integers(0, 2, (BLOCK // 2, documents), dtype=np.uint8)
        included = np.concatenate([half, 1 - half])[rng.permutation(BLOCK)]
        bits = np.packbits(included, axis=1)
        tensors = {"asked": np.full_like(bits, 255), "treated": bits, "included": bits,
                   "controls": np.zeros((BLOCK, 0), dtype=np.uint8)}  # fmt: skip
        sizes = {"splits": BLOCK, "units": documents, "documents": documents, "controls": 0}
        with publishing(layout.block(block), {}) as path:
            path.write_bytes(save(tensors, metadata(sizes)))
        for row, mask in enumerate(included):
            noise = np.float32(0.23) * rng.standard_normal(documents, dtype=np.float32)
            loss = np.maximum(level - effect * mask + noise, np.float32(1e-3))
            correct = np.floor(tokens * np.exp(-loss)).astype(np.float32)
            save_file({"loss": loss[None], "n_correct": correct[None]}, layout.losses(block * BLOCK + row))


def plain_sum(campaign: Campaign, threads: int) -> float:
    from pipelines.loss_files import loss_file

    def total(splits: range) -> float:
        found = 0.0
        for split in splits:
            file = loss_file(campaign.layout.losses(split))
            for offset in file.offsets.values():
                found += float(np.memmap(file.path, "<f4", "r", offset, (file.columns,)).sum())
        return found

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(total, [range(part, SPLITS, threads) for part in range(threads)]))


def dense(campaign: Campaign) -> dict[str, np.ndarray[Any, Any]]:
    """(N / PART,) scores in loss and in accuracy."""
    documents = len(campaign.doc_ids) // PART

    def matrix(name: str) -> np.ndarray[Any, Any]:
        from memo.campaign_data import read_losses

        return np.stack([read_losses(campaign.layout, s, name, -1, slice(0, documents)) for s in range(SPLITS)])

    def average(values: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.sum(values * mask, axis=0) / np.maximum(np.sum(mask, axis=0), 1e-10)

    from safetensors import safe_open

    bits = []
    for block in range(SPLITS // BLOCK):
        with safe_open(campaign.layout.block(block), framework="numpy") as file:
            bits.append(file.get_tensor("included")[:, : documents // 8])
    included = np.unpackbits(np.concatenate(bits), axis=1).astype(bool)
    left_out = np.logical_not(included)
    loss = matrix("loss")
    accuracy = matrix("n_correct") / campaign.n_tokens[:documents].astype(np.float32)
    return {
        "memorization": average(loss, left_out) - average(loss, included),
        "memorization_accuracy": average(accuracy, included) - average(accuracy, left_out),
    }


class PeakMemory:
    """The most memory of this process that is not a mapping of a file, sampled 200 times a second."""

    def __enter__(self) -> "PeakMemory":
        self.mib, self._done = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            with Path("/proc/self/status").open() as lines:
                anonymous = next(line for line in lines if line.startswith("RssAnon"))
            self.mib = max(self.mib, int(anonymous.split()[1]) / 1024)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def child(kind: str, root: Path) -> dict[str, float]:
    """One run: seconds of wall clock and of processor, MiB at most."""
    import dask
    import pyarrow.parquet as pq

    from pipelines.aggregate import score_tables

    for name in ("distributed", "pyarrow.compute", "safetensors", "scipy.special"):  # imported at their first use
        importlib.import_module(name)
    campaign, found = open_campaign(root), {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        wall, processor = time.perf_counter(), time.process_time()
        result = work()
        found[name], found[f"{name} cpu"] = time.perf_counter() - wall, time.process_time() - processor
        return result

    with PeakMemory() as memory:
        # Identifiers, token counts and units, which every reader of a campaign needs.
        timed("opening", lambda: (campaign.doc_ids, campaign.n_tokens, campaign.units))
        if kind == "stage":
            with dask.config.set(scheduler="threads", num_workers=THREADS):
                ((_, table),) = timed("run", lambda: list(score_tables(campaign, ["document"], range(SPLITS))))
            timed("writing", lambda: pq.write_table(table, root / "table.parquet", compression="zstd"))
        elif kind == "dense":
            scores = timed("run", lambda: dense(campaign))
            np.savez(root / "dense.npz", **scores)
        else:
            timed("run", lambda: plain_sum(campaign, 1 if kind == "sum" else THREADS))
    return {**found, "mib": memory.mib}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("aggregation")
    write_campaign(folder / "campaign", DOCUMENTS)
    yield folder / "campaign"
    shutil.rmtree(folder)  # several gigabytes, which pytest would keep


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_a_score_table_takes_few_times_a_plain_sum(root: Path) -> None:
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for number in range(-1, ROUNDS):  # the first only fills the page cache
        for kind in KINDS[number % len(KINDS) :] + KINDS[: number % len(KINDS)]:
            line = [sys.executable, __file__, kind, str(root)]
            result = json.loads(subprocess.run(line, capture_output=True, check=True, text=True).stdout)
            if number >= 0:
                runs[kind].append(result)
    best = {kind: min(run["run"] for run in found) for kind, found in runs.items()}
    best["dense"] *= PART
    peak = {kind: max(run["mib"] for run in found) for kind, found in runs.items()}
    peak["dense"] *= PART
    print(
        f"\n{SPLITS} models, {DOCUMENTS:,} documents, {SPLITS * DOCUMENTS * 8 / 1e9:.1f} GB of losses; {ROUNDS} rounds"
    )
    for kind, found in runs.items():
        scale = PART if kind == "dense" else 1
        walls, cpu = [scale * run["run"] for run in found], min(scale * run["run cpu"] for run in found)
        print(f"{kind:6} {min(walls):7.2f} s  (to {max(walls):.2f}), processor {cpu:6.2f} s, {peak[kind]:7.0f} MiB")
    for name in ("opening", "writing"):
        print(f"stage, {name}: {min(run[name] for run in runs['stage']):.2f} s")
    for kind in ("sum", "sum2"):
        print(f"stage / {kind}: {best['stage'] / best[kind]:.1f}")
    print(f"dense / stage: {best['dense'] / best['stage']:.1f}")
    _agree(root)
    assert peak["stage"] < 2000
    if DOCUMENTS >= FULL:  # fewer take less time than starting Dask and opening 400 files
        assert best["stage"] <= 8 * best["sum"]
        assert best["dense"] >= 8 * best["stage"]


def _agree(root: Path) -> None:
    import pyarrow.parquet as pq

    table, scores = pq.read_table(root / "table.parquet"), np.load(root / "dense.npz")
    for name in scores.files:
        found = table[name].to_numpy()[: len(scores[name])]
        np.testing.assert_allclose(
            found, scores[name], rtol=0, atol=2e-5, err_msg=name
        )  # the dense form adds in float32


if __name__ == "__main__":
    print(json.dumps(child(sys.argv[1], Path(sys.argv[2]))))
