"""The report of a large campaign: time and memory to build it, its size, and how it feels in a browser.

    pytest -m benchmark -s tests/benchmarks/test_report.py          MEMO_BENCHMARK_REPORT=10000 for a quick look

A synthetic campaign of 100,000 documents of 40 to 400 words under 32 models, with exact copies and near-duplicates as
further rules, metadata and three evaluations. Wanted: built in 60 s and under 3 GB, smaller
than 15 MB, sorted in under 2 s.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memo.campaign_file import build
from memo.layout import Layout
from memo.splits import metadata
from memo.store import publishing, write_text

DOCUMENTS = int(os.environ.get("MEMO_BENCHMARK_REPORT", 100_000))
SPLITS, BLOCK = 32, 16
RULES = ("exact", "near")
SYLLABLES = ("ka", "lo", "mi", "tu", "re", "sa", "no", "pe", "di", "vu", "ga", "shi", "ro", "lan", "ter", "min")


def texts(documents: int, rng: np.random.Generator) -> list[str]:
    """Words of a Zipf vocabulary, which compress about as well as English."""
    words = np.array(["".join(rng.choice(SYLLABLES, rng.integers(1, 5))) for _ in range(20_000)])
    lengths = rng.integers(40, 400, documents)
    drawn = words[np.minimum(rng.zipf(1.2, lengths.sum()) - 1, len(words) - 1)]
    ends = np.cumsum(lengths)
    return [" ".join(drawn[end - length : end]) for end, length in zip(ends, lengths, strict=True)]


def write_campaign(root: Path, documents: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save, save_file

    layout, rng = Layout(root), np.random.default_rng(0)
    config = build(
        {
            "corpus": {"path": "toy.jsonl", "metadata": ["source", "year"]},
            "rules": [{"name": name, "rule": "toy.py:toy"} for name in RULES],
            "design": {"splits": SPLITS, "block": BLOCK},
            "training": {"epochs": 10, "evaluate_at": [2, 5]},
        }
    )
    write_text(layout.config, config.to_yaml())
    tokens = rng.integers(50, 500, documents)
    ids = [f"crawl/{index % 97:02d}/page-{index:07d}" for index in range(documents)]
    columns = {
        "doc_id": ids,
        "text": texts(documents, rng),
        "n_tokens": tokens,
        "source": [f"site{n}.example" for n in rng.integers(0, 500, documents)],
        "year": [str(n) for n in rng.integers(1990, 2026, documents)],
    }
    none = pa.table({name: pa.array([], pa.string()) for name in ("doc_id", "text", "kind")})
    none = none.append_column("n_tokens", pa.array([], pa.int64())).append_column("copies", pa.array([], pa.int64()))
    tables = {layout.documents: pa.table(columns), layout.evaluation: none.select(["doc_id", "text", "n_tokens"])}
    tables[layout.controls] = none.append_column("column", pa.array([], pa.int64()))
    for place, name in enumerate(RULES, start=1):
        labels = np.where(
            rng.random(documents) < 0.9, np.arange(documents), rng.integers(0, documents // 20, documents)
        )
        tables[layout.groups(name)] = pa.table({"doc_id": ids, "group_id": [f"g{place}-{label}" for label in labels]})
    for path, table in tables.items():
        with publishing(path, {}) as temporary:
            pq.write_table(table, temporary)
    level = (rng.gamma(9.0, 0.4, documents) + 0.5).astype(np.float32)
    effect = rng.exponential(0.3, documents).astype(np.float32)
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
            noise = np.float32(0.23) * rng.standard_normal((3, documents), dtype=np.float32)
            share = np.array([[0.2], [0.6], [1.0]], dtype=np.float32)
            loss = np.maximum(level - effect * mask * share + noise, np.float32(1e-3))
            correct = np.floor(tokens * np.exp(-loss)).astype(np.float32)
            with publishing(layout.losses(block * BLOCK + row), {}) as path:
                save_file({"loss": loss, "n_correct": correct}, path)
    _write_scores(root)


def _write_scores(root: Path) -> None:
    """The tables as the last stage makes them."""
    import pyarrow.parquet as pq

    from memo.campaign import open_campaign
    from pipelines import diagnose
    from pipelines.aggregate import score_tables
    from pipelines.workspace import open_workspace

    campaign = open_campaign(root)
    for name, table in score_tables(campaign, campaign.rules(), range(SPLITS)):
        with publishing(campaign.layout.scores(name), {}) as path:
            pq.write_table(table, path, compression="zstd")
    diagnose.run(open_workspace(root), range(SPLITS))


class Peak:
    """The most memory of this process, sampled a hundred times a second."""

    def __enter__(self) -> "Peak":
        self.mib, self._done = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            with Path("/proc/self/status").open() as lines:
                resident = next(line for line in lines if line.startswith("VmRSS"))
            self.mib = max(self.mib, int(resident.split()[1]) / 1024)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def child(root: Path) -> dict[str, float]:
    """Builds the report: seconds and MiB at most."""
    start = time.perf_counter()
    with Peak() as peak:
        from analysis.report import write_report
        from memo.campaign import open_campaign

        write_report(open_campaign(root), root / "report.html")
    return {"s": time.perf_counter() - start, "mib": peak.mib}


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_the_report_of_a_large_campaign(tmp_path: Path, browser: Any) -> None:
    root = tmp_path / "campaign"
    write_campaign(root, DOCUMENTS)
    done = subprocess.run([sys.executable, __file__, str(root)], capture_output=True, check=True, text=True)
    built, size = json.loads(done.stdout), (root / "report.html").stat().st_size
    print(f"\n{DOCUMENTS:,} documents: built in {built['s']:.1f} s, {built['mib']:,.0f} MiB, {size / 1e6:.1f} MB")
    page = browser.new_page()
    start = time.perf_counter()
    page.goto((root / "report.html").as_uri())
    page.locator("#rows tbody tr").first.wait_for(timeout=60_000)
    print(f"opened in {time.perf_counter() - start:.2f} s")
    seconds = {}
    for key in ("score", "loss_out", "tokens", "id", "text", "meta-0", "score"):
        seconds[key] = _seconds(
            page, f'[...document.querySelectorAll("#rows .sort")].find(b => b.dataset.key === "{key}").click()'
        )
        print(f"sorted by {key}: {seconds[key]:.2f} s")
    status = "document.getElementById('status'), {childList: true, characterData: true, subtree: true}"
    said = f"await new Promise(done => new MutationObserver(done).observe({status}))"
    change = f"e.dispatchEvent(new Event('input', {{bubbles: true}})); {said}"
    for name, value in (("rule", "2"), ("search", "lomi"), ("least", "0.5")):
        script = f"const e = document.getElementById('{name}'); e.value = '{value}'; {change}"
        seconds[name] = _seconds(page, script)
        print(f"filtered by {name}: {seconds[name]:.2f} s")
    assert built["s"] < 60 and built["mib"] < 3000
    assert size < 15_000_000
    assert max(seconds.values()) < 2


def _seconds(page: Any, script: str) -> float:
    """Of a script, and until what it changed is drawn."""
    drawn = "await new Promise(done => requestAnimationFrame(() => setTimeout(done)))"
    found: float = page.evaluate(
        f"async () => {{ const t = performance.now(); {script}; {drawn}; return performance.now() - t }}"
    )
    return found / 1000


if __name__ == "__main__":
    print(json.dumps(child(Path(sys.argv[1]))))
