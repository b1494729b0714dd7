"""Files are whole or absent; a record tells what they were made from."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memo.errors import DamagedError, UsageError
from memo.layout import record_path
from memo.store import (
    fingerprint,
    is_done,
    publishing,
    read_record,
    refuse_changed,
    remove_temporaries,
    temporary_path,
    verified,
)

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
    script = (
        "import os, sys, pathlib; from memo.store import temporary_path; root = pathlib.Path(sys.argv[1])\n"
        "temporary_path(root / 'losses' / 'b.txt').write_text('half')\n"
        "folder = temporary_path(root / 'weights'); folder.mkdir(); (folder / 'half.safetensors').write_text('half')\n"
        "os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)]).returncode == 9
    assert len(list(tmp_path.rglob("*.tmp-*"))) == 2
    remove_temporaries(tmp_path)
    assert is_done(path, INPUTS)
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_temporaries_of_the_living_and_of_other_hosts_stay(tmp_path: Path) -> None:
    mine = temporary_path(tmp_path / "a.txt")
    mine.write_text("half")
    elsewhere = tmp_path / "b.txt.tmp-01234567-1-1-0123456789ab"
    elsewhere.write_text("half")
    remove_temporaries(tmp_path)
    assert mine.exists() and elsewhere.exists()
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(elsewhere, (long_ago, long_ago))
    remove_temporaries(tmp_path)
    assert mine.exists() and not elsewhere.exists()


def test_a_folder_is_published_whole(tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    for content in ("one", "two"):
        with publishing(folder, INPUTS) as temporary:
            temporary.mkdir()
            (temporary / "a.json").write_text(content)
        assert is_done(folder, INPUTS) and (folder / "a.json").read_text() == content
    (folder / "b.json").write_text("more")
    with pytest.raises(DamagedError):
        verified(folder)


def test_what_is_published_again_with_the_same_content_never_looks_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = publish(tmp_path / "a.txt")
    looks = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        looks.append(is_done(path, INPUTS))
        moved = replace(self, target)
        looks.append(is_done(path, INPUTS))
        return moved

    monkeypatch.setattr(Path, "replace", watched)
    publish(path)
    assert looks == [True] * 4
