"""Wishes for a device become a device, or one line."""

import json

import pytest
import torch

from memo.errors import UsageError
from memo.lm.device import activate, choose, describe, has_bfloat16_units

has_cuda = torch.cuda.is_available()


@pytest.mark.parametrize(("units", "width", "expected"), [(True, 127, 4), (True, 128, 2), (False, 128, 4)])
def test_the_cpu_takes_bfloat16_where_it_pays(
    units: bool, width: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memo.lm.device.has_bfloat16_units", lambda: units)
    assert choose("cpu", width=width).compute_dtype.itemsize == expected
    assert choose("cpu", "float32", width).compute_dtype == torch.float32


def test_the_cpu_trains_in_float32_unless_told_otherwise() -> None:
    device = choose("cpu")
    assert isinstance(has_bfloat16_units(), bool)
    assert (device.kind, device.precision) == ("cpu", "float32")
    assert device.torch_device == torch.device("cpu")
    assert choose("cpu", "bfloat16").compute_dtype == torch.bfloat16


@pytest.mark.skipif(has_cuda, reason="needs a machine without a GPU")
def test_without_a_gpu() -> None:
    assert choose().kind == "cpu"
    with pytest.raises(UsageError, match="expected a CUDA GPU, found none"):
        choose("cuda")


@pytest.mark.skipif(not has_cuda, reason="needs a GPU")
def test_with_a_gpu() -> None:
    assert choose().kind == "cuda"


def test_one_thread_and_a_plain_record() -> None:
    device = choose("cpu")
    activate(device)
    assert torch.get_num_threads() == 1
    record = describe(device)
    assert record["torch"] == torch.__version__
    assert json.loads(json.dumps(record)) == record
