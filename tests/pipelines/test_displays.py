"""How campaigns and documents show themselves: at every stage, with any text, and nothing of it is markup."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import memo
from memo.document import FIELDS, document_data
from memo.errors import UsageError
from memo.shown_document import CHARACTERS, ShownDocument
from memo.testing import toy_campaign
from memo.text import for_html

from ..conftest import HOSTILE, LONG, memo_command

ELEMENTS = {"div", "span", "table", "thead", "tbody", "tr", "th", "td", "caption", "details", "summary", "del", "ins"}
ATTRIBUTES = {"style", "class", "role", "aria-label", "scope", "title", "dir", "tabindex", "open"}


class Page(HTMLParser):
    """Elements, attributes, styles and the text of a piece of HTML; fails where it does not nest."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.styles: set[str] = set()
        self.text, self.marked = "", {"del": [], "ins": []}
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open.append(tag)
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.styles |= {value or "" for name, value in attrs if name == "style"}

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        for tag in self.marked.keys() & set(self._open):
            self.marked[tag].append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def checked(source: str) -> Page:
    page = Page(source)
    assert page.elements <= ELEMENTS and page.attributes <= ATTRIBUTES
    assert not any("url(" in style or "expression" in style for style in page.styles)
    assert "tex2jax_ignore mathjax_ignore" in source  # notebooks typeset formulas elsewhere
    assert page.text.replace("\n", "").replace("\t", "").replace("\u200d", "").isprintable()
    return page


def hostile_data(text: str) -> dict[str, object]:
    """A document every part of which is this text."""
    score = {"memorization": 1.0, "ci_low": 0.5, "ci_high": 1.5, "loss_in": 1.0, "loss_out": 2.0, "n_in": 8, "n_out": 8}
    token = {**score, "position": 0, "token": text, "start": 0, "end": min(5, len(text))}
    row = {**score, "doc_id": text, "rule": text, "group_id": text, "group_size": 2, "reason": text}
    span = {"start": 0, "end": len(text), "other_start": 0, "other_end": len(text)}
    member = {"doc_id": text, "text": text, "differences": [span], "complete": True}
    return {
        "doc_id": text, "text": text, "n_tokens": 3, "metadata": {text: text}, "scores": [row],
        "groups": {text: [text, "other"]}, "members": {text: [member]}, "tokens": {"rule": text, "rows": [token]},
        "by_epoch": [{"epoch": e, "loss_in": 1.0, "loss_out": 2.0, "gap": 1.0} for e in (1, 2)],
    }  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_every_part_of_a_document_is_text_alone(text: str) -> None:
    shown = ShownDocument(hostile_data(text))
    page = checked(shown._repr_html_())
    if text != LONG:
        for part in (page.text, *("".join(found) for found in page.marked.values())):
            assert Page(for_html(text)).text in part
    assert repr(shown).replace("\n", "").isprintable()


def test_ten_megabytes_without_a_space_are_shown_in_part() -> None:
    shown = ShownDocument(hostile_data("y" * 10_000_000) | {"members": {}, "groups": {}, "tokens": None})
    shown.data.update(doc_id="d", metadata={}, scores=[])
    assert len(shown._repr_html_()) < 2 * CHARACTERS and len(repr(shown)) < 500
    assert f"{10_000_000 - CHARACTERS:,} more characters" in shown._repr_html_()


def test_hostile_documents_come_through_a_campaign(small_campaign: Path) -> None:
    campaign = memo.open(small_campaign)
    hostile = [doc_id for doc_id in campaign.doc_ids if any(doc_id.startswith(text[:60]) for text in HOSTILE.values())]
    assert len(hostile) == len(HOSTILE) + 3
    for doc_id in hostile:
        document = campaign.document(doc_id)
        checked(document._repr_html_())
        assert repr(document).replace("\n", "").isprintable()
        assert document.doc_id == doc_id and document.text is not None
    checked(campaign._repr_html_())
    assert repr(campaign).replace("\n", "").isprintable() and "\\u202e" in repr(campaign)


def test_a_document_says_all_that_is_known(small_campaign: Path) -> None:
    campaign = memo.open(small_campaign)
    doc_id = next(doc_id for doc_id in campaign.doc_ids if doc_id.startswith("planted:family"))
    document = campaign.document(doc_id)
    data = json.loads(json.dumps(document.data, allow_nan=False))
    assert set(data) == set(FIELDS) and data == document_data(campaign, doc_id)
    assert [row["rule"] for row in data["scores"]] == ["document", "exact", "near"]
    for row in data["scores"]:
        table = campaign.scores(row["rule"]).set_index("doc_id")
        assert row["memorization"] == pytest.approx(table.loc[doc_id, "memorization"], abs=1e-12)
    assert [row["epoch"] for row in data["by_epoch"]] == [2, 4]
    scored = [row["memorization"] for row in data["tokens"]["rows"]]
    assert np.mean(scored) == pytest.approx(data["scores"][0]["memorization"], abs=2e-6)
    assert {member["doc_id"] for member in data["members"]["near"]} == set(data["groups"]["near"]) - {doc_id}
    page = checked(document._repr_html_())
    for row in data["scores"]:
        assert f"{row['memorization']:.2f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}]" in page.text
    texts = campaign.documents().set_index("doc_id")["text"]
    for member in data["members"]["near"]:
        assert member["differences"] and member["complete"] and member["doc_id"] in page.text
        for span in member["differences"]:
            assert texts[member["doc_id"]][span["other_start"] : span["other_end"]] in page.marked["ins"] + [""]
            assert document.text is not None
            assert document.text[span["start"] : span["end"]] in page.marked["del"] + [""]


def test_an_unknown_document_is_refused_with_the_nearest(small_campaign: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'planted:uuid:00'"):
        memo.open(small_campaign).document("planted:uid:00")


def test_a_campaign_shows_itself_at_every_stage(small_campaign: Path, tmp_path: Path) -> None:
    root = tmp_path / "campaign"
    shutil.copytree(small_campaign, root)
    told = {}
    for stage, gone in (
        ("finished", []),
        ("no diagnostics", ["diagnostics.json*"]),
        ("no scores", ["scores/*"]),
        ("partial", ["losses/split-00001*"]),
        ("sampled", ["losses/*", "token_losses/*"]),
        ("grouped", ["design/*"]),
        ("half grouped", ["groups/near*"]),
        ("ingested", ["groups/*"]),
        ("new", ["corpus/*.parquet*"]),
    ):
        for pattern in gone:
            for path in root.glob(pattern):
                path.unlink()
        campaign = memo.open(root)
        told[stage] = repr(campaign)
        checked(campaign._repr_html_())
        assert "cannot be read" not in told[stage], stage
        if stage != "new":
            document = campaign.document(campaign.doc_ids[0])
            checked(document._repr_html_())
            assert ("not scored yet" in repr(document)) == (stage not in ("finished", "no diagnostics"))
    assert "48 of 48 models" in told["finished"] and "phantoms" in told["finished"] and "rank alike" in told["finished"]
    assert "phantoms" not in told["no diagnostics"] and "memo aggregate" in told["no scores"]
    assert "47 of 48 models" in told["partial"] and "goes on" in told["partial"]
    assert "0 of 48 models" in told["sampled"] and "not read yet" in told["new"] and "memo run CONFIG" in told["new"]


def test_a_damaged_campaign_still_shows_itself(small_campaign: Path, tmp_path: Path) -> None:
    root = tmp_path / "campaign"
    shutil.copytree(small_campaign, root)
    (root / "diagnostics.json").write_text("{")
    (root / "corpus" / "documents.parquet").write_bytes(b"PAR1")
    campaign = memo.open(root)
    assert repr(campaign).count("cannot be read") >= 2 and "memo verify" in repr(campaign)
    checked(campaign._repr_html_())


def test_an_import_shows_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "bank.npz", losses=rng.random((16, 5)), masks=rng.random((16, 5)) < 0.5)
    for step in (
        ("import", "--losses", tmp_path / "bank.npz", "--dir", tmp_path / "bank"),
        ("aggregate", tmp_path / "bank"),
    ):
        assert memo_command(*step, "--quiet").returncode == 0
        campaign = memo.open(tmp_path / "bank")
        checked(campaign._repr_html_())
        assert "cannot be read" not in repr(campaign) and "imported" in repr(campaign)
    document = campaign.document("d0")
    assert "its text is not known" in repr(document) and document.data["scores"]
    checked(document._repr_html_())


def test_a_toy_campaign_shows_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    campaign = toy_campaign(tmp_path, rng.random((8, 4)), rng.random((8, 4)) < 0.5, texts=["a b c", "a x c", "d", "e"],
                            groups={"near": ["0", "0", "1", "2"]})  # fmt: skip
    assert "cannot be read" not in repr(campaign)
    data = campaign.document("d0").data
    assert data["members"]["near"][0]["differences"] == [{"start": 2, "end": 3, "other_start": 2, "other_end": 3}]
    assert data["by_epoch"][0]["gap"] == pytest.approx(_gap(campaign, 0))


def _gap(campaign: memo.Campaign, document: int) -> float:
    losses, included = campaign.losses()[:, document].astype(float), campaign.included()[:, document]
    return float(losses[~included].mean() - losses[included].mean())
