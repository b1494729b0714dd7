"""Damaged files: named by `memo verify`, made anew by `--repair` or by the same command, never part of a score."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

pytestmark = pytest.mark.faults


def loss(root: Path, split: int) -> Path:
    return root / "losses" / f"split-{split:05d}.safetensors"


def record(path: Path) -> Path:
    return path.with_name(f"{path.name}.record.json")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def permute_rows(path: Path) -> None:
    tensors = {name: np.ascontiguousarray(tensor[::-1]) for name, tensor in load_file(path).items()}
    save_file(tensors, path)


def findings(kit: Any, root: Path) -> dict[str, str]:
    result = kit.campaigns.memo("verify", root, "--json")
    assert result.returncode == 1
    return {finding["path"]: finding["problem"] for finding in json.loads(result.stdout)["findings"]}


@pytest.fixture
def damaged(kit: Any, tmp_path: Path) -> Path:
    """Every kind of damage at once, in files of their own."""
    root: Path = kit.copy(kit.quick, tmp_path / "damaged")
    flip_a_bit(loss(root, 0))
    loss(root, 1).write_bytes(loss(root, 1).read_bytes()[:100])
    loss(root, 2).unlink()
    record(loss(root, 3)).unlink()
    other = kit.slow  # another campaign: other settings of training
    shutil.copy(loss(other, 4), loss(root, 4))
    shutil.copy(record(loss(other, 4)), record(loss(root, 4)))
    permute_rows(loss(root, 5))
    record(loss(root, 6)).write_text("{")
    return root


def test_each_damage_is_named_and_nothing_partial_counts_as_done(kit: Any, damaged: Path) -> None:
    found = findings(kit, damaged)
    named = {split: found.get(f"losses/split-{split:05d}.safetensors") for split in range(8)}
    assert all("differs from its record" in str(named[split]) for split in (0, 1, 5)), named
    assert "missing" in str(named[2]) and "without" in str(named[3]) and "cannot be read" in str(named[6])
    assert "another campaign" in str(named[4]) and named[7] is None
    train = kit.campaigns.status(damaged)["stages"]["train"]
    assert train["done"] <= 3  # a flipped bit and permuted rows show only when the file is hashed
    error = kit.campaigns.refused(1, "aggregate", damaged)
    assert "scores need every model: 1 of 8" in error and "its losses are damaged" in error


def test_the_same_command_mends_all(kit: Any, damaged: Path) -> None:
    kit.campaigns.run(damaged)
    kit.same(damaged, kit.quick)


def test_repair_mends_exactly_that(kit: Any, damaged: Path) -> None:
    whole = loss(damaged, 7).stat().st_mtime_ns
    tables = {path: path.stat().st_mtime_ns for path in damaged.glob("scores/*")}
    assert "agree with their records" in kit.campaigns.good("verify", damaged, "--repair")
    assert loss(damaged, 7).stat().st_mtime_ns == whole
    assert {path: path.stat().st_mtime_ns for path in damaged.glob("scores/*")} == tables
    kit.same(damaged, kit.quick)


@pytest.mark.parametrize(
    "name",
    ["corpus/documents.parquet", "corpus/tokens.safetensors", "corpus/tokenizer/tokenizer.json", "groups/exact.parquet",
     "design/block-00001.safetensors", "scores/exact.parquet"],
)  # fmt: skip
@pytest.mark.slow
def test_other_stages_are_repaired_too(kit: Any, tmp_path: Path, name: str) -> None:
    root = kit.copy(kit.quick, tmp_path / "c")
    flip_a_bit(root / name)
    artifact = "corpus/tokenizer" if "tokenizer" in name else name
    assert findings(kit, root) == {artifact: findings(kit, root)[artifact]}
    losses = {path: path.stat().st_mtime_ns for path in root.glob("losses/*")}
    kit.campaigns.good("verify", root, "--repair")
    assert {path: path.stat().st_mtime_ns for path in root.glob("losses/*")} == losses
    kit.same(root, kit.quick)


@pytest.mark.slow
def test_a_source_that_changed_is_not_taken_for_the_old_one(kit: Any, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("corpus.jsonl", "held_out.txt", "campaign.yaml"):
        shutil.copy(kit.campaigns.folder / name, folder / name)
    root, config, source = tmp_path / "c", folder / "campaign.yaml", folder / "corpus.jsonl"
    kit.campaigns.good("run", config, "--dir", root)
    before = source.read_text()
    source.write_text(before + '{"id": "new", "text": "one more"}\n')
    for name in ("documents", "rejected"):
        flip_a_bit(root / "corpus" / f"{name}.parquet")
        damaged = contents(root)
        assert "its source has changed since" in kit.campaigns.refused(1, "verify", root, "--repair")
        assert "its source has changed since" in kit.campaigns.refused(1, "run", config, "--dir", root)
        assert contents(root) == damaged
    source.unlink()
    assert "corpus.jsonl" in kit.campaigns.refused(2, "verify", root, "--repair")
    assert contents(root) == damaged
    source.write_text(before)
    kit.campaigns.good("verify", root, "--repair")
    kit.same(root, kit.quick)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_model_that_is_gone_is_missed(kit: Any, tmp_path: Path) -> None:
    root = kit.copy(kit.quick, tmp_path / "c")
    loss(root, 3).unlink()
    record(loss(root, 3)).unlink()
    assert findings(kit, root) == {"losses/split-00003.safetensors": "missing, a score table was made from it"}
    kit.campaigns.good("verify", root, "--repair")
    kit.same(root, kit.quick)


def test_a_campaign_that_grows_is_whole_on_the_way(kit: Any, tmp_path: Path) -> None:
    root = kit.copy(kit.quick, tmp_path / "c")
    kit.campaigns.good("ingest", kit.campaigns.config, "--dir", root, "--set", "design.splits=12")
    assert "agree with their records" in kit.campaigns.good("verify", root)
    kit.campaigns.good("sample", root)
    assert "agree with their records" in kit.campaigns.good("verify", root)


def write(path: Path, text: str) -> None:
    path.write_text(text)


def put_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "something").write_text("else")


@pytest.mark.parametrize(
    "harm",
    [
        lambda root: put_a_folder(record(loss(root, 3))),
        lambda root: put_a_folder(loss(root, 3)),
        lambda root: write(record(loss(root, 3)), record(loss(root, 3)).read_text().replace(": 1,", ': "1",')),
        lambda root: write(record(loss(root, 3)), '{"notes": null}'),
        lambda root: write(root / "logs" / "split-00003.jsonl", '{"event": "step", "time": "x", "loss": "a"}\n[1]\n'),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_odd_things_in_the_place_of_files(kit: Any, tmp_path: Path, harm: Any) -> None:
    root = kit.copy(kit.quick, tmp_path / "c")
    harm(root)
    kit.campaigns.status(root)
    kit.campaigns.good("verify", root, "--repair")
    kit.same(root, kit.quick)


def test_a_whole_campaign_is_found_whole(kit: Any) -> None:
    data = json.loads(kit.campaigns.good("verify", kit.quick, "--json"))
    assert data["findings"] == [] and data["checked"] == 29 and data["bytes"] > 0
