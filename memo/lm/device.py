"""Where models are trained and in which arithmetic.

    device = choose("auto", "auto")
    activate(device)                 once per process, before the first model
    record = describe(device)

Losses are always measured in float32; the precision is that of training. On a CPU bfloat16 pays only for wide models
and only with AVX512-BF16 or AMX (measured on one core of a Zen 4, context 128: GPT-2 of width 64 runs at 0.75, of width
128 at 1.1 and of width 256 at 1.45 times the speed of float32), so `auto` takes float32 there.
"""

import os
import platform
from dataclasses import dataclass
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers

from memo.errors import UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Device:
    kind: str  # "cpu" or "cuda"
    precision: str  # of training: "float32" or "bfloat16"

    @property
    def torch_device(self) -> torch.device:
        return torch.device(self.kind)

    @property
    def compute_dtype(self) -> torch.dtype:
        return DTYPES[self.precision]


def choose(device: str = "auto", precision: str = "auto") -> Device:
    """The device and precision that this machine has for these wishes."""
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise UsageError("training.device: expected a CUDA GPU, found none; use auto or cpu")
    kind = "cuda" if has_cuda and device != "cpu" else "cpu"
    has_bfloat16 = kind == "cpu" or torch.cuda.is_bf16_supported()
    if precision == "bfloat16" and not has_bfloat16:
        raise UsageError("training.precision: this GPU has no bfloat16; use auto or float32")
    if precision == "auto":
        precision = "bfloat16" if kind == "cuda" and has_bfloat16 else "float32"
    return Device(kind, precision)


def activate(device: Device) -> None:
    """Sets this process up for small models: one thread, exact and repeatable arithmetic."""
    torch.set_num_threads(1)  # parallelism is one process per core; the sum's order must not depend on the machine
    torch.set_float32_matmul_precision("highest")  # no TF32
    if device.kind == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 - mypy does not see it


def describe(device: Device) -> dict[str, Any]:
    """What results may depend on, for the record. Plain data."""
    return {
        "device": device.kind,
        "device_name": torch.cuda.get_device_name() if device.kind == "cuda" else platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "precision": device.precision,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        "numpy": np.__version__,
    }
