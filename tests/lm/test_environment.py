"""The environment of a process that trains."""

import os
import subprocess
import sys

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


def test_a_process_starts_in_it() -> None:
    line = [sys.executable, "-c", "print('started')"]
    done = subprocess.run(line, env=training_environment(os.environ), capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("started\n", "")
