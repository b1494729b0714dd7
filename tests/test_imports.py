"""Imports go one way, heavy libraries come late, and importing has no effect. `lint-imports` checks the layers."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

HEAVY = ("torch", "transformers", "datasets", "dask", "distributed", "pandas", "pyarrow", "scipy", "matplotlib")


def loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout))


def test_nothing_in_memo_imports_memo_lm() -> None:
    graph = grimp.build_graph("memo")
    engine = {module for module in graph.modules if module.startswith("memo.lm")}
    importers = {importer for module in engine for importer in graph.find_modules_that_directly_import(module)}
    assert importers <= engine


def test_torch_is_imported_by_the_engine_alone() -> None:
    graph = grimp.build_graph("memo", "subsets", "pipelines", "analysis", include_external_packages=True)
    importers = graph.find_modules_that_directly_import("torch") | graph.find_modules_that_directly_import(
        "transformers"
    )
    assert {module for module in importers if not module.startswith("memo.lm")} == {"pipelines.doctor"}


@pytest.mark.parametrize(
    "module",
    [
        "memo",
        "memo.config",
        "memo.campaign_file",
        "memo.rules",
        "memo.store",
        "memo.lock",
        "pipelines.cli",
        "pipelines.status",
    ],
)
def test_light_modules_stay_light(module: str) -> None:
    assert not loaded_by(f"import {module}") & set(HEAVY)


def test_the_public_names_are_there() -> None:
    loaded_by("import memo; memo.open; memo.rule; memo.Rule; memo.Campaign; memo.estimators.memorization; memo.testing")


def test_every_package_is_shipped() -> None:
    root = Path(__file__).parent.parent
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = [
        ".".join(path.parent.relative_to(root).parts)
        for name in ("memo", "subsets", "pipelines", "analysis")
        for path in (root / name).rglob("__init__.py")
    ]
    assert sorted(listed) == sorted(found)
