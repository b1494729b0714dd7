"""Matrices that come from or go to other tools: .npz, .npy and .safetensors, read and written some rows at a time.

    matrices, names = open_matrices(Path("bank.npz"), "losses")
    for row in matrices["losses"].rows(): ...
    write_npz(Path("out.npz"), matrices)

Keys, M models, T texts evaluated, N documents trained on, E evaluations:

    losses     (M, T) or (M, E, T)   mean negative log-likelihood per token, nats
    masks      (M, N)                the model trained on the document
    asked      (M, N)                a coin of the document's own decided that; all of them where it is missing
    n_correct  as losses             right next tokens; needs n_tokens
    accuracy   as losses             the same as a share, 0 to 1
    n_tokens   (T,)                  tokens scored of every text
    blocks     (M,)                  block of every model; those of a block stand side by side
    epochs     (E,)                  epochs after which the losses were measured
    treated    (M, N)                masks where asked; written, and not read again
    documents, texts, models         identifiers: text, or in safetensors, which has none, UTF-8 bytes of a JSON list

Nothing here is ever unpickled. Parquet is `memo.long_form`. Cost: a few rows of memory, whatever the size of a matrix;
one in Fortran order inside a zip archive is the exception and is held whole.
"""

import contextlib
import json
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from memo.errors import UsageError

NAME_KEYS = ("documents", "texts", "models")
CHUNK_BYTES = 1 << 25
NUMPY_MAGIC = b"\x93NUMPY"
ALIGNMENT = 8  # safetensors: where the data begins
SAFETENSORS_TYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"{kind}{bits}": np.dtype(f"{kind.lower()}{bits // 8}") for kind in "IU" for bits in (8, 16, 32, 64)},
    **{f"F{bits}": np.dtype(f"f{bits // 8}") for bits in (16, 32, 64)},
}


@dataclass(frozen=True)
class Matrix:
    """A matrix that is read in order along its first axis, as often as one likes."""

    name: str  # as messages name it: `bank.npz: losses`
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: Callable[[], Iterator[NDArray[Any]]]  # runs of rows, together all of them

    def rows(self) -> Iterator[NDArray[Any]]:
        """One row after the other."""
        for chunk in self.chunks():
            yield from chunk

    def whole(self) -> NDArray[Any]:
        """All of it, in memory."""
        found = list(self.chunks())
        return np.concatenate(found) if found else np.empty(self.shape, dtype=self.dtype)


Matrices = dict[str, Matrix]
Names = dict[str, list[str]]


def of_array(name: str, array: NDArray[Any]) -> Matrix:
    """A matrix that is in memory already."""
    return Matrix(name, array.shape, array.dtype, lambda: iter((array,)))


def open_matrices(path: Path, key: str) -> tuple[Matrices, Names]:
    """What a file holds; nothing but the identifiers is read yet. `key` says what the matrix of an .npy file is.

    Raises `UsageError`, in one line, for a file that is not what its name says, and for Python objects in it.
    """
    readers = {".npz": _open_npz, ".npy": _open_npy, ".safetensors": _open_safetensors, ".parquet": _open_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            f"{path}: expected a file named .npz, .npy, .parquet or .safetensors, found "
            f"{path.suffix or 'no such ending'}; name it after its format"
        )
    if not path.is_file():
        raise UsageError(f"{path}: expected a file with {key}, found none; check the path")
    return reader(path, key)


def needed(matrices: Mapping[str, Matrix], key: str, path: Path, hint: str = "") -> Matrix:
    """The matrix of this key; `UsageError` with the keys that are there."""
    if key not in matrices:
        found = ", ".join(f"`{name}`" for name in sorted(matrices)) or "nothing"
        raise UsageError(f"{path}: expected the key `{key}`, found {found}; {hint or 'rename it'}")
    return matrices[key]


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(NUMPY_MAGIC))


def _open_npz(path: Path, key: str) -> tuple[Matrices, Names]:
    start = _start(path)
    if not zipfile.is_zipfile(path):
        cut = start.startswith(b"PK")
        what = "one that is cut short" if cut else "a single array" if start == NUMPY_MAGIC else "something else"
        todo = "copy it again" if cut else "name it .npy" if start == NUMPY_MAGIC else "write it with numpy.savez"
        raise UsageError(f"{path}: expected a zip archive of arrays, as numpy.savez writes, found {what}; {todo}")
    with _readable(str(path)), zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if name.endswith(".npy")]
    if len(set(members)) < len(members):
        twice = next(name for name in members if members.count(name) > 1)
        raise UsageError(f"{path}: expected every key once, found {twice.removesuffix('.npy')!r} twice; write it again")
    found = {}
    for member in members:
        name = member.removesuffix(".npy")
        found[name] = _npy_matrix(f"{path.name}: {name}", partial(_member, path, member))
    return _split(found, {name: found[name].whole().tolist for name in NAME_KEYS if name in found})


@contextlib.contextmanager
def _member(path: Path, name: str) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(path) as archive, archive.open(name) as file:
        yield file


def _open_npy(path: Path, key: str) -> tuple[Matrices, Names]:
    if _start(path) != NUMPY_MAGIC:
        raise UsageError(f"{path}: expected an array as numpy.save writes, found something else; name it by its format")
    matrix = _npy_matrix(path.name, lambda: path.open("rb"), path)
    return {key: matrix}, {}


def _npy_matrix(name: str, opened: Callable[[], Any], path: Path | None = None) -> Matrix:
    """From whatever has the bytes of an .npy file. `path`: where they lie in a file of their own."""
    with _readable(name), opened() as file:
        shape, fortran, dtype = _npy_header(file, name)
    row_bytes = dtype.itemsize * math.prod(shape[1:])
    step = max(1, CHUNK_BYTES // max(1, row_bytes))

    def chunks() -> Iterator[NDArray[Any]]:
        with _readable(name), opened() as file:
            _npy_header(file, name)
            if fortran and len(shape) > 1:
                # Rows do not lie together. A file of its own is mapped; a member of an archive has to be read whole.
                whole = npy.open_memmap(path, mode="r") if path else _column_major(file, shape, dtype)
                yield from (whole[start : start + step] for start in range(0, shape[0], step))
                return
            for start in range(0, shape[0], step):
                count = min(step, shape[0] - start)
                yield np.frombuffer(_exactly(file, count * row_bytes), dtype).reshape(count, *shape[1:])
            file.read(1)  # an archive compares checksums at the end of a member

    return Matrix(name, shape, dtype, chunks)


def _npy_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise UsageError(f"{name}: expected an array of plain numbers, found a structured one; save its columns")
    shape, fortran, dtype = readers[version](file)
    if dtype.hasobject:
        raise UsageError(
            f"{name}: expected numbers, found an array of Python objects, which is a pickle and is never opened; "
            "save it with a numeric dtype, identifiers as text"
        )
    if not shape:
        raise UsageError(f"{name}: expected a matrix, found a single value; save an array")
    return shape, fortran, dtype


def _column_major(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    data = _exactly(file, dtype.itemsize * math.prod(shape))
    file.read(1)
    return np.frombuffer(data, dtype).reshape(shape[::-1]).transpose()


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError(f"{size - len(data):,} bytes are missing")
    return data


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{name}: cannot be read to its end, it is cut short or damaged ({reason}); copy it again"
        ) from error


def _open_safetensors(path: Path, key: str) -> tuple[Matrices, Names]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            found = {
                name: _tensor(path, name, part.get_dtype(), tuple(part.get_shape()))
                for name, part in ((name, file.get_slice(name)) for name in file.keys())  # noqa: SIM118 - no mapping
            }
    except SafetensorError as error:
        raise UsageError(
            f"{path}: expected a safetensors file, found something else or half of one: {error}"
        ) from error
    return _split(found, {name: partial(_from_json, found[name]) for name in NAME_KEYS if name in found})


def _tensor(path: Path, name: str, kind: str, shape: tuple[int, ...]) -> Matrix:
    from safetensors import safe_open

    label = f"{path.name}: {name}"
    if kind not in SAFETENSORS_TYPES:
        raise UsageError(f"{label}: expected one of {', '.join(SAFETENSORS_TYPES)}, found {kind}; convert it to F32")
    if not shape:
        raise UsageError(f"{label}: expected a matrix, found a single value; save an array")
    dtype = SAFETENSORS_TYPES[kind]
    step = max(1, CHUNK_BYTES // max(1, dtype.itemsize * math.prod(shape[1:])))

    def chunks() -> Iterator[NDArray[Any]]:
        for start in range(0, shape[0], step):
            with safe_open(
                path, framework="numpy"
            ) as file:  # opened anew: pages of a mapping are kept while it is open
                rows = file.get_slice(name)[start : min(start + step, shape[0])]
            yield rows

    return Matrix(label, shape, dtype, chunks)


def _from_json(matrix: Matrix) -> list[Any]:
    if matrix.dtype != np.uint8:
        return matrix.whole().tolist()
    try:
        found = json.loads(matrix.whole().tobytes())
    except ValueError as error:
        raise UsageError(f"{matrix.name}: expected the UTF-8 bytes of a JSON list, found something else") from error
    if not isinstance(found, list):
        raise UsageError(f"{matrix.name}: expected the UTF-8 bytes of a JSON list, found {type(found).__name__}")
    return found


def _open_parquet(path: Path, key: str) -> tuple[Matrices, Names]:
    from memo.long_form import read_long

    return read_long(path)


def _split(found: Matrices, lists: Mapping[str, Callable[[], list[Any]]]) -> tuple[Matrices, Names]:
    """Identifiers apart from numbers."""
    names = {}
    for name, read in lists.items():
        if len(found[name].shape) != 1:
            raise UsageError(f"{found[name].name}: expected a list of identifiers, found the shape {found[name].shape}")
        names[name] = [i.decode("utf-8", "replace") if isinstance(i, bytes) else str(i) for i in read()]
    return {name: matrix for name, matrix in found.items() if name not in lists}, names


def write_npz(path: Path, matrices: Mapping[str, Matrix], names: Mapping[str, Sequence[str]]) -> None:
    """Not compressed: noise does not shrink, and other tools can map what lies there as it is."""
    everything = {**{key: of_array(key, np.asarray(ids, dtype=np.str_)) for key, ids in names.items()}, **matrices}
    with zipfile.ZipFile(path, "w") as archive:
        for key, matrix in everything.items():
            with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
                header = {"descr": npy.dtype_to_descr(matrix.dtype), "fortran_order": False, "shape": matrix.shape}
                npy.write_array_header_1_0(file, header)
                _write_chunks(file, matrix)


def write_safetensors(path: Path, matrices: Mapping[str, Matrix], names: Mapping[str, Sequence[str]]) -> None:
    """Written by hand, because the library wants all tensors in memory at once (huggingface.co/docs/safetensors)."""
    texts = {key: json.dumps(list(ids), ensure_ascii=False).encode() for key, ids in names.items()}
    everything = {
        **matrices,
        **{key: of_array(key, np.frombuffer(text, dtype=np.uint8)) for key, text in texts.items()},
    }
    # Wide numbers first: every tensor then begins at a multiple of its own width.
    order = sorted(everything, key=lambda key: -everything[key].dtype.itemsize)
    kinds = {dtype: name for name, dtype in SAFETENSORS_TYPES.items()}
    header, begin = {}, 0
    for key in order:
        matrix = everything[key]
        end = begin + matrix.dtype.itemsize * math.prod(matrix.shape)
        header[key] = {"dtype": kinds[matrix.dtype], "shape": list(matrix.shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for key in order:
            _write_chunks(file, everything[key])


def _write_chunks(file: IO[bytes], matrix: Matrix) -> None:
    written = 0
    for chunk in matrix.chunks():
        file.write(np.ascontiguousarray(chunk, dtype=matrix.dtype).data.cast("B") if chunk.size else b"")
        written += len(chunk)
    if written != matrix.shape[0]:
        raise ValueError(f"{matrix.name}: expected {matrix.shape[0]} rows, found {written}")
