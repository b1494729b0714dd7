"""The files a source names: globs, lists and fsspec URLs, in a stable order, opened and decompressed as they stream.

    for file in expand(("data/*.jsonl", "s3://bucket/more.jsonl.zst")):
        with open_stream(file) as stream: ...

Local files are opened directly; fsspec is imported for URLs only. Concatenated gzip members and zstd frames are read
one after the other. A damaged or truncated file is a `UsageError`, never a short corpus.
"""

import glob
import io
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, cast

from memo.errors import UsageError
from subsets.readers.records import replace_surrogates

COMPRESSED: Final = (".gz", ".zst")
_CHUNK_BYTES = 1 << 16  # compressed bytes at a time; gzip can make a thousand times as many of them
_BUFFER_BYTES = 1 << 20
_LARGEST_WINDOW_BYTES = 1 << 31  # what `zstd --long=31` writes


@dataclass(frozen=True, slots=True)
class File:
    """One input. `name` is what messages show; `key` names its records where they bring no identifier."""

    path: str
    name: str
    key: str
    fs: Any = None  # an fsspec file system; None: local
    is_folder: bool = False

    @property
    def suffix(self) -> str:
        """Lower-case extension below any compression: `.jsonl` for `a.jsonl.gz`."""
        return _below_compression(self.name).suffix.lower()

    @property
    def compression(self) -> str | None:
        suffix = PurePosixPath(self.name).suffix.lower()
        return suffix if suffix in COMPRESSED else None

    def open(self) -> BinaryIO:
        """The raw bytes, still compressed."""
        if self.fs is None:
            return Path(self.path).open("rb")
        return cast(BinaryIO, self.fs.open(self.path, "rb"))


def expand(paths: str | tuple[str, ...]) -> list[File]:
    """Every file that is named: the list's order as given, the matches of a glob sorted."""
    found: list[File] = []
    for path in [paths] if isinstance(paths, str) else paths:
        found += _remote(path) if "://" in path or "::" in path else _local(path)
    doubled = [name for name, count in Counter(file.name for file in found).items() if count > 1]
    if doubled:
        raise UsageError(f"{doubled[0]}: named more than once by corpus.path; expected every file once")
    return _with_keys(found)


def _local(path: str) -> list[File]:
    if os.path.lexists(path):
        return [_file(path, path, is_folder=Path(path).is_dir())]
    matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    files = [match for match in matches if not Path(match).is_dir()]
    if not files:
        raise UsageError(_nothing(path, is_glob=glob.has_magic(path)))
    return [_file(match, match) for match in files]


def _remote(url: str) -> list[File]:
    from fsspec.core import url_to_fs

    try:
        fs, path = url_to_fs(url)
        if fs.isdir(path):
            raise UsageError(folder_found(url))
        if fs.exists(path):
            return [_file(path, url, fs=fs)]
        matches = sorted(fs.glob(path)) if glob.has_magic(path) else []
        files = [match for match in matches if not fs.isdir(match)]
    except UsageError:
        raise
    except Exception as error:  # each file system has errors of its own, with no common class
        raise UsageError(f"{url}: cannot be read: {_one_line(error)}; check the URL and its credentials") from error
    if not files:
        raise UsageError(_nothing(url, is_glob=glob.has_magic(path)))
    return [_file(match, str(fs.unstrip_protocol(match)), fs=fs) for match in files]


def _file(path: str, name: str, fs: Any = None, is_folder: bool = False) -> File:
    return File(path=path, name=replace_surrogates(name), key="", fs=fs, is_folder=is_folder)


def _nothing(path: str, is_glob: bool) -> str:
    if is_glob:
        return f"{path}: expected at least one matching file, found none; check corpus.path"
    return f"{path}: expected a file, found no such file; check corpus.path"


def folder_found(name: str) -> str:
    """The message for a folder where files are expected."""
    return f"{name}: expected a file, found a folder; name its files, for instance {name.rstrip('/')}/*.jsonl"


def _with_keys(files: list[File]) -> list[File]:
    """Keys are the files' stems; where two are alike, every key is the path below the common folder."""
    names = [PurePosixPath(Path(file.name).as_posix()) for file in files]
    stems = [_below_compression(str(name)).stem for name in names]
    if len(set(stems)) < len(stems):
        shared = _shared_folders(names)
        stems = ["/".join(name.parts[shared:]) for name in names]
    return [File(file.path, file.name, stem, file.fs, file.is_folder) for file, stem in zip(files, stems, strict=True)]


def _shared_folders(names: list[PurePosixPath]) -> int:
    """How many leading folders all names have in common."""
    shared = 0
    for folders in zip(*(name.parts[:-1] for name in names), strict=False):
        if len(set(folders)) > 1:
            break
        shared += 1
    return shared


def _below_compression(name: str) -> PurePosixPath:
    path = PurePosixPath(Path(name).as_posix())
    return path.with_suffix("") if path.suffix.lower() in COMPRESSED else path


def open_stream(file: File) -> io.BufferedReader:
    """The decompressed bytes, as a stream that is never held whole."""
    chunks = _chunks(file)
    if file.compression == ".gz":
        chunks = _decompressed(file, chunks, lambda: zlib.decompressobj(wbits=31), zlib.error)
    elif file.compression == ".zst":
        import zstandard

        decompressor = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW_BYTES)
        chunks = _decompressed(file, chunks, decompressor.decompressobj, zstandard.ZstdError)
    return io.BufferedReader(_ChunkStream(chunks), _BUFFER_BYTES)


def _chunks(file: File) -> Iterator[bytes]:
    try:
        with file.open() as raw:
            while chunk := raw.read(_CHUNK_BYTES):
                yield chunk
    except Exception as error:  # OSError, or whatever the remote file system raises
        raise unreadable(file, error) from error


def unreadable(file: File, error: Exception) -> UsageError:
    """The error for a file that exists but does not give its bytes."""
    return UsageError(f"{file.name}: cannot be read: {_one_line(error)}; check the file and its permissions")


def _one_line(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


def _decompressed(
    file: File, chunks: Iterator[bytes], start: Callable[[], Any], damage: type[Exception]
) -> Iterator[bytes]:
    """Members or frames one after the other; zero padding between them is skipped, as gzip does."""
    member, members, readable_bytes = None, 0, 0
    for data in chunks:
        rest = data if member else data.lstrip(b"\0")
        while rest:
            if member is None:
                member, members = start(), members + 1
            try:
                plain = member.decompress(rest)
            except damage as error:
                raise _damaged(file, readable_bytes, f"corrupt ({_one_line(error)})") from error
            readable_bytes += len(plain)
            yield plain
            rest = b""
            if member.eof:
                rest, member = member.unused_data.lstrip(b"\0"), None
    if member is not None or members == 0:
        raise _damaged(file, readable_bytes, "truncated")


def _damaged(file: File, readable_bytes: int, found: str) -> UsageError:
    return UsageError(
        f"{file.name}: expected a whole {file.compression} file, found it {found} after about {readable_bytes} "
        "readable bytes; nothing was ingested; repair or replace the file"
    )


class _ChunkStream(io.RawIOBase):
    """Chunks of bytes as a raw stream, so that the standard library's buffering can split them into lines."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = memoryview(chunk)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
