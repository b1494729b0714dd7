"""Sampling at the size of the published study: 400 splits of 2,097,152 documents in 100,000 groups."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

DOCUMENTS, GROUPS, SPLITS, BLOCK = 2_097_152, 100_000, 400, 16

SCRIPT = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from memo.design_settings import Design
from memo.groups import Groups
from memo.splits import block_bytes, read_block
from memo.store import publishing
from memo.units import build_units
from subsets.checks import check_block
from subsets.designs import draw_block, keys_of_units

documents, groups, splits, block = (int(a) for a in sys.argv[2:])
root = Path(sys.argv[1])
started = time.perf_counter()
ids = [f"document {i}" for i in range(documents)]
document = np.arange(documents)
near = Groups(tuple(f"group {g}" for g in range(groups)), document, document % groups, documents)
units = build_units(ids, {"document": Groups.of_documents(ids), "near": near})
design = Design(splits=splits, block=block, ladder=("near",))
keys = keys_of_units(ids, units)
drawn = time.perf_counter()
for number in range(design.blocks):
    with publishing(root / f"block-{number}.safetensors", {}) as path:
        path.write_bytes(block_bytes(draw_block(design, keys, units, number, 0)))
written = time.perf_counter()
check_block(read_block(root / "block-0.safetensors"), 0, units, design)
print(json.dumps({
    "units_s": drawn - started, "draw_and_write_s": written - drawn, "check_one_block_s": time.perf_counter() - written,
    "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "inclusion_bytes": splits * documents // 8,
}))
"""


@pytest.mark.benchmark
def test_400_splits_of_two_million_documents(tmp_path: Path) -> None:

    line = [sys.executable, "-c", SCRIPT, str(tmp_path), *map(str, (DOCUMENTS, GROUPS, SPLITS, BLOCK))]
    started = time.perf_counter()
    result = subprocess.run(line, capture_output=True, text=True, check=True)
    taken = time.perf_counter() - started
    figures = json.loads(result.stdout)
    print(f"\n{SPLITS} splits of {DOCUMENTS:,} documents in {GROUPS:,} groups, a ladder of two rungs:")
    print(f"  {taken:.1f} s in all; peak {figures['peak_bytes'] / 1e9:.2f} GB; ", end="")
    print(f"inclusion {figures['inclusion_bytes'] / 1e6:.0f} MB; {figures}")
    assert taken < 60 and figures["peak_bytes"] < 3e9
