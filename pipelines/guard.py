"""What models were trained on must not change under them.

    with unchanged(workspace):
        stage("ingest")(workspace, reporter)

Corpus, groups of the design and splits are made anew where they are damaged. If that gives something else, because a
source has changed since, the old files are put back as they were, damaged or not, and the work is refused.
"""

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterator

from memo.errors import MemoError
from memo.store import read_record, remove, temporary_path
from pipelines.workspace import Workspace

FOLDERS = ("corpus", "groups", "design")


@contextlib.contextmanager
def unchanged(workspace: Workspace) -> Iterator[None]:
    """Raises `MemoError`, with everything as before, if the block changes what recorded losses were made from."""
    known = _made_from(workspace)
    if not known:
        yield
        return
    root = workspace.layout.root
    kept = temporary_path(root / "before")
    for name in FOLDERS:
        if (root / name).is_dir():
            shutil.copytree(root / name, kept / name)
    try:
        yield
        _compare(workspace, known)
    except BaseException:
        for name in FOLDERS:
            if (kept / name).is_dir():
                remove(root / name)
                (kept / name).rename(root / name)
        raise
    finally:
        remove(kept)


def _made_from(workspace: Workspace) -> dict[str, str]:
    """What most recorded losses say they were made from: `corpus` and, by number, the blocks of splits."""
    size = workspace.config.design.block_size
    said: dict[str, Counter[str]] = {}
    for split in range(workspace.config.design.splits):
        record = read_record(workspace.layout.losses(split))
        if record is not None and "corpus" in record.inputs and "block" in record.inputs:
            said.setdefault("corpus", Counter())[record.inputs["corpus"]] += 1
            said.setdefault(str(split // size), Counter())[record.inputs["block"]] += 1
    return {name: counter.most_common(1)[0][0] for name, counter in said.items()}


def _compare(workspace: Workspace, known: dict[str, str]) -> None:
    changed = "corpus" if workspace.corpus_fingerprint() != known["corpus"] else None
    for name, checksum in known.items():
        record = None if name == "corpus" else read_record(workspace.layout.block(int(name)))
        if record is not None and record.sha256 != checksum:
            changed = changed or f"block {name} of the splits"
    if changed:
        raise MemoError(
            f"{changed}: made anew, it differs from what the models were trained on, because its source has changed "
            "since; nothing was replaced. Bring the old source back, or use another --dir"
        )
