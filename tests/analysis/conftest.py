"""Reports in a browser: a page that was opened under guard, and what the guard lets pass.

    def test_it(visit: Visit, report: Path) -> None:
        page = visit(report)

A test fails afterwards where the page wrote an error to the console, asked for anything but its own file, or opened a
message box.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import memo
from analysis.report import write_report

Visit = Callable[..., Any]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    """Opens a file and waits for its table, in a context of these settings."""
    contexts, wrong = [], []

    def open_file(path: Path, wait: bool = True, **settings: Any) -> Any:
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda told: wrong.append(told.text) if told.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda box: (wrong.append(f"dialog {box.message}"), box.dismiss()))
        # The figures' own pictures are data: URLs, part of the file.
        url = path.resolve().as_uri()
        page.on("request", lambda r: None if r.url == url or r.url.startswith("data:image/") else wrong.append(r.url))
        page.goto(url)
        if wait:
            page.locator("#rows tbody tr").first.wait_for()
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert not wrong, wrong


@pytest.fixture(scope="session")
def report(small_campaign: Path) -> Path:
    """The report that a whole run made at its end."""
    return small_campaign / "report.html"


@pytest.fixture(scope="session")
def campaign(small_campaign: Path) -> memo.Campaign:
    return memo.open(small_campaign)


@pytest.fixture
def reported(tmp_path: Path) -> Callable[[memo.Campaign], Path]:
    """Writes the report of a campaign to a file."""

    def write(campaign: memo.Campaign) -> Path:
        path = tmp_path / "written.html"
        write_report(campaign, path)
        return path

    return write


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: MEMO_SCREENSHOTS, for who wants to look at them, else a folder of pytest's."""
    folder = os.environ.get("MEMO_SCREENSHOTS")
    path = Path(folder) if folder else tmp_path_factory.mktemp("pictures")
    path.mkdir(parents=True, exist_ok=True)
    return path
