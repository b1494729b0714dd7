"""Files of matrices: what is written reads back the same in every format, and nothing is unpickled or guessed."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from memo import exchange
from memo.errors import UsageError
from memo.exchange import Matrix, of_array, open_matrices, write_npz, write_safetensors
from memo.long_form import write_long

WRITERS = {".npz": write_npz, ".safetensors": write_safetensors, ".parquet": write_long}


def bank(epochs: int = 1) -> tuple[dict[str, NDArray], dict[str, list[str]]]:
    """3 models; 4 documents, of which the first three were evaluated before a fifth text."""
    rng = np.random.default_rng(1)
    shape = (3, 4) if epochs == 1 else (3, epochs, 4)
    masks = np.array([[1, 0, 1, 0], [0, 1, 1, 0], [1, 1, 0, 1]], dtype=bool)
    arrays = {
        "losses": rng.random(shape, dtype=np.float32) + 1,
        "n_correct": rng.integers(0, 5, shape).astype(np.float32),
        "masks": masks,
        "asked": masks | (rng.random(masks.shape) < 0.5),
        "n_tokens": np.array([5, 6, 7, 8]),
        "blocks": np.array([0, 0, 1]),
    }
    if epochs > 1:
        arrays["epochs"] = np.arange(1, epochs + 1) * 5
    names = {
        "models": ["one", "two", "three"],
        "documents": ["a", "b", "c", "\u00e9 \u4e2d"],
        "texts": ["a", "b", "c", "held out"],
    }
    return arrays, names


def matrices(arrays: dict[str, NDArray]) -> dict[str, Matrix]:
    return {key: of_array(key, array) for key, array in arrays.items()}


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("suffix", WRITERS)
def test_what_is_written_reads_back_the_same(tmp_path: Path, suffix: str, epochs: int) -> None:
    arrays, names = bank(epochs)
    path = tmp_path / f"bank{suffix}"
    WRITERS[suffix](path, matrices(arrays), names)
    found, found_names = open_matrices(path, "losses")
    assert found_names == names
    assert set(found) == set(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(found[key].whole(), array, err_msg=key)
        assert found[key].shape == array.shape
        np.testing.assert_array_equal(list(found[key].rows()), list(array))


def test_other_tools_read_what_is_written(tmp_path: Path) -> None:
    arrays, names = bank()
    write_npz(tmp_path / "bank.npz", matrices(arrays), names)
    with np.load(tmp_path / "bank.npz", allow_pickle=False) as found:
        np.testing.assert_array_equal(found["losses"], arrays["losses"])
        assert found["documents"].tolist() == names["documents"]
    write_long(tmp_path / "bank.parquet", matrices(arrays), names)
    frame = pd.read_parquet(tmp_path / "bank.parquet")
    assert len(frame) == 3 * 5 and frame["loss"].isna().sum() == 3 and frame["included"].isna().sum() == 3
    row = frame[(frame["model"] == "two") & (frame["doc_id"] == "b")].iloc[0]
    assert row["included"] and row["loss"] == arrays["losses"][1, 1]


def test_rows_come_in_small_pieces_and_in_either_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "CHUNK_BYTES", 64)
    losses = np.random.default_rng(0).random((11, 5))
    for name, array in (("c", losses), ("fortran", np.asfortranarray(losses))):
        np.savez_compressed(tmp_path / f"{name}.npz", losses=array)
        np.save(tmp_path / f"{name}.npy", array)
        for suffix in (".npz", ".npy"):
            matrix = open_matrices(tmp_path / f"{name}{suffix}", "losses")[0]["losses"]
            assert len(list(matrix.chunks())) == 11
            np.testing.assert_array_equal(matrix.whole(), losses)
    save_file({"losses": losses}, tmp_path / "st.safetensors")
    np.testing.assert_array_equal(open_matrices(tmp_path / "st.safetensors", "losses")[0]["losses"].whole(), losses)


def refused(path: Path, read: bool = False) -> str:
    with pytest.raises(UsageError) as error:
        found, _ = open_matrices(path, "losses")
        if read:
            found["losses"].whole()
    message = str(error.value)
    assert "\n" not in message and path.name in message
    return message


def test_python_objects_are_never_opened(tmp_path: Path) -> None:
    objects = np.array([{"a": 1}, None], dtype=object)
    np.savez(tmp_path / "o.npz", losses=np.ones((2, 2)), masks=objects)
    np.save(tmp_path / "o.npy", objects)
    assert "o.npz: masks: expected numbers, found an array of Python objects" in refused(tmp_path / "o.npz")
    assert "a pickle and is never opened" in refused(tmp_path / "o.npy")


def test_a_file_that_is_not_what_its_name_says(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("no zip")
    np.save(tmp_path / "b", np.ones((2, 2)))
    (tmp_path / "b.npy").rename(tmp_path / "b.npz")
    for name in ("c.npy", "d.safetensors", "e.parquet"):
        (tmp_path / name).write_text("something else entirely")
    (tmp_path / "f.pkl").write_text("")
    assert "as numpy.savez writes, found something else" in refused(tmp_path / "a.npz")
    assert "found a single array; name it .npy" in refused(tmp_path / "b.npz")
    assert "as numpy.save writes" in refused(tmp_path / "c.npy")
    assert "expected a safetensors file" in refused(tmp_path / "d.safetensors")
    assert "expected a Parquet file" in refused(tmp_path / "e.parquet")
    assert "found .pkl; name it after its format" in refused(tmp_path / "f.pkl")
    assert "found none; check the path" in refused(tmp_path / "none.npz")


def test_a_file_that_is_cut_short(tmp_path: Path) -> None:
    losses = np.random.default_rng(0).random((50, 40))
    np.savez(tmp_path / "a.npz", losses=losses)
    np.save(tmp_path / "b.npy", losses)
    save_file({"losses": losses}, tmp_path / "c.safetensors")
    for name in ("a.npz", "b.npy", "c.safetensors"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    assert "cut short; copy it again" in refused(tmp_path / "a.npz")
    assert "cut short or damaged (8,064 bytes are missing)" in refused(tmp_path / "b.npy", read=True)
    assert "or half of one" in refused(tmp_path / "c.safetensors")


def test_a_member_whose_bytes_changed_is_found_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", losses=np.zeros((50, 40)))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[5000] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    assert "cut short or damaged" in refused(tmp_path / "a.npz", read=True)


def test_odd_contents_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "scalar.npz", losses=np.float64(1))
    np.savez(tmp_path / "names.npz", losses=np.ones((2, 2)), documents=np.array([["a", "b"]]))
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for _ in range(2):
            archive.writestr("losses.npy", b"x")
    save_file({"losses": np.ones((2, 2)), "texts": np.frombuffer(b"{}", np.uint8)}, tmp_path / "json.safetensors")
    header = json.dumps({"losses": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "bf16.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert "found a single value" in refused(tmp_path / "scalar.npz")
    assert "expected a list of identifiers, found the shape (1, 2)" in refused(tmp_path / "names.npz")
    assert "found 'losses' twice" in refused(tmp_path / "twice.npz")
    assert "JSON list, found dict" in refused(tmp_path / "json.safetensors")
    assert "found BF16; convert it to F32" in refused(tmp_path / "bf16.safetensors")


def long_frame() -> pd.DataFrame:
    pairs = [(model, doc_id) for model in ("one", "two") for doc_id in ("a", "b")]
    frame = pd.DataFrame(pairs, columns=["model", "doc_id"])
    return frame.assign(loss=[1.0, 2.0, 3.0, 4.0], included=[True, False, False, True])


def test_rows_of_a_table_come_in_any_order(tmp_path: Path) -> None:
    long_frame().sample(frac=1, random_state=3).to_parquet(tmp_path / "t.parquet")
    found, names = open_matrices(tmp_path / "t.parquet", "losses")
    frame = pd.DataFrame(found["losses"].whole(), index=names["models"], columns=names["texts"])
    assert frame.loc["one", "b"] == 2.0 and frame.loc["two", "a"] == 3.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: pd.concat([f, f.iloc[[2]]]), "found two of model 'two' and doc_id 'a'"),
        (lambda f: f.iloc[:3], "found none of model 'two' and doc_id 'b' (1 are missing)"),
        (lambda f: f.assign(model=None), "expected a model in every row"),
        (lambda f: f.drop(columns="doc_id"), "found the columns model, loss, included; add doc_id"),
        (lambda f: f.assign(included=[1, 0, 2, 1]), "found 2 for model 'two'"),
        (lambda f: f.assign(included=[1.0, 0.0, 0.5, 1.0]), "included: expected booleans, or 0 and 1"),
        (lambda f: f.assign(included=[True, None, False, True]), "found nan for model 'one'"),
        (lambda f: f.assign(loss="x"), "loss: expected numbers, found"),
        (lambda f: f.assign(n_tokens=[1, 2, 3, 4]), "expected one whole number for each doc_id"),
        (lambda f: f.assign(block=[1, 2, 3, 4]), "expected one whole number for each model"),
    ],
)
def test_a_table_that_does_not_fit_is_one_line(tmp_path: Path, change: object, message: str) -> None:
    change(long_frame()).to_parquet(tmp_path / "t.parquet")  # type: ignore[operator]
    assert message in refused(tmp_path / "t.parquet")
