"""Text that would do harm, in every place of the report: it is shown as written, nothing runs, the layout holds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import memo
from analysis.report import write_report
from analysis.report.details import TEXT
from memo.testing import toy_campaign
from memo.text import for_text_node

Visit = Callable[..., Any]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
TEXTS = [
    "<script>window.ran = 1</script>",
    '"><img src=x onerror="window.ran = 2"><svg onload="window.ran = 3">',
    "' onmouseover='window.ran = 4' style='position:fixed'",
    '<a href="javascript:window.ran = 5">x</a> javascript:window.ran=6',
    '</script><script>window.ran = 7</script> "}]</script>',
    "{{7*7}} {% include 'x' %} ${HOME} `id` $(id) %s {0}",
    "\x1b[31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07",
    "\u202egnihtemos\u202c \u2066isolated\u2069 \u061c",
    "before\x00after \x08\x7f\x85",
    "<!-- --> ]]> &lt;b&gt; &#x3c;i&#x3e;",
    "e\u0301\u0327\u0489" * 50,
    "x" * 10_000_000,
]
NAME = '<img src=x onerror="window.ran=8">\u202e{{7*7}}\x1b[31m'


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report whose texts, metadata, names of columns and groups, and title are hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    number, splits = len(TEXTS), 8
    rng = np.random.default_rng(0)
    included = np.array([rng.permutation(np.arange(splits) % 2) for _ in range(number)], dtype=bool).T
    losses = 4 + rng.normal(0, 0.1, (splits, number)) - included
    short = [text[:200] for text in TEXTS]
    campaign = toy_campaign(
        folder / NAME,
        losses,
        included,
        texts=TEXTS,
        metadata={'<b onclick="window.ran=9">\u202ecolumn': short},
        groups={"near": [short[place // 2] for place in range(number)]},
    )
    import pyarrow.parquet as pq

    from memo.store import publishing
    from pipelines.aggregate import score_tables

    for path in (campaign.layout.evaluation, campaign.layout.controls):
        with publishing(path, {}) as temporary:
            empty = campaign.documents().iloc[:0].assign(column=0, kind="", copies=0)
            empty.to_parquet(temporary)
    for name, table in score_tables(campaign, campaign.rules(), range(splits)):
        with publishing(campaign.layout.scores(name), {}) as temporary:
            pq.write_table(table, temporary)
    path = folder / "hostile.html"
    write_report(memo.open(folder / NAME), path)
    return path


def test_ten_megabytes_without_a_space_stay_out_of_the_file(page_file: Path) -> None:
    assert page_file.stat().st_size < 2_000_000


@pytest.mark.parametrize("settings", [{"viewport": {"width": 1200, "height": 900}}, PHONE], ids=["desk", "phone"])
def test_the_page_shows_it_and_holds(visit: Visit, page_file: Path, settings: dict[str, Any]) -> None:
    page = visit(page_file, **settings)
    page.locator("#per-page").select_option("100")
    assert page.locator("h1").text_content() == for_text_node(NAME)
    assert page.title().startswith(for_text_node(NAME))
    shown = page.locator("#rows td.text").all_text_contents()
    flat = [for_text_node(" ".join(text[:900].split())[:200]) for text in TEXTS]
    assert sorted(text.removesuffix("…") for text in shown) == sorted(flat)
    made = page.evaluate(
        "document.querySelectorAll('main img, main a[href*=script], main [onclick], main [style]').length"
    )
    assert made == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("window.ran") is None


def test_each_document_opens_as_it_was_written(visit: Visit, page_file: Path) -> None:
    page = visit(page_file)
    page.locator("#per-page").select_option("100")
    dialog = page.locator("#document")
    for place, written in enumerate(TEXTS):
        page.locator(f'#rows button.open:text-is("d{place}")').click()
        dialog.locator(f'#document-title:text-is("d{place}")').wait_for()
        assert dialog.locator(".document").first.text_content() == for_text_node(written[:TEXT])
        assert (dialog.locator(".note", has_text="more characters").count() == 1) == (len(written) > TEXT)
        assert dialog.locator(".members li").count() == 1  # of its group of two
        assert dialog.evaluate("dialog => dialog.scrollWidth <= dialog.clientWidth")
        assert dialog.locator("img, a, script, svg, [onclick], [onmouseover], [style]").count() == 0
        assert page.evaluate("window.ran") is None
        page.keyboard.press("Escape")


def test_it_can_be_searched_for(visit: Visit, page_file: Path) -> None:
    page = visit(page_file)
    page.locator("#search").fill("{{7*7}}")
    page.locator("#status", has_text="1 to 1 of 1 of 12 rows").wait_for()
    assert "{{7*7}} {% include 'x' %} ${HOME}" in page.locator("#rows td.text").first.text_content()


def test_identifiers_may_be_hostile(visit: Visit, report: Path, campaign: memo.Campaign) -> None:
    page = visit(report)
    page.locator("#per-page").select_option("100")
    shown = page.locator("#rows button.open").all_text_contents()
    names = [for_text_node(" ".join(doc_id.split())) for doc_id in campaign.doc_ids]
    assert sorted(shown) == sorted(names)
    page.locator("#rule").select_option(label="hostile")
    page.locator("#status", has_text="rule hostile").wait_for()
    assert page.locator("#rows img, #rows script").count() == 0
