"""One small trained campaign that tests of what people look at share: hostile texts beside planted ones, in half a
minute."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")

LONG = "x" * 100_000
# What text, identifiers, metadata and group names may hold; each is shown as written and does nothing.
HOSTILE = {
    "script": "<script>alert(1)</script>",
    "attribute": '" onmouseover="alert(1)" \'><img src=x onerror=alert(1)>',
    "url": '[click](javascript:alert(1)) <a href="javascript:alert(1)">x</a>',
    "closing": "</script></style></textarea><!-- ]]>",
    "template": "{{7*7}} {% for %} ${HOME} $x^2$ \\(x\\) %s {0}",
    "markdown": "# head **bold** `code` | a | b |\n|---|---|",
    "ansi": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J bell",
    "bidi": "\u202eevil\u202c \u2066isolate\u2069 \u200f",
    "nul": "before\x00after \x08\x7f",
    "lines": "one\r\ntwo\rthree\u2028four\u2029five\ttab",
    "wide": "\u5929\u5730\u7384\u9ec4 \u5b87\u5b99\u6d2a\u8352 \uff21\uff22 e\u0301 \U0001f468\u200d\U0001f469",
    "formula": '=HYPERLINK("http://x","y")',
    "formula2": " +1+1",
    "formula3": "@SUM(A1)\t-1",
    "long": LONG,
}
SETTINGS = """
corpus:
  - {path: hostile.jsonl, id: id, metadata: [title]}
  - {builtin: stdlib, min_chars: 250, max_chars: 300, sample: 24}
  - builtin: planted
    planted:
      {uuids: 3, repeated: 3, copies: [1, 4], texts_per_copies: 2, families: 2, family_size: 4, quoting: 0, topic: 0}
tokenizer: {vocab_size: 400}
context_tokens: 64
rules:
  - exact
  - {name: near, rule: near_duplicate, threshold: 0.5, shingle: 3}
  - {name: hostile, rule: labels, path: labels.csv}
design: {splits: 48, ladder: [exact, near]}
model: {model_type: gpt2, n_embd: 16, n_layer: 1, n_head: 2, initializer_range: 0.08}
training: {epochs: 4, batch_size: 16, learning_rate: 2.0e-2, evaluate_at: [2], keep_token_losses: all}
"""


def memo_command(*arguments: object, **settings: object) -> "subprocess.CompletedProcess[str]":
    """The command line as users call it, from any folder."""
    line = [sys.executable, "-P", "-m", "pipelines.cli", *map(str, arguments)]
    given = {"capture_output": True, "text": True, "timeout": 300, **settings}
    return subprocess.run(line, check=False, **given)  # type: ignore[call-overload,no-any-return]


@pytest.fixture(scope="session")
def small_campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished campaign, in a folder whose name is hostile too. Read only."""
    if made := os.environ.get("MEMO_SMALL_CAMPAIGN"):  # by an earlier run, for who runs these tests often
        return Path(made)
    folder = tmp_path_factory.mktemp("small") / "<b>small\u202e\x1b[31m"
    folder.mkdir()
    texts = {name: f"{name} {text}" if name != "long" else text for name, text in HOSTILE.items()}
    texts |= {f"bare {name}": text for name, text in HOSTILE.items() if name.startswith("formula")}
    rows = [
        {"id": f"{HOSTILE[name.removeprefix('bare ')][:60]}{name}", "text": text, "title": text[:200]}
        for name, text in texts.items()
    ]
    (folder / "hostile.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "campaign.yaml").write_text(SETTINGS, encoding="utf-8")
    labels = [{"doc_id": row["id"], "group_id": f"{row['title'][:40]} group"} for row in rows]
    import pandas as pd

    pd.DataFrame(labels).to_csv(folder / "labels.csv", index=False)
    result = memo_command("run", folder / "campaign.yaml", "--dir", folder / "campaign", "--quiet")
    assert result.returncode == 0, result.stderr
    return folder / "campaign"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The system's Chromium without a window (Debian: chromium). Skipped where there is none, but never in CI."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if found is None:
        told = "no Chromium on this machine: apt-get install chromium, or a google-chrome on the PATH"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium has no sandbox for root
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=options)
        yield chromium
        chromium.close()
