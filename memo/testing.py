"""For tests of rules, of notebooks and of memo itself: a check of the rule contract, and campaigns with known answers.

memo.testing.check_rule(frogs)
campaign = memo.testing.toy_campaign(tmp_path, losses, included)
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memo.campaign import Campaign, open_campaign
from memo.campaign_file import build
from memo.errors import RuleError
from memo.layout import Layout
from memo.rules import Rule, RuleFunction, apply
from memo.splits import Block, block_bytes
from memo.store import publishing, write_text

CHECK_LIMIT_S = 60.0
HOSTILE_TEXTS = (
    "The frog sat on a lily pad.",
    "The frog sat on a lily pad.",
    "the FROG sat  on a lily pad!",
    "",
    " ",
    "one",
    "<script>alert(1)</script> {{7*7}} ${HOME}",
    "\x1b[31mred\x1b[0m \u202e reversed \u2028 line \x00 nul",
    "caf\u00e9 cafe\u0301",
    "=1+1",
    "a" * 5000,
)


def sample_documents() -> pd.DataFrame:
    """Documents on which a rule should work: copies, near-copies, empty and hostile texts, a metadata column."""
    return pd.DataFrame(
        {
            "doc_id": [f"toy:{index}" for index in range(len(HOSTILE_TEXTS))],
            "text": list(HOSTILE_TEXTS),
            "n_tokens": [max(1, len(text) // 4) for text in HOSTILE_TEXTS],
            "source": ["a", "b", None] * 3 + ["a", "b"],
        }
    )


def check_rule(
    rule: Rule | RuleFunction,
    documents: pd.DataFrame | None = None,
    parameters: Mapping[str, Any] | None = None,
    timeout_s: float = CHECK_LIMIT_S,
) -> pd.DataFrame:
    """Checks that a rule keeps its contract, and returns its groups (doc_id, group_id).

    The rule must return labels or rows for exactly the documents it got (the checks of a campaign), give the same
    groups when it runs again, give the same sets of documents when the documents come in another order, work on no
    documents at all, and end each time within `timeout_s` seconds. Raises `RuleError` that says which of these it does
    not.
    """
    found = rule if isinstance(rule, Rule) else Rule(getattr(rule, "__name__", "rule"), rule)
    documents = sample_documents() if documents is None else documents.reset_index(drop=True)
    run = partial(apply, found, parameters=parameters, timeout_s=timeout_s)
    groups = run(documents)
    if not groups.equals(run(documents)):
        raise RuleError(
            f"rule {found.name!r}: expected the same groups from a second run, found others; "
            "draw random numbers from a fixed seed"
        )
    order = np.random.default_rng(0).permutation(len(documents))
    if _sets(groups) != _sets(run(documents.iloc[order].reset_index(drop=True))):
        raise RuleError(
            f"rule {found.name!r}: expected the same sets of documents in any order, found that the groups depend on "
            "the order of the documents; sort them by doc_id or text first"
        )
    if len(run(documents.iloc[:0])):
        raise RuleError(f"rule {found.name!r}: expected no groups of no documents, found some; look for a fixed row")
    return groups


def _sets(groups: pd.DataFrame) -> list[list[str]]:
    return sorted(sorted(members) for _, members in groups.groupby("group_id")["doc_id"])


def toy_campaign(
    root: Path,
    losses: NDArray[np.floating],
    included: NDArray[np.bool_],
    n_correct: NDArray[np.floating] | None = None,
    n_tokens: Sequence[int] | None = None,
    texts: Sequence[str] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    design: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Sequence[str | None]] | None = None,
) -> Campaign:
    """Writes a campaign whose losses are given, for code that reads campaigns; no model is trained.

    losses: (M, D) nats per token at the only evaluation. included: (M, D). n_correct: (M, D) right next tokens, 0 by
    default. n_tokens: (D,), 10 by default. groups: rule -> one label per document. design: settings of the design; one
    block of M splits by default. metadata: column -> one value per document. The stages of a campaign do not run on
    it: it has no tokens.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save_file

    splits, documents = losses.shape
    layout = Layout(root)
    config = build(
        {
            "corpus": {"path": "toy.jsonl"},
            "rules": [{"name": name, "rule": "toy.py:toy"} for name in groups or {}],
            "design": {"splits": splits, "block": splits, "base": "bernoulli", **(design or {})},
            "training": {"epochs": 1},
        }
    )
    write_text(layout.config, config.to_yaml())
    doc_ids = [f"d{index}" for index in range(documents)]
    columns: dict[str, Any] = {
        "doc_id": doc_ids,
        "text": list(texts or [f"text {index}" for index in range(documents)]),
        "n_tokens": pa.array(n_tokens or [10] * documents, pa.int64()),
        **{name: pa.array(list(values), pa.string()) for name, values in (metadata or {}).items()},
    }
    for path, table in (
        (layout.documents, pa.table(columns)),
        *(
            (layout.groups(name), pa.table({"doc_id": doc_ids, "group_id": list(g)}))
            for name, g in (groups or {}).items()
        ),
    ):
        with publishing(path, {}) as temporary:
            pq.write_table(table, temporary)
    _write_blocks(Campaign(layout, config), included)
    correct = np.zeros_like(losses) if n_correct is None else n_correct
    for split in range(splits):
        with publishing(layout.losses(split), {}) as temporary:
            tensors = {"loss": losses[None, split], "n_correct": correct[None, split]}
            save_file({name: np.ascontiguousarray(t, dtype=np.float32) for name, t in tensors.items()}, temporary)
    return open_campaign(root)


def _write_blocks(campaign: Campaign, included: NDArray[np.bool_]) -> None:
    design, units = campaign.config.design, campaign.units
    if len(units.chain) != 1:
        raise ValueError("a toy campaign has one level of coins; draw the blocks of a ladder with its design")
    _, first = np.unique(units.chain[0], return_index=True)
    for block in range(design.blocks):
        rows = included[block * design.block_size : (block + 1) * design.block_size]
        treated = rows[:, first]
        with publishing(campaign.layout.block(block), {}) as temporary:
            none = np.zeros((len(rows), 0), dtype=np.bool_)
            drawn = Block(asked=np.ones_like(treated), treated=treated, included=rows, controls=none)
            temporary.write_bytes(block_bytes(drawn))
