"""The report as a reader uses it, in Chromium: sort, filter, page, open; numbers as in the score tables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import memo

Visit = Callable[..., Any]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
RULES = ("document", "exact", "near", "hostile")
MISSING = "\u2013"
ROUNDED = 0.00506  # to four digits in the file, then to two on the page


def cells(page: Any, column: str) -> list[str]:
    """The texts of one column of the page that is shown."""
    found: list[str] = page.evaluate(
        'label => [...document.querySelectorAll(`#rows tbody [data-label="${label}"]`)].map(e => e.textContent)', column
    )
    return found


def status(page: Any) -> str:
    return str(page.locator("#status").text_content())


def scores_shown(page: Any) -> list[float]:
    return [float(text.split()[0]) for text in cells(page, "Score [95 %], nats")]


def ready(page: Any, text: str) -> None:
    page.locator("#status", has_text=text).wait_for()


def as_number(text: str) -> float:
    """The number that a cell begins with; NaN for a dash."""
    return np.nan if text.startswith(MISSING) else float(text.split()[0].replace(",", ""))


@pytest.mark.parametrize("rule", RULES)
def test_the_numbers_are_those_of_the_score_table(
    visit: Visit, report: Path, campaign: memo.Campaign, rule: str
) -> None:
    page = visit(report)
    page.locator("#per-page").select_option("100")
    page.locator("#rule").select_option(label=rule)
    table = campaign.scores(rule).sort_values("memorization", ascending=False, kind="stable", na_position="last")
    ready(page, f"of {len(table)} rows, rule {rule}")
    columns = {"Score [95 %], nats": "memorization", "Loss in": "loss_in", "Loss out": "loss_out"}
    for label, column in columns.items():
        np.testing.assert_allclose([as_number(t) for t in cells(page, label)], table[column], atol=ROUNDED)
    counts = [f"{a} / {b}" for a, b in zip(table["n_in"], table["n_out"], strict=True)]
    assert cells(page, "Models in / out") == counts
    ends = [text[text.index("[") + 1 : -1].split(", ") for text in cells(page, "Score [95 %], nats") if "[" in text]
    expected = table.loc[table["ci_low"].notna(), ["ci_low", "ci_high"]].to_numpy()
    np.testing.assert_allclose(np.array(ends, dtype=float).reshape(-1, 2), expected, atol=ROUNDED)


def test_headings_sort_and_say_so(visit: Visit, report: Path, campaign: memo.Campaign) -> None:
    page = visit(report)
    table = campaign.scores()
    heading = page.locator("#rows thead th", has_text="Loss out")
    assert heading.get_attribute("aria-sort") == "none"
    for direction, ascending in (("descending", False), ("ascending", True)):
        heading.get_by_role("button").click()
        assert heading.get_attribute("aria-sort") == direction
        expected = table["loss_out"].sort_values(ascending=ascending).head(25)
        np.testing.assert_allclose([float(t) for t in cells(page, "Loss out")], expected, atol=ROUNDED)
        assert page.evaluate("document.activeElement.dataset.key") == "loss_out"
    page.locator("#rows thead th", has_text="Tokens").get_by_role("button").click()
    expected = campaign.documents()["n_tokens"].sort_values(ascending=False).head(25).tolist()
    assert [int(text.replace(",", "")) for text in cells(page, "Tokens")] == expected
    page.locator("#rows thead th", has_text="Document").get_by_role("button").click()
    names = [name for name in cells(page, "Document") if name.startswith("planted:")]
    assert names == sorted(names)


def test_filters(visit: Visit, report: Path, campaign: memo.Campaign) -> None:
    page = visit(report)
    table, documents = campaign.scores(), campaign.documents()
    number = len(documents)
    page.locator("#search").fill("PLANTED:COPIES")
    wanted = documents["doc_id"].str.startswith("planted:copies").sum()
    ready(page, f"1 to {wanted} of {wanted} of {number} rows")
    page.locator("#where").select_option("text")
    ready(page, "No document passes")
    page.locator("#reset").click()
    ready(page, f"of {number} rows")
    low, high = table["memorization"].quantile([0.3, 0.8]).round(2)
    page.locator("#least").fill(str(low))
    page.locator("#most").fill(str(high))
    within = table["memorization"].round(4).between(low, high).sum()
    ready(page, f"of {within} of {number} rows")
    assert all(low - 0.006 <= score <= high + 0.006 for score in scores_shown(page))
    page.locator("#reset").click()
    page.locator("#rule").select_option(label="near")
    page.locator("#size").fill("2")
    grouped = (campaign.scores("near")["group_size"] >= 2).sum()
    ready(page, f"of {grouped} of {number} rows, rule near")
    page.locator("#reset").click()
    verdicts = campaign.spectrum().drop_duplicates("doc_id")["verdict"].value_counts()
    if verdicts.get("undecided", 0):
        page.locator("#verdict").select_option(label="undecided")
        ready(page, f"of {verdicts['undecided']} of {number} rows")
    page.locator("#reset").click()
    page.locator("#where").select_option(label="planted")
    page.locator("#search").fill("uuid")
    ready(page, f"of {(documents['planted'] == 'uuid').sum()} of {number} rows")


def test_the_keyboard_turns_pages_and_opens_documents(visit: Visit, report: Path, campaign: memo.Campaign) -> None:
    page = visit(report)
    page.locator("#per-page").select_option("10")
    number = len(campaign.doc_ids)
    pages = -(-number // 10)
    page.locator("#rows-region").focus()
    for key, first in (("PageDown", 11), ("PageDown", 21), ("PageUp", 11), ("End", 10 * pages - 9), ("Home", 1)):
        page.keyboard.press(key)
        assert status(page).startswith(f"{first} to ")
    assert page.locator('[data-go="previous"]').is_disabled()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowDown")
    second = cells(page, "Document")[1]
    assert page.evaluate("document.activeElement.textContent") == second
    page.keyboard.press("Enter")
    page.locator("#document-title").wait_for()
    assert page.evaluate("document.activeElement.id") == "document-title"
    assert page.locator("#document-title").text_content() == second
    page.keyboard.press("ArrowRight")
    page.locator("#document-title", has_text=cells(page, "Document")[2]).wait_for()
    page.keyboard.press("Escape")
    assert not page.locator("#document").is_visible()
    assert page.evaluate("document.activeElement.textContent") == cells(page, "Document")[2]


def test_a_document_has_its_tokens_scores_and_group(visit: Visit, report: Path, campaign: memo.Campaign) -> None:
    page = visit(report)
    doc_id = next(d for d in campaign.doc_ids if d.startswith("planted:family"))
    page.locator("#search").fill(doc_id)
    ready(page, "1 to 1 of 1")
    page.locator("#rows button.open").click()
    dialog = page.locator("#document")
    dialog.locator("#document-title", has_text=doc_id).wait_for()
    text = campaign.documents().set_index("doc_id").loc[doc_id, "text"]
    assert dialog.locator(".document").first.text_content() == text
    for rule in ("document", "near"):
        row = campaign.scores(rule).set_index("doc_id").loc[doc_id]
        shown = dialog.locator("tr", has=page.locator(f'th:text-is("{rule}")')).first.locator("td").all_text_contents()
        assert abs(float(shown[0].split()[0]) - row["memorization"]) < 0.00056
        assert abs(float(shown[2]) - row["loss_out"]) < 0.00056
        assert shown[3] == f"{row['n_in']} / {row['n_out']}"
    tokens = campaign.token_scores(doc_id)
    titles = dialog.locator(".document").first.locator("span").evaluate_all("all => all.map(e => e.title)")
    shown = [float(title.split()[0]) for title in titles if title]
    assert len(shown) <= len(tokens) and abs(max(shown) - tokens["memorization"].max()) < 0.0051
    near = campaign.groups("near").set_index("doc_id")["group_id"]
    members = near[near == near[doc_id]].index.drop(doc_id)
    listed = dialog.locator(".members").last.locator("li > button").all_text_contents()
    assert listed == members.tolist()
    assert dialog.locator(".members ins").count() + dialog.locator(".members del").count() > 0
    dialog.locator(".members").last.locator("li > button").first.click()
    dialog.locator("#document-title", has_text=members[0]).wait_for()


def test_nothing_runs_but_the_page(visit: Visit, report: Path, browser: Any) -> None:
    """The policy is there and strict: neither an inline script nor a handler nor a request gets through."""
    visit(report)
    page = browser.new_page()
    page.goto(report.as_uri())
    policy = page.locator('meta[http-equiv="Content-Security-Policy"]').get_attribute("content")
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.ran = 1";
            document.body.append(script);
            const box = document.createElement("div");
            box.innerHTML = '<img src="x" onerror="window.ran = 2"><b style="color: red">b</b>';
            document.body.append(box);
        }"""
    )
    page.wait_for_timeout(200)
    assert page.evaluate("window.ran") is None
    refused = page.evaluate("fetch('https://example.org').then(() => 'sent', () => 'refused')")
    assert refused == "refused"
    page.close()


@pytest.mark.parametrize(("name", "settings"), [
    ("light", {"color_scheme": "light", "viewport": {"width": 1200, "height": 900}}),
    ("dark", {"color_scheme": "dark", "viewport": {"width": 1200, "height": 900}}),
    ("phone", {"color_scheme": "light", **PHONE}),
])  # fmt: skip
def test_it_reads_on_a_desk_in_the_dark_and_on_a_phone(
    visit: Visit, report: Path, pictures: Path, name: str, settings: dict[str, Any]
) -> None:
    page = visit(report, **settings)
    page.screenshot(path=pictures / f"{name}.png")
    width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1]
    for _ in range(3):
        page.locator("#rows button.open").first.click()
        page.locator("#document-title").wait_for()
        inside = page.evaluate(
            "(({scrollWidth, clientWidth}) => [scrollWidth, clientWidth])(document.querySelector('dialog'))"
        )
        assert inside[0] <= inside[1]
        page.keyboard.press("Escape")
    page.locator("#rows-region").screenshot(path=pictures / f"{name}-rows.png")
    assert min(contrasts(page).values()) >= 4.5


CONTRASTS = """() => {
    const light = (text) => {
        const part = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = text.match(/[\\d.]+/g).map(Number);
        return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    };
    const probe = document.createElement("span");
    document.body.append(probe);
    const colour = (name) => { probe.className = ""; probe.setAttribute("class", name); return getComputedStyle(probe); };
    const found = {};
    const page = getComputedStyle(document.body).backgroundColor;
    const card = getComputedStyle(document.querySelector(".check")).backgroundColor;
    const pairs = [["text", getComputedStyle(document.body).color, page], ["link", getComputedStyle(document.querySelector("a")).color, page],
        ["faint", colour("meaning").color, page], ["faint on card", colour("meaning").color, card]];
    for (const state of document.querySelectorAll(".check .state")) pairs.push([state.textContent, getComputedStyle(state).color, card]);
    for (const name of ["t1", "t2", "t3", "t4", "less"]) pairs.push([name, colour(name).color, colour(name).backgroundColor]);
    for (const [name, one, other] of pairs) {
        const [a, b] = [light(one), light(other)].sort((x, y) => y - x);
        found[name] = (a + 0.05) / (b + 0.05);
    }
    probe.remove();
    return found;
}"""  # noqa: E501  contrast ratios as WCAG 2.1 defines them


def contrasts(page: Any) -> dict[str, float]:
    """Contrast ratio of each kind of text with what is behind it."""
    found: dict[str, float] = page.evaluate(CONTRASTS)
    return found


def test_a_screen_reader_finds_its_way(visit: Visit, report: Path) -> None:
    page = visit(report)
    page.locator("#rows button.open").first.click()
    page.locator("#document-title").wait_for()
    wrong = page.evaluate(
        """() => {
            const wrong = [];
            const all = (selector) => [...document.querySelectorAll(selector)];
            for (const name of ["main", "header", "footer"]) if (all(name).length !== 1) wrong.push(`one ${name}`);
            for (const nav of all("nav")) if (!nav.ariaLabel) wrong.push("nav without a label");
            for (const section of all("section")) if (!document.getElementById(section.getAttribute("aria-labelledby"))) wrong.push("section");
            for (const table of all("table")) if (!table.caption?.textContent) wrong.push(`table without a caption ${table.id}`);
            for (const head of all("th")) if (!head.scope) wrong.push(`th without scope ${head.textContent}`);
            for (const field of all("input, select")) if (!field.labels?.length) wrong.push(`field without a label ${field.id}`);
            for (const button of all("button")) if (!button.textContent.trim()) wrong.push("button without a name");
            for (const svg of all("svg")) if (svg.getAttribute("role") !== "img" || !svg.ariaLabel) wrong.push("svg");
            const ids = all("[id]").map((e) => e.id);
            ids.filter((id, i) => ids.indexOf(id) !== i).forEach((id) => wrong.push(`id twice: ${id}`));
            let last = 1;
            for (const heading of all("main :is(h2, h3, h4)")) {
                const level = Number(heading.tagName[1]);
                if (level > last + 1) wrong.push(`heading skipped before ${heading.textContent}`);
                last = level;
            }
            if (document.documentElement.lang !== "en") wrong.push("lang");
            if (document.getElementById("status").getAttribute("aria-live") !== "polite") wrong.push("status");
            const dialog = document.querySelector("dialog");
            if (!document.getElementById(dialog.getAttribute("aria-labelledby"))) wrong.push("dialog");
            return wrong;
        }"""  # noqa: E501
    )
    assert wrong == []
    names = page.get_by_role("table", name="Documents").get_by_role("columnheader")
    page.keyboard.press("Escape")
    assert names.count() >= 8


def test_printed_it_has_no_controls(visit: Visit, report: Path, pictures: Path) -> None:
    page = visit(report, color_scheme="dark")
    page.emulate_media(media="print")
    assert not page.locator("#filters").is_visible() and not page.locator("#pages").is_visible()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    page.pdf(path=pictures / "report.pdf")
    assert (pictures / "report.pdf").read_bytes().startswith(b"%PDF")


def test_without_the_script_all_but_the_table_is_there(visit: Visit, report: Path) -> None:
    page = visit(report, wait=False, java_script_enabled=False)
    assert page.locator("svg.figure").count() >= 5
    assert "needs the script" in page.locator("noscript").inner_text()


def test_rows_of_equal_value_stay_in_corpus_order(visit: Visit, report: Path, campaign: memo.Campaign) -> None:
    page = visit(report)
    page.locator("#per-page").select_option("100")
    page.locator("#rows thead th", has_text="In group").get_by_role("button").click()
    sizes = pd.Series([int(text) for text in cells(page, "In group")])
    assert (sizes.diff().dropna() <= 0).all()
    place = {doc_id: index for index, doc_id in enumerate(campaign.doc_ids)}
    known = [place[name] for name in cells(page, "Document") if name in place]
    assert known == sorted(known)
