"""The process in which a rule runs that is not memo's own; `subsets.running` starts, limits and kills it.

    python -P -m subsets.rule_process        a JSON request on standard input, a JSON answer on standard output

The request: spec (of the campaign file), documents (Parquet), groups (where the table goes), timeout_s, memory_bytes
(beyond what the process has at the start; null: no limit). The answer: notes of the rule, or error, one line.
"""

import json
import os
import sys
import threading
from typing import Any

from memo.config import RuleSpec
from memo.errors import RuleError
from memo.rules import NOTES, apply
from subsets.registry import arguments, resolve


def main() -> None:
    """Answers one request."""
    # A rule may print: the answer gets a descriptor of its own, and everything else goes to stderr.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        request = json.loads(sys.stdin.readline())
        threading.Thread(target=_end_with_the_campaign, daemon=True).start()
        print(json.dumps(_answer(request)), file=answers, flush=True)
    # Threads that the rule started must not keep the process.
    os._exit(0)


def _end_with_the_campaign() -> None:
    """Standard input closes when the process that asked has ended, however it did."""
    sys.stdin.read()
    os._exit(1)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"notes": _run(request)}
    except RuleError as error:
        return {"error": str(error)}


def _run(request: dict[str, Any]) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    spec = RuleSpec.model_validate(request["spec"])
    documents = pq.read_table(request["documents"]).to_pandas()
    found = resolve(spec)
    if request["memory_bytes"] is not None:
        _limit_memory(request["memory_bytes"])
    frame = apply(found, documents, arguments(spec, found), request["timeout_s"])
    columns = {name: pa.array(frame[name].tolist(), pa.string()) for name in ("doc_id", "group_id")}
    pq.write_table(pa.table(columns), request["groups"])
    return frame.attrs.get(NOTES)


def _limit_memory(more_bytes: int) -> None:
    import resource

    import psutil

    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + more_bytes, most))


if __name__ == "__main__":
    main()
