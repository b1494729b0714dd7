"""Which memo this is, down to its source: two checkouts of one version may train differently."""

import hashlib
from functools import cache
from pathlib import Path

from memo import __version__

PACKAGES = ("memo", "subsets", "pipelines")  # what training and scores depend on


@cache
def full_version() -> str:
    """For instance `0.1.0+3f9a6c01d2e4`: the version, and a digest of the source files that lie beside each other."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root).as_posix()}\n".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{__version__}+{digest.hexdigest()[:12]}"
