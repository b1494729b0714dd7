"""A report that cannot be written: one line, nothing half there, and the campaign stays as it is."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.faults


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", mounted], capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.decode().strip()}")
    yield mounted
    subprocess.run(["umount", "--lazy", mounted], check=True)


def test_a_full_disk(kit: Any, small_disk: Path) -> None:
    root = kit.copy(kit.quick, small_disk / "c")
    (root / "report.html").unlink()
    (root / "report.html.record.json").unlink()
    free = os.statvfs(small_disk)
    filler = small_disk / "filler"
    filler.write_bytes(b"\0" * (free.f_bavail * free.f_bsize - 40_000))
    for line in (
        ("report", root),
        ("run", kit.campaigns.config, "--dir", root),
        ("report", root, "--out", root / "x.html"),
    ):
        assert "disk is full" in kit.campaigns.refused(1, *line)
        assert (
            not list(root.rglob("*.tmp-*")) and not (root / "report.html").exists() and not (root / "x.html").exists()
        )
        status = kit.campaigns.status(root)
        assert status["stages"]["report"]["done"] == 0 and status["complete"]
    filler.unlink()
    kit.campaigns.good("report", root)
    kit.same(root, kit.quick)


def test_a_read_only_directory(kit: Any, small_disk: Path, tmp_path: Path) -> None:
    root = kit.copy(kit.quick, small_disk / "c")
    (root / "report.html").unlink()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert "Read-only file system" in kit.campaigns.refused(1, "report", root)
    assert kit.campaigns.status(root)["stages"]["report"]["done"] == 0
    kit.campaigns.good("report", root, "--out", tmp_path / "report.html")  # it can be read all the same
    assert (tmp_path / "report.html").stat().st_size > 100_000
