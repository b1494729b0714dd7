"""Where models are trained and in which arithmetic.

    device = choose("auto", "auto")
    activate(device)                 once per process, before the first model
    record = describe(device)

Losses are always measured in float32; the precision is that of training. On a CPU bfloat16 pays for wide models where
there are units for it, AVX512-BF16 or AMX. Measured on one core of a Zen 4, windows of 128, targets a second in float32
and in bfloat16: GPT-2 of width 128 with 6 layers 6,800 and 10,900, Llama 6,700 and 10,000, with the same losses to two
digits; of width 64 with 2 layers 36,900 and 48,000, 38,300 and 42,000; of width 64 with 1 layer and batches of 8 it is
a tenth slower. So `auto` takes it from a width of 128.
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

WIDE = 128  # from here bfloat16 pays on a CPU
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


def choose(device: str = "auto", precision: str = "auto", width: int = 0) -> Device:
    """The device and precision that this machine has for these wishes. width: of the model's hidden states."""
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise UsageError("training.device: expected a CUDA GPU, found none; use auto or cpu")
    kind = "cuda" if has_cuda and device != "cpu" else "cpu"
    has_bfloat16 = kind == "cpu" or torch.cuda.is_bf16_supported()
    if precision == "bfloat16" and not has_bfloat16:
        raise UsageError("training.precision: this GPU has no bfloat16; use auto or float32")
    if precision == "auto":
        pays = has_bfloat16 if kind == "cuda" else width >= WIDE and has_bfloat16_units()
        precision = "bfloat16" if pays else "float32"
    return Device(kind, precision)


def has_bfloat16_units() -> bool:
    """Whether this CPU multiplies matrices of bfloat16 faster than of float32."""
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def activate(device: Device) -> None:
    """Sets this process up for small models: one thread, exact and repeatable arithmetic."""
    torch.set_num_threads(1)  # parallelism is one process per core; the sum's order must not depend on the machine
    torch.set_float32_matmul_precision("highest")  # no TF32
    if device.kind == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 - mypy does not see it


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that the memory of the device is full."""
    return isinstance(error, torch.OutOfMemoryError)


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
