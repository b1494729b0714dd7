"""Files are whole or absent; a record tells what they were made from."""

import json
from pathlib import Path

import pytest

from memo.errors import DamagedError, UsageError
from memo.layout import record_path
from memo.store import fingerprint, is_done, publishing, read_record, refuse_changed, remove_temporaries, verified

INPUTS = {"training": {"learning_rate": 0.002, "epochs": 4}, "split": 3}


def publish(path: Path, content: str = "content") -> Path:
    with publishing(path, INPUTS, {"note": 1}) as temporary:
        temporary.write_text(content)
    return path


def test_a_published_file_is_done_for_its_inputs_only(tmp_path: Path) -> None:
    path = publish(tmp_path / "a" / "b.txt")
    assert is_done(path, INPUTS)
    assert not is_done(path, {**INPUTS, "split": 4})
    record = verified(path)
    assert record.inputs == INPUTS and record.notes["note"] == 1
    assert sorted(p.name for p in path.parent.iterdir()) == ["b.txt", "b.txt.record.json"]


def test_fingerprints_do_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint({"b": {"d": 3, "c": 2}, "a": 1})


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), publishing(tmp_path / "a.txt", INPUTS) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rewrite_keeps_the_old_file(tmp_path: Path) -> None:
    path = publish(tmp_path / "a.txt")
    with pytest.raises(RuntimeError), publishing(path, INPUTS) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "content" and is_done(path, INPUTS)


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "no record", "broken record"])
def test_damage_is_never_done(tmp_path: Path, damage: str) -> None:
    path = publish(tmp_path / "a.txt")
    if damage == "flip":
        path.write_text("Content")
    elif damage == "truncate":
        path.write_text("cont")
    elif damage == "delete":
        path.unlink()
    elif damage == "no record":
        record_path(path).unlink()
    else:
        record_path(path).write_text("{")
    assert not is_done(path, INPUTS)
    with pytest.raises(DamagedError, match=r"a\.txt"):
        verified(path)


def test_a_changed_setting_is_refused_with_both_values(tmp_path: Path) -> None:
    path = publish(tmp_path / "a.txt")
    changed = {**INPUTS, "training": {"learning_rate": 0.001, "epochs": 4}}
    with pytest.raises(UsageError, match=r"training\.learning_rate: the campaign has 0\.002, now asked for 0\.001"):
        refuse_changed(path, changed)
    refuse_changed(path, INPUTS)
    refuse_changed(tmp_path / "absent.txt", changed)


def test_a_record_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = publish(tmp_path / "a.txt")
    record = json.loads(record_path(path).read_text())
    record_path(path).write_text(json.dumps({**record, "format": 99}))
    with pytest.raises(UsageError, match="newer memo"):
        read_record(path)


def test_temporaries_of_killed_writers_are_removed(tmp_path: Path) -> None:
    path = publish(tmp_path / "losses" / "a.txt")
    (tmp_path / "losses" / "b.txt.tmp-0123").write_text("half")
    (tmp_path / "weights" / "split-00000.tmp-12").mkdir(parents=True)
    (tmp_path / "weights" / "split-00000.tmp-12" / "half.safetensors").write_text("half")
    remove_temporaries(tmp_path)
    assert is_done(path, INPUTS)
    assert not list(tmp_path.rglob("*.tmp-*"))
