"""The training engine against transformers.Trainer and a plain loop on the CPU: about a quarter of an hour.

    pytest -m benchmark -s tests/benchmarks/test_engine.py

Needs idle cores and the package accelerate, which `Trainer` asks for. The rows of a GPU: `engine.py --device cuda`.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("engine.py")


def ratio(runs: dict[str, list[dict[str, float]]], first: str, second: str) -> float:
    pairs = zip(runs[first], runs[second], strict=True)
    return statistics.median(a["tokens_per_s"] / b["tokens_per_s"] for a, b in pairs)


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
def test_the_engine_against_trainer_and_a_plain_loop(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    figures = tmp_path / "figures.json"
    print()
    subprocess.run([sys.executable, str(SCRIPT), "--device", "cpu", "--json", str(figures)], check=True)
    rows = json.loads(figures.read_text())
    assert len(rows) == 9
    for row in rows:
        losses = [statistics.mean(loss for run in runs for loss in run["losses"]) for runs in row["runs"].values()]
        assert max(losses) <= 1.05 * min(losses), "the variants did not do the same work"
        if row["precision"] == "float32":
            where = f"{row['architecture']} {row['size']}"
            assert ratio(row["runs"], "memo", "trainer") >= 1.5, where
            assert ratio(row["runs"], "memo", "loop") >= 1.0, where
