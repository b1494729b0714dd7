"""Corpus readers against files made here: every bad input is tried, and every record ends kept or rejected."""

import csv
import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memo.config import Source
from memo.errors import UsageError
from subsets.readers import REASONS, Document, Rejected, read_source

TMP = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path: Any, seed: int = 0, **options: Any) -> list[Document | Rejected]:
    paths = [str(p) for p in path] if isinstance(path, list | tuple) else str(path)
    items = list(read_source(Source.model_validate({"path": paths, **options}), seed))
    assert all(item.reason in REASONS for item in items if isinstance(item, Rejected))
    return items


def texts(items: list[Document | Rejected]) -> list[str]:
    return [item.text for item in items if isinstance(item, Document)]


def ids(items: list[Document | Rejected]) -> list[str]:
    return [item.doc_id for item in items if isinstance(item, Document)]


def reasons(items: list[Document | Rejected]) -> list[str]:
    return [item.reason for item in items if isinstance(item, Rejected)]


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def jsonl(*records: Any) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


class TestJsonLines:
    def test_documents_with_ids_metadata_and_locations(self, tmp_path: Path) -> None:
        records = [{"text": "one", "id": "a", "year": 1999, "tags": ["x", "ü"]}, {"text": " two\t", "id": 7}]
        path = write(tmp_path / "a.jsonl", jsonl(*records))
        first, second = read(path, metadata=["year", "tags", "source"])
        metadata = {"year": "1999", "tags": '["x","ü"]', "source": None}
        assert first == Document("a", "one", metadata, f"{path}:1")
        assert second == Document("7", " two\t", {"year": None, "tags": None, "source": None}, f"{path}:2")

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b"", "empty line"),
            (b"  \r", "empty line"),
            (b"{nonsense", "invalid JSON"),
            (b"[" * 100_000, "invalid JSON"),
            (b'{"text": ' + b"9" * 5000 + b"}", "invalid JSON"),
            (b"[1]", "not an object"),
            (b'"text"', "not an object"),
            (b"null", "not an object"),
            (b'{"body": "x"}', "missing text"),
            (b'{"text": null}', "missing text"),
            (b'{"text": 3}', "text is not a string"),
            (b'{"text": ["x"]}', "text is not a string"),
            (b'{"text": ""}', "empty"),
            (b'{"text": " \\n\\u3000"}', "empty"),
            (b'{"text": "a\\ud800b"}', "invalid Unicode"),
            (b'{"text": "a\xffb"}', "invalid UTF-8"),
            (b'{"text": "\xed\xa0\x80"}', "invalid UTF-8"),
            (b'{"\\ud800": 1}', "missing text"),
        ],
    )
    def test_a_bad_line_is_rejected_alone(self, tmp_path: Path, line: bytes, reason: str) -> None:
        good = jsonl({"text": "good"})
        items = read(write(tmp_path / "a.jsonl", good + line + b"\n" + good))
        assert [type(item) for item in items] == [Document, Rejected, Document]
        assert reasons(items) == [reason]
        assert items[1].location.endswith("a.jsonl:2")
        for item in items:
            str(item).encode()  # nothing in a report can fail to be written

    def test_a_deeply_nested_metadata_field_is_no_crash(self, tmp_path: Path) -> None:
        for depth in (100, 500, 900, 980, 995):
            line = b'{"text": "x", "m": ' + b"[" * depth + b"]" * depth + b"}\n"
            assert len(read(write(tmp_path / "a.jsonl", line), metadata=["m"])) == 1

    def test_the_offset_of_an_invalid_byte_is_absolute(self, tmp_path: Path) -> None:
        content = b'\xef\xbb\xbf{"text": "good"}\r\n{"text": "a\xffb"}\n'
        for name, packed in (("a.jsonl", content), ("b.jsonl.gz", gzip.compress(content))):
            items = read(write(tmp_path / name, packed))
            assert texts(items) == ["good"]
            assert f"byte offset {content.index(0xFF)} " in items[1].detail  # type: ignore[union-attr]

    def test_text_that_looks_like_a_line_end_survives(self, tmp_path: Path) -> None:
        text = "a\u2028b\u2029c\u0085d\x0be\x0cf\x00g\rh\r\ni"
        line = json.dumps({"text": text}, ensure_ascii=False).encode()
        assert texts(read(write(tmp_path / "a.ndjson", line))) == [text]

    def test_surrogates_in_metadata_are_replaced(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", rb'{"text": "x", "a": "\ud800", "b": {"\udfff": "\ud83d\ude00"}}')
        (item,) = read(path, metadata=["a", "b"])
        assert item.metadata == {"a": "\ufffd", "b": '{"\ufffd":"😀"}'}  # type: ignore[union-attr]

    @TMP
    @given(st.lists(st.text(st.characters(codec=None), max_size=30), max_size=8), st.booleans())
    def test_round_trip_of_any_text(self, tmp_path: Path, contents: list[str], ascii_only: bool) -> None:
        lines = [json.dumps({"text": text}, ensure_ascii=ascii_only) for text in contents]
        path = write(tmp_path / "a.jsonl", "".join(line + "\n" for line in lines).encode("utf-8", "surrogatepass"))
        items = read(path)
        # JSON joins two escaped halves of a pair into the character they spell.
        expected = [json.loads(line)["text"] for line in lines]
        kept = [text for text in expected if text.strip() and not any("\ud800" <= c <= "\udfff" for c in text)]
        assert texts(items) == kept
        assert len(items) == len(contents)

    @TMP
    @given(st.binary(max_size=200))
    def test_any_bytes_are_kept_or_rejected(self, tmp_path: Path, content: bytes) -> None:
        items = read(write(tmp_path / "a.jsonl", content))
        lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        assert len(items) == len(lines) - (lines[-1] == b"")


class TestIdentifiers:
    @pytest.mark.parametrize(
        ("record", "reason"),
        [
            ({"text": "x"}, "missing id"),
            ({"text": "x", "key": None}, "missing id"),
            ({"text": "x", "key": 1.0}, "id is not a string or a whole number"),
            ({"text": "x", "key": True}, "id is not a string or a whole number"),
            ({"text": "x", "key": ["a"]}, "id is not a string or a whole number"),
            ({"text": "x", "key": ""}, "empty id"),
            ({"text": "x", "key": " "}, "empty id"),
            ({"text": "x", "key": "\ud800"}, "invalid Unicode"),
        ],
    )
    def test_a_named_identifier_must_be_usable(self, tmp_path: Path, record: Any, reason: str) -> None:
        assert reasons(read(write(tmp_path / "a.jsonl", jsonl(record)), id="key")) == [reason]

    def test_named_identifiers_are_strings_or_whole_numbers(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", jsonl({"text": "x", "key": "k"}, {"text": "x", "key": -3}))
        assert ids(read(path, id="key")) == ["k", "-3"]

    def test_otherwise_the_field_id_where_usable_else_the_line(self, tmp_path: Path) -> None:
        values: list[Any] = ["k", None, 2.5, "", "\ud800", 12]
        path = write(tmp_path / "a.b.jsonl.gz", gzip.compress(jsonl(*({"text": "x", "id": v} for v in values))))
        assert ids(read(path)) == ["k", "a.b:2", "a.b:3", "a.b:4", "a.b:5", "12"]

    def test_files_of_one_stem_are_told_apart_by_their_folders(self, tmp_path: Path) -> None:
        for folder in ("x", "x/y", "z"):
            write(tmp_path / "data" / folder / "a.jsonl", jsonl({"text": folder}))
        assert ids(read(tmp_path / "data/**/*.jsonl")) == ["x/a.jsonl:1", "x/y/a.jsonl:1", "z/a.jsonl:1"]


class TestTables:
    @pytest.mark.parametrize(("name", "dialect"), [("a.csv", "excel"), ("a.tsv", "excel-tab")])
    @TMP
    @given(rows=st.lists(st.tuples(st.text("ab,\t\"'\r\n\u2028é ", min_size=1), st.text("xy\n,")), max_size=6))
    def test_what_the_csv_module_writes_is_read_back(
        self, tmp_path: Path, name: str, dialect: str, rows: list[tuple[str, str]]
    ) -> None:
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer, dialect=dialect, quoting=csv.QUOTE_ALL)
        writer.writerows([("text", "note"), *rows])
        items = read(write(tmp_path / name, buffer.getvalue()), metadata=["note"])
        assert len(items) == len(rows)
        kept = [item for item in items if isinstance(item, Document)]
        assert [(item.text, item.metadata["note"]) for item in kept] == [row for row in rows if row[0].strip()]

    def test_locations_are_first_lines(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", '\ufefftext,id\r\n"two\r\nlines",p\r\nplain,q\r\n')
        first, second = read(path)
        assert first == Document("p", "two\r\nlines", {}, f"{path}:2")
        assert second == Document("q", "plain", {}, f"{path}:4")
        assert ids(read(write(tmp_path / "b.csv", 'text\n"two\nlines"\nplain\n'))) == ["b:2", "b:4"]

    def test_each_bad_row_is_rejected_alone(self, tmp_path: Path) -> None:
        rows = [
            b"text,n",
            b"good,1",
            b"few",
            b"many,1,2",
            b"",
            b"bad\xff,1",
            b'"a"b,1',
            b",1",
            b"mac\rline,1",
            b"end,2",
        ]
        content = b"\n".join(rows)
        items = read(write(tmp_path / "a.csv", content))
        assert texts(items) == ["good", "end"]
        assert reasons(items) == [
            "wrong number of cells", "wrong number of cells", "empty line", "invalid UTF-8", "invalid CSV", "empty",
            "invalid CSV",
        ]  # fmt: skip
        bad = next(item for item in items if isinstance(item, Rejected) and item.reason == "invalid UTF-8")
        assert bad.location.endswith("a.csv:6")
        assert f"byte offset {content.index(0xFF)} " in bad.detail

    def test_the_offset_inside_a_quoted_field_of_many_lines(self, tmp_path: Path) -> None:
        content = 'text\n"é\né'.encode() + b'\xfe\n\xff"\nnext\n'
        items = read(write(tmp_path / "a.csv", content))
        assert texts(items) == ["next"]
        assert f"byte offset {content.index(0xFE)} " in items[0].detail  # type: ignore[union-attr]

    def test_a_quote_that_is_never_closed_is_one_rejection(self, tmp_path: Path) -> None:
        items = read(write(tmp_path / "a.csv", 'text\ngood\n"open\nnext\n'))
        assert texts(items) == ["good"]
        assert reasons(items) == ["invalid CSV"]
        assert "lines 3 to 4" in items[1].detail  # type: ignore[union-attr]

    def test_a_large_field_is_read(self, tmp_path: Path) -> None:
        assert len(texts(read(write(tmp_path / "a.csv", "text\n" + "x" * 1_000_000)))[0]) == 1_000_000

    @pytest.mark.parametrize("header", ["body,title\nx,y\n", ""])
    def test_a_missing_text_column_names_those_there_are(self, tmp_path: Path, header: str) -> None:
        with pytest.raises(UsageError, match="'body', 'title'" if header else "found none"):
            read(write(tmp_path / "a.csv", header))

    @pytest.mark.parametrize("content", [b"text,text\na,b\n", b"te\xffxt\na\n", b'"te"xt\na\n'])
    def test_a_header_that_cannot_be_used(self, tmp_path: Path, content: bytes) -> None:
        with pytest.raises(UsageError, match=r"a\.csv"):
            read(write(tmp_path / "a.csv", content))

    def test_a_missing_identifier_column(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"corpus\.id"):
            read(write(tmp_path / "a.csv", "text\nx\n"), id="key")


class TestParquet:
    def test_rows_become_documents(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        count = 2500  # more than one batch
        columns = {
            "text": [f"t{n}" for n in range(count)],
            "id": list(range(count)),
            "m": [{"b": 1, "a": None}] * count,
        }
        pq.write_table(pa.table(columns), path)
        items = read(path, metadata=["m", "absent"])
        assert texts(items) == columns["text"]
        assert items[-1] == Document("2499", "t2499", {"m": '{"a":null,"b":1}', "absent": None}, f"{path} row 2500")

    def test_bad_values(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        raw = pa.array([b"good", None, b"\xffbad", b" ", b"end"], pa.binary())
        pq.write_table(pa.table({"text": pa.Array.from_buffers(pa.string(), 5, raw.buffers())}), path)
        items = read(path)
        assert texts(items) == ["good", "end"]
        assert reasons(items) == ["missing text", "invalid UTF-8", "empty"]
        assert ids(items) == ["a:1", "a:5"]
        assert items[2].location == f"{path} row 3"

    def test_binary_is_not_text(self, tmp_path: Path) -> None:
        pq.write_table(pa.table({"text": [b"x"]}), tmp_path / "a.parquet")
        assert reasons(read(tmp_path / "a.parquet")) == ["text is not a string"]

    def test_dates_in_metadata(self, tmp_path: Path) -> None:
        table = pa.table({"text": ["x", "y"], "day": pa.array([0, 2**40], pa.timestamp("s")).cast(pa.timestamp("s"))})
        pq.write_table(table, tmp_path / "a.parquet")
        items = read(tmp_path / "a.parquet", metadata=["day"])
        assert items[0].metadata == {"day": '"1970-01-01 00:00:00"'}  # type: ignore[union-attr]
        assert reasons(items) == ["unreadable value"]

    def test_missing_column(self, tmp_path: Path) -> None:
        pq.write_table(pa.table({"body": ["x"]}), tmp_path / "a.parquet")
        with pytest.raises(UsageError, match="'body'"):
            read(tmp_path / "a.parquet")

    @pytest.mark.parametrize("name", ["a.parquet", "a.parquet.gz"])
    def test_what_is_no_parquet_file(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(UsageError, match=r"a\.parquet"):
            read(write(tmp_path / name, b"PAR1 not really"))


class TestPlainText:
    def test_a_document_per_file_is_the_file(self, tmp_path: Path) -> None:
        write(tmp_path / "b.txt", "\ufeff two\r\nlines\n")
        write(tmp_path / "a.md", "# one")
        items = read([tmp_path / "b.txt", tmp_path / "a.md"])
        assert texts(items) == [" two\r\nlines\n", "# one"]
        assert ids(items) == ["b:1", "a:1"]
        assert items[0].location == str(tmp_path / "b.txt")

    def test_a_document_per_line(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.txt", b"one\r\n\ntw\xffo\n\xe2\x80\xa8 three \nfour")
        items = read(path, document_per="line")
        assert texts(items) == ["one", "\u2028 three ", "four"]
        assert ids(items) == ["a:1", "a:4", "a:5"]
        assert [(item.reason, item.location) for item in items if isinstance(item, Rejected)] == [
            ("empty", f"{path}:2"),
            ("invalid UTF-8", f"{path}:3"),
        ]
        assert "byte offset 8 " in items[2].detail  # type: ignore[union-attr]

    def test_a_document_per_block(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.text", b"\n\none\r\n two \n \t\nbad\n\xff\n\n\n\nlast")
        items = read(path, document_per="block")
        assert texts(items) == ["one\n two ", "last"]
        assert [item.location for item in items] == [f"{path}:3", f"{path}:6", f"{path}:11"]
        assert "byte offset 20 " in items[1].detail  # type: ignore[union-attr]

    @pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b" \n"])
    def test_an_empty_file_is_rejected(self, tmp_path: Path, content: bytes) -> None:
        assert reasons(read(write(tmp_path / "a.txt", content))) == ["empty"]

    def test_invalid_bytes_reject_the_file(self, tmp_path: Path) -> None:
        write(tmp_path / "a.txt", b"good")
        write(tmp_path / "b.txt", b"b\xffd")
        items = read(tmp_path / "*.txt")
        assert texts(items) == ["good"]
        assert "byte offset 1 " in items[1].detail  # type: ignore[union-attr]


def zst(content: bytes) -> bytes:
    """As the `zstd` command writes it, with a checksum."""
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


class TestCompression:
    records = (jsonl({"text": "one"}), jsonl({"text": "two"}), jsonl({"text": "three"}))

    @pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zst)])
    def test_members_one_after_the_other(self, tmp_path: Path, suffix: str, pack: Any) -> None:
        path = write(tmp_path / f"a.JSONL{suffix}", b"".join(pack(record) for record in self.records))
        assert texts(read(path)) == ["one", "two", "three"]

    def test_zero_padding_behind_gzip(self, tmp_path: Path) -> None:
        content = gzip.compress(self.records[0]) + b"\0" * 200_000
        assert texts(read(write(tmp_path / "a.jsonl.gz", content))) == ["one"]

    @pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zst)])
    def test_damage_is_an_error_and_never_a_short_corpus(self, tmp_path: Path, suffix: str, pack: Any) -> None:
        content = os.urandom(300_000).hex().encode()
        whole = pack(content)
        garbled = bytearray(whole)
        garbled[len(whole) // 2 : len(whole) // 2 + 500] = bytes(500)
        damaged = {"cut": whole[:-20], "garbled": bytes(garbled), "garbage": whole + b"garbage", "empty": b""}
        for name, packed in damaged.items():
            path = write(tmp_path / f"{name}.txt{suffix}", packed)
            with pytest.raises(UsageError, match="readable bytes; nothing was ingested") as caught:
                read(path, document_per="line")
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value)

    def test_a_truncated_file_tells_how_much_of_it_is_readable(self, tmp_path: Path) -> None:
        packed = gzip.compress(b"x" * 1000) + gzip.compress(b"y" * 1000)[:-8]
        with pytest.raises(UsageError, match="truncated after about 2000 readable bytes"):
            read(write(tmp_path / "a.txt.gz", packed))


class TestNames:
    def test_globs_are_sorted_and_lists_keep_their_order(self, tmp_path: Path) -> None:
        for name in ("b", "a", "c"):
            write(tmp_path / f"{name}.jsonl", jsonl({"text": name}))
        (tmp_path / "d.jsonl").mkdir()
        assert texts(read(tmp_path / "*.jsonl")) == ["a", "b", "c"]
        assert texts(read([tmp_path / "c.jsonl", tmp_path / "[ab].jsonl"])) == ["c", "a", "b"]

    def test_a_name_with_glob_characters(self, tmp_path: Path) -> None:
        assert texts(read(write(tmp_path / "a[1].jsonl", jsonl({"text": "x"})))) == ["x"]

    def test_formats_can_be_given(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.data.gz", gzip.compress(jsonl({"text": "x"})))
        assert texts(read(path, format="jsonl")) == ["x"]
        with pytest.raises(UsageError, match=r"a\.data\.gz.*found \.data; set corpus\.format"):
            read(path)

    def test_an_unknown_format_is_an_error_before_anything_is_read(self, tmp_path: Path) -> None:
        good, bad = write(tmp_path / "a.jsonl", jsonl({"text": "x"})), write(tmp_path / "README", b"")
        with pytest.raises(UsageError, match="no extension"):
            next(iter(read_source(Source(path=(str(good), str(bad))), 0)))

    def test_names_that_lead_nowhere(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        write(tmp_path / "a.jsonl", b"")
        cases: dict[Any, str] = {
            tmp_path / "none.jsonl": "no such file",
            tmp_path / "*.csv": "expected at least one matching file, found none",
            tmp_path / "fol*": "expected at least one matching file, found none",
            tmp_path / "folder": "found a folder",
            (tmp_path / "a.jsonl", tmp_path / "*.jsonl"): "more than once",
        }
        for path, message in cases.items():
            with pytest.raises(UsageError, match=message):
                read(path)

    def test_a_file_that_cannot_be_opened(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl").symlink_to(tmp_path / "gone.jsonl")
        with pytest.raises(UsageError, match=r"a\.jsonl: cannot be read: No such file"):
            read(tmp_path / "a.jsonl")

    def test_a_file_that_fails_while_it_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Failing(io.RawIOBase):
            def readinto(self, buffer: Any) -> int:
                raise OSError(5, "Input/output error")

        path = write(tmp_path / "a.jsonl", b"{}")
        monkeypatch.setattr(Path, "open", lambda *_: Failing())
        with pytest.raises(UsageError, match="cannot be read: Input/output error"):
            read(path)

    def test_urls(self) -> None:
        import fsspec

        memory = fsspec.filesystem("memory")
        try:
            memory.pipe("/corpus/b.jsonl.gz", gzip.compress(jsonl({"text": "b"})))
            memory.pipe("/corpus/a.jsonl", jsonl({"text": "a"}))
            items = read("memory://corpus/*.jsonl*")
            assert texts(items) == ["a", "b"]
            assert ids(items) == ["a:1", "b:1"]
            assert items[0].location.endswith("corpus/a.jsonl:1")
            assert texts(read(["memory://corpus/b.jsonl.gz", "memory://corpus/a.jsonl"])) == ["b", "a"]
            for url, message in {
                "memory://corpus": "found a folder",
                "memory://corpus/c.jsonl": "no such file",
                "memory://corpus/*.csv": "found none",
                "nosuchprotocol://x": "cannot be read",
            }.items():
                with pytest.raises(UsageError, match=message):
                    read(url)
        finally:
            memory.rm("/corpus", recursive=True)


class TestFilters:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        lines = [b"not JSON\n", *(jsonl({"text": "x" * size}) for size in range(1, 11))]
        return write(tmp_path / "a.jsonl", b"".join(lines))

    def test_lengths(self, path: Path) -> None:
        items = read(path, min_chars=4, max_chars=8)
        assert [len(text) for text in texts(items)] == [4, 5, 6, 7, 8]
        assert reasons(items)[1:] == ["too short"] * 3 + ["too long"] * 2

    def test_a_limit_stops_reading(self, path: Path) -> None:
        assert [len(text) for text in texts(read(path, limit=3))] == [1, 2, 3]
        assert len(read(path, limit=3)) == 4
        assert len(read(path, limit=100)) == 11

    def test_a_sample_is_exact_ordered_and_of_the_seed(self, path: Path) -> None:
        items = read(path, sample=4)
        assert len(items) == 11
        assert reasons(items) == ["invalid JSON"] + ["not sampled"] * 6
        assert [len(text) for text in texts(items)] == sorted(len(text) for text in texts(items))
        assert read(path, sample=4) == items
        assert len({tuple(ids(read(path, seed=seed, sample=4))) for seed in range(20)}) > 10
        assert len(texts(read(path, sample=50))) == 10

    def test_a_sample_is_stable_under_further_documents(self, tmp_path: Path, path: Path) -> None:
        more = write(tmp_path / "b.jsonl", jsonl(*({"text": "y"} for _ in range(10))))
        alone, together = set(ids(read(path, sample=5))), set(ids(read([path, more], sample=5)))
        assert {doc_id for doc_id in together if doc_id.startswith("a:")} <= alone

    def test_the_limit_comes_first(self, path: Path) -> None:
        items = read(path, limit=5, sample=2)
        assert len(texts(items)) == 2
        assert len(items) == 6

    @TMP
    @given(limit=st.none() | st.integers(1, 12), sample=st.none() | st.integers(1, 12), least=st.integers(0, 12))
    def test_counts(self, path: Path, limit: int | None, sample: int | None, least: int) -> None:
        available = len([size for size in range(1, 11) if size >= least])
        kept = texts(read(path, limit=limit, sample=sample, min_chars=least))
        assert len(kept) == min(available, limit or 99, sample or 99)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import datasets

    datasets.disable_progress_bars()
    root = tmp_path_factory.mktemp("datasets")
    rows = {"text": ["one", None, "three"], "id": [5, 6, 7], "lang": ["en", "de", None]}
    dataset = datasets.Dataset.from_dict(rows)
    dataset.save_to_disk(str(root / "single"))
    splits = {"train": dataset, "test": dataset.select([2])}
    datasets.DatasetDict(splits).save_to_disk(str(root / "both"))
    datasets.DatasetDict({"test": dataset}).save_to_disk(str(root / "test_only"))
    return root


class TestDatasets:
    def hub(self, **hub: Any) -> list[Document | Rejected]:
        return list(read_source(Source.model_validate({"hub": hub, "metadata": ["lang"]}), 0))

    def test_by_folder(self, folders: Path) -> None:
        name = str(folders / "single")
        items = self.hub(name=name)
        assert items[0] == Document("5", "one", {"lang": "en"}, f"{name} row 1")
        assert reasons(items) == ["missing text"]
        assert texts(self.hub(name=str(folders / "both"), split="test")) == ["three"]

    def test_by_path(self, folders: Path) -> None:
        assert texts(read(folders / "single")) == ["one", "three"]
        assert ids(read(folders / "both")) == ["5", "7"]
        with pytest.raises(UsageError, match="expected a split 'train', found test"):
            read(folders / "test_only")

    def test_a_wrong_split_lists_those_there_are(self, folders: Path) -> None:
        with pytest.raises(UsageError, match="found train, test"):
            self.hub(name=str(folders / "both"), split="validation")
        with pytest.raises(UsageError, match="one dataset without splits"):
            self.hub(name=str(folders / "single"), split="validation")

    def test_a_folder_that_is_something_else(self, folders: Path) -> None:
        with pytest.raises(UsageError, match="written by save_to_disk"):
            self.hub(name=str(folders))

    def test_a_missing_column(self, folders: Path) -> None:
        with pytest.raises(UsageError, match="'text', 'id', 'lang'"):
            read(folders / "single", text="body")

    def test_by_name(self, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import datasets

        asked = []

        def load_dataset(name: str, config: str | None, split: str) -> Any:
            asked.append((name, config, split))
            return datasets.load_from_disk(str(folders / "single"))

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        items = self.hub(name="owner/books", config="small", split="train[:2]")
        assert asked == [("owner/books", "small", "train[:2]")]
        assert items[0].location == "owner/books row 1"

    def test_a_dataset_that_does_not_load(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import datasets

        def load_dataset(*_: Any, **__: Any) -> Any:
            raise ValueError("Unknown split 'x'.\nShould be one of ['train']")

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        with pytest.raises(
            UsageError, match=r"owner/books \(config None, split x\).*Should be one of \['train'\]"
        ) as caught:
            self.hub(name="owner/books", split="x")
        assert "\n" not in str(caught.value)


def test_files_are_read_as_a_stream(tmp_path: Path) -> None:
    """The first document of a long file comes without the rest, which is damaged here."""
    whole = gzip.compress(b"".join(jsonl({"text": os.urandom(50).hex()}) for _ in range(20_000)))
    path = write(tmp_path / "a.jsonl.gz", whole[: len(whole) // 2])
    items = read_source(Source(path=str(path)), 0)
    assert isinstance(next(items), Document)
    with pytest.raises(UsageError, match="truncated"):
        list(items)
