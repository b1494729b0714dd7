"""Which texts' tokens are kept: none, all, or as many as fit, the same ones in every split."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memo.config import CampaignConfig
from memo.layout import Layout
from pipelines import split_files
from pipelines.split_files import kept_texts
from pipelines.workspace import Workspace

N_TOKENS = np.array([5, 0, 7, 3, 9, 2, 4, 6])  # six documents, two controls


def workspace(root: Path, wanted: str, seed: int = 0) -> Workspace:
    data = {"corpus": {"path": "x.txt"}, "training": {"keep_token_losses": wanted}, "seed": seed}
    found = Workspace(Layout(root), CampaignConfig.model_validate(data))
    found.layout.documents.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"doc_id": [str(i) for i in range(6)]}), found.layout.documents)
    return found


def test_none_and_all(tmp_path: Path) -> None:
    assert kept_texts(workspace(tmp_path, "none"), N_TOKENS) is None
    found = kept_texts(workspace(tmp_path, "all"), N_TOKENS)
    assert found is not None and found.tolist() == list(range(8))


def test_chosen_are_all_while_they_fit(tmp_path: Path) -> None:
    found = kept_texts(workspace(tmp_path, "chosen"), N_TOKENS)
    assert found is not None and found.tolist() == list(range(8))


def test_chosen_are_controls_and_a_sample_that_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_files, "CHOSEN_TOKENS", 20)
    found = [kept_texts(workspace(tmp_path, "chosen", seed), N_TOKENS) for seed in (0, 0, 1, 2, 3)]
    for kept in found:
        assert kept is not None
        assert {6, 7} < set(kept.tolist()) and N_TOKENS[kept].sum() <= 20 and (np.diff(kept) > 0).all()
    assert found[0] is not None and found[1] is not None and found[0].tolist() == found[1].tolist()
    assert len({tuple(kept.tolist()) for kept in found if kept is not None}) > 1  # another seed, another sample
