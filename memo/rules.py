"""Duplication rules: which documents count as the same.

    @memo.rule("frogs")
    def frogs(documents):
        return documents["text"].str.contains("frog").map({True: "frogs"})

A rule takes the documents, a DataFrame with the columns doc_id, text, n_tokens and the metadata, and gives

- a Series of group labels, one per document in the same order; a missing label means "in no group"; or
- a DataFrame with the columns doc_id and group_id, where a document may stand in several groups.

A rule may say how it came to its groups in `attrs["notes"]` of what it returns, as plain data; the campaign keeps it.

Keyword parameters of the function are set in the campaign file. What a rule returns is checked here, once for all.
"""

import difflib
import inspect
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from memo.errors import RuleError

if TYPE_CHECKING:
    import pandas as pd

NOTES = "notes"
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


def apply(found: Rule, documents: "pd.DataFrame", parameters: Mapping[str, Any] | None = None) -> "pd.DataFrame":
    """Runs a rule and checks what it returns: a DataFrame doc_id, group_id in document order, without repetition.

    Labels become text. Raises `RuleError` in one line: the rule, what was expected, what was found.
    """
    import pandas as pd

    parameters = dict(parameters or {})
    check_parameters(found, parameters)
    try:
        returned = found(documents.copy(), **parameters)
    except RuleError:
        raise
    except Exception as error:
        where = _last_line(error, found.function)
        raise RuleError(f"rule {found.name!r} raised {type(error).__name__}{where}: {_one_line(error)}") from error
    if isinstance(returned, pd.Series):
        frame = _from_series(found.name, returned, documents)
    elif isinstance(returned, pd.DataFrame):
        frame = _from_frame(found.name, returned, documents)
    else:
        raise RuleError(
            f"rule {found.name!r}: expected a pandas Series of labels or a DataFrame with doc_id and group_id, "
            f"found {type(returned).__name__}"
        )
    order = pd.Series(range(len(documents)), index=documents["doc_id"])
    frame["group_id"] = _text_labels(found.name, frame["group_id"])
    frame = frame.drop_duplicates().assign(position=lambda f: f["doc_id"].map(order))
    frame = frame.sort_values(["position", "group_id"], kind="stable")
    frame = frame[["doc_id", "group_id"]].reset_index(drop=True)
    frame.attrs = {NOTES: returned.attrs[NOTES]} if NOTES in returned.attrs else {}
    return frame


def _from_series(name: str, labels: "pd.Series", documents: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    if len(labels) != len(documents):
        raise RuleError(f"rule {name!r}: expected one label per document ({len(documents)}), found {len(labels)}")
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

    missing = {"doc_id", "group_id"} - set(frame.columns)
    if missing:
        raise RuleError(
            f"rule {name!r}: expected the columns doc_id and group_id, found {', '.join(map(str, frame.columns))}"
        )
    unknown = ~frame["doc_id"].isin(documents["doc_id"])
    if unknown.any():
        example = frame["doc_id"][unknown].iloc[0]
        raise RuleError(
            f"rule {name!r}: expected ids of documents of the corpus, found {int(unknown.sum())} unknown, "
            f"for instance {example!r}"
        )
    result = pd.DataFrame({column: frame[column].to_numpy(dtype=object) for column in ("doc_id", "group_id")})
    return result[~_missing(name, result["group_id"])].copy()


def _missing(name: str, labels: "pd.Series") -> "pd.Series":
    nested = labels.map(lambda label: isinstance(label, list | tuple | set | dict))
    if nested.any():
        raise RuleError(
            f"rule {name!r}: expected one label per document, found {labels[nested].iloc[0]!r}; "
            "for groups that overlap return a DataFrame with one row per doc_id and group_id"
        )
    return labels.isna()


def _text_labels(name: str, labels: "pd.Series") -> "pd.Series":
    import pandas as pd

    texts = pd.Series([str(label) for label in labels], index=labels.index, dtype=object)
    bad = texts.map(lambda text: not text or not _encodes(text))
    if bad.any():
        raise RuleError(f"rule {name!r}: expected labels that are text, found {texts[bad].iloc[0]!r}")
    return texts


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no message"


def _last_line(error: BaseException, function: RuleFunction) -> str:
    """Where in the rule's own file it went wrong; not where in pandas."""
    file = inspect.unwrap(function).__code__.co_filename if hasattr(function, "__code__") else None
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f" at {lines[-1].filename}:{lines[-1].lineno}" if lines else ""
