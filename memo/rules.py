"""Duplication rules: which documents count as the same.

    @memo.rule("frogs")
    def frogs(documents):
        return documents["text"].str.contains("frog").map({True: "frogs"})

A rule takes the documents, a DataFrame with the columns doc_id, text, n_tokens and the metadata, and gives

- a Series of group labels, one per document in the same order; a missing label means "in no group"; or
- a DataFrame with the columns doc_id and group_id, where a document may stand in several groups.

A label is text, a number or a date, and is kept as text. A row stands once: no document twice in one group.

A rule may say how it came to its groups in `attrs["notes"]` of what it returns, as plain data; the campaign keeps it.

Keyword parameters of the function are set in the campaign file. What a rule returns is checked here, once for all.
"""

import difflib
import inspect
import json
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from memo.errors import RuleError
from memo.limits import OutOfTime, time_limit

if TYPE_CHECKING:
    import pandas as pd

NOTES = "notes"
LATE_HINT = "make it faster, or raise its timeout_s"
_SHOWN = 100  # characters of what was found
RuleFunction = Callable[..., "pd.Series | pd.DataFrame"]


@dataclass(frozen=True)
class Rule:
    """A named function from documents to groups."""

    name: str
    function: RuleFunction

    def __call__(self, documents: "pd.DataFrame", **parameters: Any) -> "pd.Series | pd.DataFrame":
        return self.function(documents, **parameters)


@overload
def rule(name: str) -> Callable[[RuleFunction], Rule]: ...
@overload
def rule(name: RuleFunction) -> Rule: ...
def rule(name: str | RuleFunction) -> Any:
    """Makes a function a duplication rule: `@rule("frogs")`, or `@rule` to take the function's own name."""
    if callable(name):
        return Rule(getattr(name, "__name__", "rule"), name)
    if not isinstance(name, str) or not name:
        raise RuleError(f"@memo.rule: expected a name such as @memo.rule('frogs'), found {name!r}")
    return lambda function: Rule(name, function)


def check_parameters(found: Rule, parameters: Mapping[str, Any]) -> None:
    """Raises `RuleError` for a parameter that the rule does not have, or one that is missing."""
    accepted = list(inspect.signature(found.function).parameters.values())[1:]
    names = [p.name for p in accepted if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if not any(p.kind is p.VAR_KEYWORD for p in accepted):
        for name in parameters:
            if name not in names:
                close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
                hint = f"did you mean {close[0]!r}?" if close else f"it takes: {', '.join(names) or 'none'}"
                raise RuleError(f"rule {found.name!r} has no parameter {name!r}; {hint}")
    for parameter in accepted:
        if parameter.name in names and parameter.default is parameter.empty and parameter.name not in parameters:
            raise RuleError(f"rule {found.name!r} needs the parameter {parameter.name!r}; add it in the campaign file")


def apply(
    found: Rule,
    documents: "pd.DataFrame",
    parameters: Mapping[str, Any] | None = None,
    timeout_s: float | None = None,
) -> "pd.DataFrame":
    """Runs a rule and checks what it returns: a DataFrame doc_id, group_id in document order, without repetition.

    timeout_s: seconds that the rule may take (`memo.limits.time_limit` says where that holds); None: no limit.

    Labels become text. Raises `RuleError` in one line: the rule, what was expected, what was found, what to do.
    """
    import pandas as pd

    parameters = dict(parameters or {})
    check_parameters(found, parameters)
    try:
        with time_limit(timeout_s):
            returned = found(documents.copy(), **parameters)
    except RuleError:
        raise
    except OutOfTime as error:
        raise RuleError(
            f"{late(found.name, timeout_s)}, found it still at work{_last_line(error, found.function)}; {LATE_HINT}"
        ) from error
    except (Exception, SystemExit) as error:
        where = _last_line(error, found.function)
        raise RuleError(f"rule {found.name!r} raised {type(error).__name__}{where}: {_one_line(error)}") from error
    if isinstance(returned, pd.Series):
        frame = _from_series(found.name, returned, documents)
    elif isinstance(returned, pd.DataFrame):
        frame = _from_frame(found.name, returned, documents)
    else:
        raise RuleError(
            f"rule {found.name!r}: expected a pandas Series of labels or a DataFrame with doc_id and group_id, "
            f"found {type(returned).__name__}; return one of them"
        )
    order = pd.Series(range(len(documents)), index=documents["doc_id"])
    frame["group_id"] = _text_labels(found.name, frame["group_id"])
    _refuse_repeated(found.name, frame)
    frame = frame.assign(position=frame["doc_id"].map(order))
    frame = frame.sort_values(["position", "group_id"], kind="stable")
    frame = frame[["doc_id", "group_id"]].reset_index(drop=True)
    frame.attrs = _notes(found.name, returned.attrs)
    return frame


def late(name: str, timeout_s: float | None) -> str:
    """The beginning of what is said of a rule that takes too long."""
    return f"rule {name!r}: expected groups within {timeout_s:g} s"


def _notes(name: str, attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    if NOTES not in attrs:
        return {}
    try:
        json.dumps(attrs[NOTES])
    except (TypeError, ValueError, RecursionError) as error:
        raise RuleError(
            f"rule {name!r}: attrs[{NOTES!r}]: expected plain data (mappings, lists, text, numbers), "
            f"found what JSON cannot hold: {_one_line(error)}"
        ) from error
    return {NOTES: attrs[NOTES]}


def _refuse_repeated(name: str, frame: "pd.DataFrame") -> None:
    repeated = frame.duplicated()
    if repeated.any():
        doc_id, group_id = frame[repeated].iloc[0][["doc_id", "group_id"]]
        raise RuleError(
            f"rule {name!r}: expected each document once in a group, found {int(repeated.sum())} rows that stand "
            f"again, for instance {doc_id!r} in {group_id!r}; return frame.drop_duplicates()"
        )


def _from_series(name: str, labels: "pd.Series", documents: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    if len(labels) != len(documents):
        raise RuleError(
            f"rule {name!r}: expected one label per document ({len(documents)}), found {len(labels)}; "
            "give None to a document that is in no group, or return a DataFrame with doc_id and group_id"
        )
    if not labels.index.equals(documents.index):
        if set(labels.index) != set(documents.index):
            raise RuleError(
                f"rule {name!r}: expected labels with the index of the documents, found another index; "
                "return a DataFrame with doc_id and group_id instead"
            )
        labels = labels.reindex(documents.index)
    # A Series of objects stays one: a text column would refuse labels that the check below names.
    group_id = pd.Series(labels.to_numpy(dtype=object), dtype=object)
    frame = pd.DataFrame({"doc_id": documents["doc_id"].to_numpy(dtype=object), "group_id": group_id})
    return frame[~_missing(name, frame["group_id"])].copy()


def _from_frame(name: str, frame: "pd.DataFrame", documents: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    if [list(frame.columns).count(column) for column in ("doc_id", "group_id")] != [1, 1]:
        found = ", ".join(map(str, frame.columns)) or "none"
        raise RuleError(
            f"rule {name!r}: expected the columns doc_id and group_id, once each, found {found}; rename them"
        )
    _one_each(name, frame["doc_id"], "doc_id")
    unknown = ~frame["doc_id"].isin(documents["doc_id"])
    if unknown.any():
        first = frame["doc_id"][unknown].iloc[0]
        raise RuleError(
            f"rule {name!r}: expected ids of documents of the corpus, found {int(unknown.sum())} unknown, for instance "
            f"{'a missing one' if pd.isna(first) else _shown(first)}; take them from documents['doc_id']"
        )
    result = pd.DataFrame({column: frame[column].to_numpy(dtype=object) for column in ("doc_id", "group_id")})
    return result[~_missing(name, result["group_id"])].copy()


def _missing(name: str, labels: "pd.Series") -> "pd.Series":
    _one_each(name, labels, "label")
    return labels.isna()


def _one_each(name: str, values: "pd.Series", kind: str) -> None:
    from pandas.api.types import is_scalar

    nested = ~values.map(is_scalar).astype(bool)
    if nested.any():
        raise RuleError(
            f"rule {name!r}: expected one {kind} in each row, text or a number, found "
            f"{_shown(values[nested].iloc[0])}; for groups that overlap return a DataFrame with one row per doc_id and "
            "group_id"
        )


def _text_labels(name: str, labels: "pd.Series") -> "pd.Series":
    import pandas as pd

    texts = pd.Series([str(label) for label in labels], index=labels.index, dtype=object)
    bad = texts.map(lambda text: not text or not _encodes(text))
    if bad.any():
        raise RuleError(
            f"rule {name!r}: expected labels that are text, found {texts[bad].iloc[0]!r}; "
            "give None to a document that is in no group"
        )
    return texts


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: object) -> str:
    return _one_line(repr(value))[:_SHOWN]


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or "no message"


def _last_line(error: BaseException, function: RuleFunction) -> str:
    """Where in the rule's own file it went wrong; not where in pandas."""
    file = inspect.unwrap(function).__code__.co_filename if hasattr(function, "__code__") else None
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f" at {lines[-1].filename}:{lines[-1].lineno}" if lines else ""
