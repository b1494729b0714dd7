"""What a report of trouble should contain."""

import importlib.metadata
import importlib.util
import platform
import sys
from pathlib import Path
from typing import Any

PACKAGES = ("counterfactual-memo", "torch", "transformers", "tokenizers", "dask", "distributed", "numpy", "pyarrow")
OWN = ("memo", "subsets", "pipelines", "analysis")


def diagnose() -> dict[str, Any]:
    """Versions, devices and shadowed names, as plain data."""
    return {
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
        **{name: _version(name) for name in PACKAGES},
        "devices": _devices(),
        "shadowed": _shadowed(),
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> str:
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    return ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))


def _shadowed() -> list[str]:
    """Packages of memo's names that are found elsewhere than beside this one, or that stand in the current folder."""
    home = Path(__file__).resolve().parent.parent
    found = []
    for name in OWN:
        spec = importlib.util.find_spec(name)
        place = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if place != home / name:
            found.append(f"{name} is imported from {place}, expected {home / name}")
        here = Path.cwd() / name
        if Path.cwd() != home and (here.is_dir() or here.with_suffix(".py").is_file()):
            found.append(f"{here} hides memo's {name} from notebooks and scripts started here")
    return found
