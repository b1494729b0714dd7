"""The corpora that need no file: docstrings of the standard library, and planted documents with their known truth."""

import sys
import sysconfig
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from memo.config import Planted, Source
from memo.errors import UsageError
from subsets.readers import PASSAGE, TOPIC, Document, Rejected, read_source
from subsets.readers.planted import UUIDS_PER_TEXT
from subsets.readers.planted_words import TOPIC_WORDS, WORDS


def read(**options: Any) -> list[Document | Rejected]:
    return list(read_source(Source.model_validate(options), seed=0))


def documents(items: list[Document | Rejected]) -> list[Document]:
    return [item for item in items if isinstance(item, Document)]


@pytest.fixture(scope="module")
def stdlib() -> list[Document | Rejected]:
    return read(builtin="stdlib", metadata=["ignored"])


class TestStdlib:
    def test_its_size(self, stdlib: list[Document | Rejected]) -> None:
        kept = documents(stdlib)
        text_bytes = sum(len(document.text.encode()) for document in kept)
        assert 1_700 < len(kept) < 2_400
        assert 1_000_000 < text_bytes < 1_600_000
        if sys.version_info[:2] == (3, 11):
            assert 1_900 < len(kept) < 2_000
            assert 1_150_000 < text_bytes < 1_250_000

    def test_a_known_method(self, stdlib: list[Document | Rejected]) -> None:
        by_id = {document.doc_id: document for document in documents(stdlib)}
        assert len(by_id) == len(documents(stdlib))
        json = by_id["stdlib:json"]
        assert json.text.startswith("JSON (JavaScript Object Notation)")
        assert json.metadata == {"module": "json", "kind": "module"}
        assert json.location == "stdlib/json/__init__.py:1"
        assert by_id["stdlib:json.decoder.JSONDecoder"].metadata == {"module": "json.decoder", "kind": "class"}
        assert by_id["stdlib:textwrap.dedent"].metadata == {"module": "textwrap", "kind": "function"}
        assert "stdlib:argparse.ArgumentParser" in by_id

    def test_no_tests_and_no_installed_packages(self, stdlib: list[Document | Rejected]) -> None:
        skipped = {"test", "tests", "idle_test", "site-packages", "dist-packages"}
        assert all(skipped.isdisjoint(item.location.split("/")) for item in stdlib)

    def test_only_short_ones_are_rejected(self, stdlib: list[Document | Rejected]) -> None:
        reasons = Counter(item.reason for item in stdlib if isinstance(item, Rejected))
        assert set(reasons) <= {"too short", "empty"}
        assert min(len(document.text) for document in documents(stdlib)) >= 250

    def test_a_library_of_two_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source = '''
            """Module."""
            def f():
                """First."""
                async def inner():
                    """Nested."""
            try:
                class C:
                    """Class."""
                    def m(self):
                        r"""Method.

                        Less.
                            More. \\d
                        """
            except ImportError:
                def f():
                    """Second."""
            def none():
                return "no docstring"
            x = "\\d"
        '''
        for name in ("pkg/__init__.py", "pkg/tests/a.py", "site-packages/b.py"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("\n".join(line[12:] for line in source.splitlines()))
        (tmp_path / "bad.py").write_text("def broken(:\n")
        (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere.py")
        monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
        items = read(builtin="stdlib", min_chars=1)
        assert {document.doc_id: document.text for document in documents(items)} == {
            "stdlib:pkg": "Module.",
            "stdlib:pkg.f": "First.",
            "stdlib:pkg.f.inner": "Nested.",
            "stdlib:pkg.C": "Class.",
            "stdlib:pkg.C.m": "Method.\n\nLess.\n    More. \\d",
            "stdlib:pkg.f#2": "Second.",
        }
        assert [(i.location, i.reason) for i in items if isinstance(i, Rejected)] == [("stdlib/bad.py", "not Python")]
        assert documents(items)[4].location == "stdlib/pkg/__init__.py:10"

    def test_an_interpreter_without_sources(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path / "none"))
        with pytest.raises(UsageError, match="standard library"):
            read(builtin="stdlib")

    def test_nothing_is_imported(self, stdlib: list[Document | Rejected]) -> None:
        assert any(item.location.startswith("stdlib/idlelib/") for item in stdlib)
        assert not [name for name in sys.modules if name in ("this", "antigravity") or name.startswith("idlelib")]


def planted(seed: int = 0, **sizes: Any) -> list[Document]:
    source = Source.model_validate({"builtin": "planted", "planted": sizes, "metadata": ["ignored"]})
    return documents(list(read_source(source, seed)))


def groups(items: list[Document], kind: str) -> dict[str | None, list[Document]]:
    found = defaultdict(list)
    for item in items:
        if item.metadata["planted"] == kind:
            found[item.metadata["planted_group"]].append(item)
    return dict(found)


def similarity(a: str, b: str) -> float:
    """Jaccard similarity of word 3-grams."""
    first, second = ({tuple(w[i : i + 3]) for i in range(len(w) - 2)} for w in (a.split(), b.split()))
    return len(first & second) / len(first | second)


class TestPlanted:
    def test_counts_and_lengths_of_the_default(self) -> None:
        items = planted()
        sizes = Counter(item.metadata["planted"] for item in items)
        assert sizes == {"uuid": 16, "repeated": 16, "copies": 4 * 15, "family": 24, "quote": 8, "topic": 8}
        assert len({item.doc_id for item in items}) == len(items)
        assert all(150 <= len(item.text) <= 430 for item in items)
        assert all(set(item.metadata) == {"planted", "planted_group", "planted_copies"} for item in items)
        assert "planted:uuid:00" in {item.doc_id for item in items}
        assert "planted:copies:4:1:2" in {item.doc_id for item in items}

    def test_only_the_copies_repeat(self) -> None:
        for seed in range(5):
            items = planted(seed, families=8, family_size=30)
            repeated = Counter(item.text for item in items)
            assert all(repeated[item.text] == int(str(item.metadata["planted_copies"])) for item in items)
            assert len({item.text for item in items if item.metadata["planted"] == "copies"}) == 16

    def test_copies_are_groups_of_their_number(self) -> None:
        found = groups(planted(), "copies")
        assert sorted(len(members) for members in found.values()) == [1] * 4 + [2] * 4 + [4] * 4 + [8] * 4
        assert all(len({member.text for member in members}) == 1 for members in found.values())

    def test_uuids_differ_and_are_random_ones(self) -> None:
        words = [word for item in groups(planted(), "uuid")[None] for word in item.text.split()]
        assert len(set(words)) == len(words) == 16 * UUIDS_PER_TEXT
        assert all(word[14] == "4" for word in words)

    def test_one_word_over_and_over_another_in_each(self) -> None:
        words = [set(item.text.split()) for item in groups(planted(), "repeated")[None]]
        assert all(len(word) == 1 for word in words)
        assert len(set.union(*words)) == 16

    def test_families_are_near_duplicates(self) -> None:
        similarities = []
        for seed in range(10):
            for members in groups(planted(seed), "family").values():
                assert len(members) == 6
                for a, b in combinations(members, 2):
                    changed = sum(x != y for x, y in zip(a.text.split(), b.text.split(), strict=True))
                    assert 1 <= changed <= 4
                    similarities.append(similarity(a.text, b.text))
        assert min(similarities) > 0.5
        assert sum(value > 0.7 for value in similarities) > 0.85 * len(similarities)

    def test_nothing_else_is_a_near_duplicate(self) -> None:
        items = planted(uuids=0, repeated=0)
        label = {item.doc_id: item.metadata["planted_group"] for item in items}
        strangers = [(a, b) for a, b in combinations(items, 2) if label[a.doc_id] != label[b.doc_id]]
        assert max(similarity(a.text, b.text) for a, b in strangers) < 0.2

    def test_the_passage_stands_in_the_quoting_documents_alone(self) -> None:
        items = planted()
        assert len(PASSAGE.split()) == 20
        assert {item.metadata["planted"] for item in items if PASSAGE in item.text} == {"quote"}
        quoting = groups(items, "quote")["quote"]
        rest = [item.text.replace(PASSAGE, "") for item in quoting]
        assert sum(PASSAGE in item.text for item in items) == len(quoting) == 8
        assert max(similarity(a, b) for a, b in combinations(rest, 2)) < 0.2

    def test_the_topic_stands_in_its_documents_alone(self) -> None:
        items = planted(topic=40)
        assert {item.metadata["planted"] for item in items if TOPIC in item.text.lower()} == {"topic"}
        assert all(TOPIC in item.text.lower() for item in groups(items, "topic")["topic"])
        ordinary = {word for words in WORDS.values() for word in words}
        assert ordinary.isdisjoint(word for phrases in TOPIC_WORDS.values() for p in phrases for word in p.split())

    def test_the_words(self) -> None:
        words = [word for words in WORDS.values() for word in words]
        assert len(words) == len(set(words)) >= 200

    def test_the_seed_decides(self) -> None:
        assert planted(3) == planted(3)
        assert not {item.text for item in planted(3)} & {item.text for item in planted(4) if item.text.count(" ") > 60}

    def test_sizes_leave_other_texts_alone(self) -> None:
        small = {item.doc_id: item for item in planted(2, uuids=3, repeated=2, copies=[2], family_size=2, topic=1)}
        large = {
            item.doc_id: item
            for item in planted(
                2, uuids=120, repeated=80, copies=[8, 2, 3], texts_per_copies=9, families=9, family_size=50, topic=30
            )
        }
        assert small.items() <= large.items()

    def test_a_corpus_can_do_without_any_kind(self) -> None:
        nothing: dict[str, Any] = {"uuids": 0, "repeated": 0, "copies": [], "families": 0, "quoting": 0, "topic": 0}
        assert planted(**nothing) == []
        assert len(planted(**{**nothing, "quoting": 2})) == 2

    @pytest.mark.parametrize(("sizes", "message"), [({"repeated": 1000}, "at most"), ({"copies": [2, 2]}, "different")])
    def test_impossible_sizes(self, sizes: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            planted(**sizes)

    def test_filters_apply(self) -> None:
        assert len(documents(read(builtin="planted", sample=10))) == 10
        assert len(documents(read(builtin="planted", limit=10))) == 10
        assert documents(read(builtin="planted", max_chars=100)) == []

    def test_the_default_sizes_are_those_of_the_configuration(self) -> None:
        assert planted() == planted(**Planted().model_dump())
