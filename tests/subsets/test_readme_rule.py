"""The rule that the README prints works as printed."""

import textwrap
from pathlib import Path

import pandas as pd
import pytest

from memo.campaign_file import build
from memo.config import RuleSpec
from memo.testing import check_rule
from subsets.registry import BUILT_IN, arguments, resolve

QUOTING = pd.DataFrame(
    {
        "doc_id": ["a", "b", "c"],
        "text": ["In the beginning was a frog, a toad.", "In the beginning: frog after frog", "nothing"],
        "n_tokens": 9,
        "source": ["one", "one", None],
    }
)
README = Path(__file__).parents[2] / "README.md"
DOCUMENTS = pd.DataFrame(
    {
        "doc_id": ["a", "b", "c", "d"],
        "text": [
            "see http://frogs.example/pond and https://toads.example",
            "HTTPS://x is no link; http://Frogs.example twice http://frogs.example",
            "https://toads.example/1",
            "http://newts.example alone",
        ],
        "n_tokens": 9,
    }
)


def printed(first: str, last: str) -> str:
    """The indented block of the README that begins and ends with these lines."""
    lines = README.read_text(encoding="utf-8").splitlines()
    begin = lines.index(first)
    end = next(n for n in range(begin, len(lines)) if lines[n].strip().startswith(last))
    return textwrap.dedent("\n".join(lines[begin : end + 1])) + "\n"


@pytest.fixture
def rules_file(tmp_path: Path) -> Path:
    path = tmp_path / "my_rules.py"
    path.write_text(printed("    # my_rules.py", "return groups["), encoding="utf-8")
    return path


def test_the_printed_rule_is_short_and_keeps_the_contract(rules_file: Path) -> None:
    code = [line for line in rules_file.read_text().splitlines() if line.strip() and not line.startswith("#")]
    assert len(code) <= 15
    rule = resolve(RuleSpec(name="links", rule=f"{rules_file}:links"))
    check_rule(rule)
    groups = check_rule(rule, DOCUMENTS)
    assert groups.to_numpy().tolist() == [
        ["a", "frogs.example"],
        ["a", "toads.example"],
        ["b", "frogs.example"],
        ["c", "toads.example"],
    ]
    assert check_rule(rule, DOCUMENTS, {"least": 3}).empty


def test_the_printed_rules_are_all_built_in_ones_and_take_the_printed_keys() -> None:
    import yaml

    block = printed("    rules:", "- my_rules.py:links")
    specs = build({"corpus": {"path": "x.jsonl"}, **yaml.safe_load(block)}).rules
    assert {spec.rule for spec in specs} - {"my_rules.py:links"} == set(BUILT_IN)
    for spec in specs[:-1]:
        found = resolve(spec)
        assert set(spec.parameters) <= set(arguments(spec, found))
        if spec.rule != "labels":  # which needs a table
            check_rule(found, QUOTING, arguments(spec, found))
