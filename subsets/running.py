"""Runs a duplication rule of a campaign: memo's own here, any other in a process of its own.

    groups_of(spec, documents, path)      # DataFrame: doc_id, group_id

Code of a user's, and a regular expression, may never end, fill the memory or crash the interpreter. A process can be
stopped whatever it does, so such a rule gets one (`subsets.rule_process`), which reads the documents itself and is
killed with all that it started when its time is over: `timeout_s` of the rule in the campaign file, or 10 minutes, for
a regular expression 60 s. Costs the start of an interpreter, about a second. memo's own rules end by themselves; they
are stopped where the campaign file sets a time.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from memo.config import RuleSpec
from memo.errors import RuleError
from memo.rules import LATE_HINT, NOTES, apply, late
from subsets.registry import arguments, is_foreign, resolve, timeout_s

if TYPE_CHECKING:
    import pandas as pd

LIMIT_S: Final = 600.0
REGEX_LIMIT_S: Final = 60.0
REGEX_MEMORY_BYTES: Final = 4 << 30  # some patterns fill it faster than the time is over
_GRACE_S: Final = 10.0  # the process stops itself first, and then says where it was


def groups_of(spec: RuleSpec, documents: "pd.DataFrame", path: Path) -> "pd.DataFrame":
    """The groups of a rule, checked: doc_id, group_id, with its notes in `attrs`.

    documents: what `path`, a Parquet file, holds. Raises `RuleError` in one line for whatever the rule does wrong.
    """
    limit = timeout_s(spec)
    if not is_foreign(spec):
        found = resolve(spec)
        return apply(found, documents, arguments(spec, found), limit)
    is_pattern = spec.parameters.get("regex") is not None
    request = {
        "spec": spec.model_dump(mode="json"),
        "documents": str(path),
        "timeout_s": limit or (REGEX_LIMIT_S if is_pattern else LIMIT_S),
        "memory_bytes": REGEX_MEMORY_BYTES if is_pattern else None,
    }
    with tempfile.TemporaryDirectory(prefix="memo-rule-") as folder:
        groups = Path(folder) / "groups.parquet"
        answer = _answer(spec, {**request, "groups": str(groups)})
        if "error" in answer:
            raise RuleError(answer["error"])
        import pyarrow.parquet as pq

        frame: pd.DataFrame = pq.read_table(groups).to_pandas()
    frame.attrs = {} if answer["notes"] is None else {NOTES: answer["notes"]}
    return frame


def _answer(spec: RuleSpec, request: dict[str, Any]) -> dict[str, Any]:
    """Starts the process, waits, and stops it. Its standard input stays open: it ends when that closes."""
    command = [sys.executable, "-P", "-m", "subsets.rule_process"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8", start_new_session=True)
    assert process.stdin is not None and process.stdout is not None  # noqa: S101 - both are pipes; for the types
    try:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], request["timeout_s"] + _GRACE_S)
        if not ready:
            raise RuleError(f"{late(spec.name, request['timeout_s'])}, found none and stopped it; {LATE_HINT}")
        said = process.stdout.read()
        process.wait()
    finally:
        _kill(process)
    if not said:
        ended = process.returncode
        how = f"signal {signal.Signals(-ended).name}" if ended < 0 else f"exit code {ended}"
        raise RuleError(
            f"rule {spec.name!r}: expected groups, found that its process ended with {how}; "
            "try it by itself with memo.testing.check_rule"
        )
    answer: dict[str, Any] = json.loads(said)
    return answer


def _kill(process: "subprocess.Popen[str]") -> None:
    """With everything that it started; where all of it has ended there is nothing to do."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
