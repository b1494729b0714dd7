"""The environment of a process that trains."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from memo.lm.environment import training_environment


def test_what_the_user_set_for_glibc_stays() -> None:
    assert training_environment({})["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    set_before = {"GLIBC_TUNABLES": "glibc.malloc.check=1", "HOME": "/h", "OMP_NUM_THREADS": "8"}
    found = training_environment(set_before)
    assert found["GLIBC_TUNABLES"] == "glibc.malloc.check=1:glibc.malloc.hugetlb=1"
    assert found["HOME"] == "/h" and found["OMP_NUM_THREADS"] == "1"
    refused = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}
    assert training_environment(refused)["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=0"
    assert set_before["OMP_NUM_THREADS"] == "8"


def test_memory_of_such_a_process_is_asked_for_in_huge_pages() -> None:
    offered = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not offered.exists() or "[madvise]" not in offered.read_text():
        pytest.skip("this system does not give huge pages on request")
    code = "held = bytearray(64 << 20); print(' hg' in open('/proc/self/smaps').read())"
    line = [sys.executable, "-c", code]
    found = [
        subprocess.run(line, env=environment, capture_output=True, text=True, check=True).stdout
        for environment in (training_environment(os.environ), {**os.environ, "GLIBC_TUNABLES": ""})
    ]
    assert found == ["True\n", "False\n"]
