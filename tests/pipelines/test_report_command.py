"""`memo report`, and the report as the end of `memo run`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from memo.layout import Layout, record_path
from memo.store import read_record
from pipelines.progress import Reporter
from pipelines.report import make_report
from pipelines.status import status
from pipelines.workspace import open_workspace


def memo_command(*arguments: object) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-P", "-m", "pipelines.cli", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def root(small_campaign: Path, tmp_path: Path) -> Path:
    """A copy of a finished campaign."""
    copied = tmp_path / small_campaign.name  # the title of the report is the name of the folder
    shutil.copytree(small_campaign, copied)
    return copied


def test_a_run_ends_with_a_report_that_status_counts(small_campaign: Path) -> None:
    data = status(small_campaign)
    assert data["complete"] and data["stages"]["report"] == {"done": 1, "total": 1, "failed": 0, "stale": 0}
    assert read_record(Layout(small_campaign).report) is not None


def test_an_unchanged_campaign_is_not_reported_again(root: Path) -> None:
    path = Layout(root).report
    before = path.stat().st_mtime_ns
    done = memo_command("report", root)
    assert done.returncode == 0 and str(path) in done.stdout and path.stat().st_mtime_ns == before
    table = Layout(root).scores("near")
    record = json.loads(record_path(table).read_text())
    record_path(table).write_text(json.dumps({**record, "sha256": "0" * 64}))
    stages = status(root)["stages"]
    assert stages["report"] == {"done": 0, "total": 1, "failed": 0, "stale": 1}
    assert status(root)["complete"]  # what was measured is
    done = memo_command("report", root)
    assert done.returncode == 0 and path.stat().st_mtime_ns > before and status(root)["stages"]["report"]["done"] == 1


def test_the_same_bytes_again(root: Path) -> None:
    path = Layout(root).report
    before = path.read_bytes()
    path.unlink()
    assert memo_command("report", root, "--quiet").returncode == 0
    assert path.read_bytes() == before


def test_another_file(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere.html"
    before = Layout(root).report.stat().st_mtime_ns
    done = memo_command("report", root, "--out", out)
    assert done.returncode == 0 and str(out) in done.stdout
    assert out.read_bytes() == Layout(root).report.read_bytes()
    assert Layout(root).report.stat().st_mtime_ns == before and not record_path(out).exists()
    for wrong in (tmp_path, tmp_path / "none" / "x.html"):
        refused = memo_command("report", root, "--out", wrong)
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and "--out" in refused.stderr


def test_before_the_scores_it_is_refused_in_one_line(root: Path) -> None:
    shutil.rmtree(root / "scores")
    Layout(root).report.unlink()
    refused = memo_command("report", root)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert "memo aggregate" in refused.stderr and not Layout(root).report.exists()
    assert memo_command("report", root.parent / "none").returncode == 2


def test_a_run_without_a_report(root: Path, small_campaign: Path) -> None:
    Layout(root).report.unlink()
    config = small_campaign.parent / "campaign.yaml"
    done = memo_command("run", config, "--dir", root, "--no-report", "--quiet")
    assert done.returncode == 0 and "report:" not in done.stdout and not Layout(root).report.exists()
    done = memo_command("run", config, "--dir", root, "--quiet")
    assert done.returncode == 0 and f"report: {Layout(root).report}" in done.stdout and Layout(root).report.exists()


def test_a_writer_that_fails_leaves_nothing(root: Path) -> None:
    workspace = open_workspace(root)
    workspace.layout.report.unlink()

    def fails(campaign: object, path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError):
        make_report(workspace, Reporter(quiet=True), fails)
    assert not workspace.layout.report.exists() and not list(root.rglob("*.tmp-*"))
    assert status(root)["stages"]["report"]["done"] == 0


def test_a_damaged_report_is_found_and_made_anew(root: Path) -> None:
    path = Layout(root).report
    whole = path.read_bytes()
    path.write_bytes(whole[:-7] + b"<br></p>"[:7])
    found = memo_command("verify", root, "--json")
    assert found.returncode == 1
    assert [f["path"] for f in json.loads(found.stdout)["findings"]] == ["report.html"]
    assert memo_command("verify", root, "--repair").returncode == 0
    assert path.read_bytes() == whole
