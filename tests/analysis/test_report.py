"""The report as a file: what it says, what it refuses, that it is whole and the same every time."""

import base64
import hashlib
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import memo
from analysis.report import render, rows
from analysis.report.checks import Models, all_checks
from analysis.report.details import MOST, _order
from analysis.report.packing import SCALE, coded, counts, packed, scaled
from analysis.report.tokens import pieces_of
from memo.errors import MemoError, UsageError
from memo.layout import Layout
from memo.spectrum_controls import FalseCalls
from memo.store import publishing
from memo.testing import toy_campaign
from pipelines import aggregate, diagnose
from pipelines.workspace import Workspace

SPLITS, DOCUMENTS = 16, 12


def unpacked(page: str, name: str = "table-data") -> dict[str, Any]:
    found = re.search(rf'id="{name}">"([^"]*)"</script>', page)
    assert found is not None
    data: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(found[1])))
    return data


def toy(root: Path, splits: tuple[int, ...] | None = None, **settings: Any) -> memo.Campaign:
    """A toy campaign with its score tables and diagnostics; splits: those that count, all by default."""
    rng = np.random.default_rng(0)
    number = len(settings["texts"]) if "texts" in settings else DOCUMENTS
    included = np.array([rng.permutation(np.arange(SPLITS) % 2) for _ in range(number)], dtype=bool).T
    losses = 4 + rng.normal(0, 0.1, (SPLITS, number)) - included * np.linspace(0, 2, number)
    return scored(toy_campaign(root, settings.pop("losses", losses), included, **settings), splits)


def scored(campaign: memo.Campaign, splits: tuple[int, ...] | None = None) -> memo.Campaign:
    """With score tables and diagnostics from these splits."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    layout = campaign.layout
    empty = {name: pa.array([], kind) for name, kind in (("doc_id", pa.string()), ("text", pa.string()))}
    numbers = {name: pa.array([], pa.int64()) for name in ("n_tokens", "copies", "column")}
    for path in (layout.evaluation, layout.controls):
        with publishing(path, {}) as temporary:
            pq.write_table(pa.table({**empty, "kind": pa.array([], pa.string()), **numbers}), temporary)
    used = list(range(SPLITS)) if splits is None else list(splits)
    for name, table in aggregate.score_tables(campaign, campaign.rules(), used):
        with publishing(layout.scores(name), {}) as temporary:
            pq.write_table(table, temporary)
    diagnose.run(Workspace(layout, campaign.config), used)
    return memo.open(layout.root)


def test_the_same_campaign_gives_the_same_page(tmp_path: Path) -> None:
    campaign = toy(tmp_path / "c", groups={"near": ["a", "a", *map(str, range(10))]})
    assert render(campaign) == render(memo.open(tmp_path / "c"))


def test_the_policy_allows_what_is_in_the_page_and_nothing_else(tmp_path: Path) -> None:
    page = render(toy(tmp_path / "c"))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    for element in ("script", "style"):
        (inside,) = re.findall(rf"<{element}>(.*?)</{element}>", page, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{element}-src &#39;sha256-{digest}&#39;" in policy[1]
    assert not re.search(
        r"<[^>]*\s(style|on\w+)=", page.replace(re.findall(r"<script>.*?</script>", page, re.S)[0], "")
    )
    outside = re.findall(r'(?:src|href)="(?!#|data:)([^"]*)"', page)
    assert outside == []


def test_scores_survive_the_packing(tmp_path: Path) -> None:
    campaign = toy(tmp_path / "c", metadata={"source": ["a", None] * 6}, groups={"pair": ["x", "x", *["y"] * 10]})
    data = unpacked(render(campaign))
    assert data["ids"] == campaign.doc_ids and data["total"] == DOCUMENTS
    for rule in data["rules"]:
        table = campaign.scores(rule["name"])
        for column in ("memorization", "ci_low", "ci_high", "loss_in", "loss_out"):
            found = np.array([np.nan if v is None else v / SCALE for v in rule[column]])
            np.testing.assert_allclose(found, table[column], atol=0.51 / SCALE)
        assert rule["n_in"] == table["n_in"].tolist()
        labels = [rule["groups"][code] if code >= 0 else None for code in rule["group"]]
        several = table["group_size"] > 1
        assert labels == [label if grouped else None for label, grouped in zip(table["group_id"], several, strict=True)]
    (column,) = data["metadata"]
    assert [column["values"][c] if c >= 0 else None for c in column["codes"]] == ["a", None] * 6


def test_a_partial_campaign_says_so_first(tmp_path: Path) -> None:
    used = tuple(range(SPLITS - 4))
    campaign = toy(tmp_path / "c", used, design={"block": SPLITS, "base": "bernoulli"})
    for split in range(SPLITS - 4, SPLITS):
        campaign.layout.losses(split).unlink()
        campaign.layout.losses(split).with_name(f"{campaign.layout.losses(split).name}.record.json").unlink()
    page = render(memo.open(tmp_path / "c"))
    assert "Partial: 12 of 16 models" in page and "4 failed or are not trained" in page
    assert page.index("Partial: 12 of 16") < page.index("Before you believe a score")


def test_controls_come_before_scores(tmp_path: Path) -> None:
    page = render(toy(tmp_path / "c"))
    order = [page.index(f'id="{name}"') for name in ("summary", "checks", "figures", "spectrum", "documents", "notes")]
    assert order == sorted(order)
    assert "Epochs are fixed" in page and "The tokenizer was trained on the whole corpus" in page


@pytest.mark.parametrize(("chance", "state"), [(0.5, "good"), (0.02, "warning"), (1e-5, "bad"), (None, "unknown")])
def test_phantoms_decide_whether_to_believe(chance: float | None, state: str) -> None:
    phantoms = {"number": 32, "mean": 0.1, "significant": 9, "expected_significant": 1.6, "p_value": chance}
    controls = {"phantoms": phantoms, "canaries": {"number": 0, "mean_by_copies": {}}}
    first, canaries, models = all_checks({"controls": controls, "rules": {}}, Models(6, 8, 1))
    assert first.state == state and ("do not believe" in first.meaning) == (state == "bad")
    assert canaries.state == "unknown"
    assert models.state == "warning" and "6 of 8 models" in models.found and "1 diverged, 1 failed" in models.found


@pytest.mark.parametrize(("called", "state"), [(0, "good"), (2, "good"), (5, "warning"), (12, "bad")])
def test_phantoms_should_have_no_verdict(called: int, state: str) -> None:
    calls = FalseCalls(phantoms=32, memorized=0, memorized_at_zero=called, expected=1.6)
    check = all_checks(None, Models(8, 8, 0), calls)[1]
    assert check.state == state and f"{called} are called memorized at a margin of 0" in check.found


@pytest.mark.parametrize(("means", "state"), [({"1": 0.5, "8": 2.0}, "good"), ({"1": 0.5, "8": 0.1}, "warning")])
def test_canaries_must_rise(means: dict[str, float], state: str) -> None:
    controls = {"phantoms": {"number": 0}, "canaries": {"number": 4, "mean_by_copies": means}}
    assert all_checks({"controls": controls, "rules": {}}, Models(8, 8, 0))[1].state == state


def test_no_score_anywhere_is_a_report_too(tmp_path: Path) -> None:
    """Every number is missing, and every row says why; nor are there diagnostics."""
    import pyarrow.parquet as pq

    campaign = toy(tmp_path / "c", groups={"near": ["a"] * DOCUMENTS})
    missing = ("memorization", "se", "ci_low", "ci_high", "p_value", "q_value", "loss_in", "loss_out")
    shares = ("accuracy_in", "accuracy_out", "memorization_accuracy")
    for rule in campaign.rules():
        table = campaign.scores(rule).assign(**dict.fromkeys((*missing, *shares), np.nan), reason="in no split")
        with publishing(campaign.layout.scores(rule), {}) as temporary:
            table.to_parquet(temporary)
        assert pq.read_table(campaign.layout.scores(rule))["memorization"].null_count == DOCUMENTS
    campaign.layout.diagnostics.unlink()
    page = render(memo.open(tmp_path / "c"))
    for rule in unpacked(page)["rules"]:
        assert rule["memorization"] == rule["loss_in"] == [None] * DOCUMENTS
        assert rule["reasons"] == ["in no split"] and rule["reason"] == [0] * DOCUMENTS
    assert "no document has a score" in page


def test_texts_that_are_not_known(tmp_path: Path) -> None:
    root = tmp_path / "bank"
    rng = np.random.default_rng(0)
    masks = np.array([rng.permutation(np.arange(SPLITS) % 2) for _ in range(8)], dtype=bool).T
    np.savez(tmp_path / "bank.npz", losses=4 - masks + rng.normal(0, 0.1, masks.shape), masks=masks)
    from pipelines.cli import app

    app(["import", "--losses", str(tmp_path / "bank.npz"), "--dir", str(root), "--quiet"], standalone_mode=False)
    with pytest.raises(MemoError, match=r"memo aggregate .*bank"):
        render(memo.open(root))
    app(["aggregate", str(root), "--quiet"], standalone_mode=False)
    page = render(memo.open(root))
    assert "texts are not known" in page and "made elsewhere" in page and "Epochs are fixed" not in page
    assert unpacked(page)["texts"] == [None] * 8


def test_losses_of_other_texts_alone_are_refused(tmp_path: Path) -> None:
    from pipelines.cli import app

    masks = np.arange(32).reshape(8, 4) % 3 > 0
    np.savez(tmp_path / "bank.npz", losses=np.full((8, 6), 3.0), masks=masks)
    app(
        ["import", "--losses", str(tmp_path / "bank.npz"), "--dir", str(tmp_path / "c"), "--quiet"],
        standalone_mode=False,
    )
    with pytest.raises(UsageError, match="no memorization scores to report"):
        render(memo.open(tmp_path / "c"))


def test_beyond_the_limit_the_table_is_a_sample_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = toy(tmp_path / "c", texts=[f"document {n} " * 30 for n in range(40)])
    monkeypatch.setattr(rows, "MOST_DOCUMENTS", 10)
    page = render(campaign)
    data = unpacked(page)
    assert len(data["ids"]) == 10 and data["total"] == 40
    assert "holds 10 of 40 documents: the 8 with the highest score" in page and "2 drawn at random" in page
    best = campaign.scores().nlargest(8, "memorization")["doc_id"]
    assert set(best) <= set(data["ids"])
    assert data["ids"] == [d for d in campaign.doc_ids if d in set(data["ids"])]
    assert "first 200 characters" in page


def test_what_does_not_compress_still_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    noise = ["".join(map(chr, rng.integers(0x4E00, 0x9F00, 2000))) for _ in range(60)]
    campaign = toy(tmp_path / "c", texts=noise, metadata={"noise": noise})
    monkeypatch.setattr(rows, "TABLE_BYTES", 12_000)
    monkeypatch.setattr("analysis.report.details.DETAIL_BYTES", 50_000)
    page = render(campaign)
    for name, most in (("table-data", 12_000), ("detail-data", 50_000)):
        found = re.search(rf'id="{name}">"([^"]*)"</script>', page)
        assert found is not None and len(found[1]) <= most
    assert len(unpacked(page)["ids"]) > 5 and 0 < len(unpacked(page, "detail-data")["documents"]) < 60


def test_a_hostile_title(tmp_path: Path) -> None:
    page = render(toy(tmp_path / '<b>\u202e{{7*7}} \x1b"<'))
    shown = "&lt;b&gt;\\u202e{{7*7}} \\x1b&quot;&lt;"
    assert f"<title>{shown}" in page and f">{shown}</h1>" in page
    assert rows.clipped("\ud800\x00 \u202ex" * 100, 20) == "\\ud800\\x00 \\u202ex" * 4 + "…"


def test_groups_whose_names_begin_alike_stay_apart() -> None:
    """The page shows the beginning of a name, and finds the members of a group by its number."""
    import pandas as pd

    table = pd.DataFrame({"doc_id": list("abcde"), "group_id": ["x" * 500 + end for end in "11223"]})
    numbers = dict.fromkeys(("memorization", "ci_low", "ci_high", "loss_in", "loss_out", "p_value"), 0.0)
    table = table.assign(group_size=[2, 2, 2, 2, 1], n_in=8, n_out=8, reason=None, **numbers)
    packed_rule = rows._rule(rows.RuleScores("near", "memorization", table), np.arange(5), rows.CLIP)
    assert packed_rule["group"] == [0, 0, 1, 1, -1]
    assert packed_rule["groups"] == ["x" * rows.CLIP + "…"] * 2


@pytest.mark.parametrize("number", [0, 1, 2, 7, MOST, MOST + 3])
def test_the_documents_that_are_opened_first(number: int) -> None:
    """Every beginning of the order has four with a high score for one at random, also where all could be opened."""
    best = np.arange(number, dtype=np.float64)
    order = _order(best, np.arange(number), seed=0)
    assert len(order) == len(set(order.tolist())) == min(number, MOST)
    begin = order[: len(order) // 2].tolist()
    top = set(range(number - 4 * min(number, MOST) // 5, number))
    if number >= MOST:
        assert abs(sum(place in top for place in begin) - 0.8 * len(begin)) <= 1
    assert _order(best, np.arange(number), seed=0).tolist() == order.tolist()


def test_packing() -> None:
    assert scaled([1.23456, np.nan, -0.5, np.inf, 1e300]) == [12346, None, -5000, None, None]
    assert counts([3, np.nan]) == [3, None]
    assert coded(["b", None, "a", "b"]) == (["b", "a"], [0, -1, 1, 0])
    text = packed({"x": "</script>\ud800"})
    assert not set(text) & set("<>&\"'")
    assert json.loads(zlib.decompress(base64.b64decode(text)))["x"] == "</script>\ud800"


def test_pieces_keep_every_character() -> None:
    """A character of several tokens is one piece; what no token covers goes with the piece before it."""
    import pandas as pd

    spans = pd.DataFrame({"start": [0, 3, 3, 5, 8], "end": [3, 4, 4, 7, 9]})
    starts, owner = pieces_of(spans, most=100)
    assert starts == [0, 3, 5, 8] and owner.tolist() == [0, 1, 1, 2, 3]
    starts, owner = pieces_of(spans, most=5)
    assert starts == [0, 3] and owner.tolist() == [0, 1, 1, -1, -1]


def test_a_report_has_a_place_in_the_layout(tmp_path: Path) -> None:
    assert Layout(tmp_path).report == tmp_path / "report.html"
