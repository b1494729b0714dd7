"""Bytes into lines into text, one line in memory at a time, with the byte offset that an error needs.

Only `\n` ends a line: U+2028, U+0085 and a lone `\r` are text. Offsets count bytes of the decompressed file from 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from subsets.readers.files import File, open_stream
from subsets.readers.records import INVALID_UTF8, Rejected

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """A line with its ending, its 1-based number and the offset of its first byte."""

    number: int
    offset_bytes: int
    raw: bytes

    @property
    def content(self) -> bytes:
        """The line without its ending."""
        return self.raw.removesuffix(b"\n").removesuffix(b"\r")


def read_lines(file: File) -> Iterator[Line]:
    """The lines of a file; a byte order mark at its start is not part of the first one."""
    offset = 0
    with open_stream(file) as stream:
        for number, raw in enumerate(stream, start=1):
            start = len(BOM) if number == 1 and raw.startswith(BOM) else 0
            if len(raw) > start:
                yield Line(number, offset + start, raw[start:])
            offset += len(raw)


def read_whole(file: File) -> Line:
    """A file that is one document, as if it were one line."""
    with open_stream(file) as stream:
        raw = stream.read()
    start = len(BOM) if raw.startswith(BOM) else 0
    return Line(1, start, raw[start:])


def decode(raw: bytes, offset_bytes: int, location: str) -> str | Rejected:
    """The text, or where its first bad byte stands."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        detail = f"byte offset {offset_bytes + error.start} (0x{raw[error.start]:02x})"
        return Rejected(location, INVALID_UTF8, detail)
