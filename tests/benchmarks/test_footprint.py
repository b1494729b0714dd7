"""What memo costs: answers at once, a large corpus, the demo. Times on a machine that does nothing else.

make benchmark                        everything under tests/benchmarks
pytest -m benchmark -s tests/benchmarks/test_footprint.py
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

MEMO = [sys.executable, "-P", "-m", "pipelines.cli"]


def timed(*arguments: str, repeat: int = 5) -> float:
    """Median wall time in seconds."""
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        subprocess.run([*MEMO, *arguments], capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def watched(*arguments: str) -> tuple[float, float, str]:
    """Wall time in seconds, peak of the summed memory of all processes in bytes, and stdout."""
    started, peak = time.perf_counter(), 0.0
    with subprocess.Popen([*MEMO, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        root = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, _memory(root))
            time.sleep(0.2)
        output = process.stdout.read() if process.stdout else ""
    assert process.returncode == 0
    return time.perf_counter() - started, peak, output


def _memory(root: psutil.Process) -> float:
    """Proportional memory of a process tree: shared pages count once."""
    total = 0.0
    try:
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue  # ended between the two looks
    return total


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_the_demo_and_answers_at_once(tmp_path: Path) -> None:
    taken, peak, _ = watched("demo", str(tmp_path / "demo"))
    print(f"\nmemo demo: {taken:.0f} s, {peak / 1e9:.2f} GB in all processes together")
    again = timed("demo", str(tmp_path / "demo"), repeat=3)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("corpus: {path: x.jsonl}\nmodel: {model_type: gpt2, n_emdb: 64}\n")
    times = {
        "memo --help": timed("--help"),
        "memo status": timed("status", str(tmp_path / "demo")),
        "a misspelt model size": timed("run", str(wrong), "--dir", str(tmp_path / "none")),
    }
    for name, seconds in times.items():
        print(f"{name}: {seconds:.2f} s")
    print(f"the finished demo again, with its tables: {again:.2f} s")
    assert taken < 240 and peak < 3e9 and max(times.values()) < 1


@pytest.mark.benchmark
def test_a_hundred_thousand_documents(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = np.array([f"word{index}" for index in range(5000)])
    with (tmp_path / "corpus.jsonl").open("w") as file:
        for _ in range(100_000):
            file.write(json.dumps({"text": " ".join(rng.choice(words, size=rng.integers(20, 120)))}) + "\n")
    size = (tmp_path / "corpus.jsonl").stat().st_size
    config = tmp_path / "campaign.yaml"
    config.write_text("corpus: {path: corpus.jsonl}\nrules: [exact]\ndesign: {splits: 64, unit: exact}\n")
    print(f"\n100,000 documents, {size / 1e6:.0f} MB")
    total = 0.0
    for stage in (["ingest", str(config), "--dir"], ["group"], ["sample"]):
        taken, peak, _ = watched(*stage, str(tmp_path / "campaign"))
        total += taken
        print(f"  memo {stage[0]}: {taken:.1f} s, {peak / 1e9:.2f} GB")
        assert peak < 2e9
    assert total < 120
