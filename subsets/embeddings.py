"""Documents as points: the embeddings that `semantic` groups. One built in, any other by file or entry point.

    tfidf                        built in: no model, no download
    my_embedding                 an entry point of the group `memo.embeddings` of an installed package
    path/to/file.py:embed        a function in a file

An embedding is a function of the documents (a DataFrame with doc_id, text, n_tokens and the metadata) that gives an
array (N, d) of finite numbers, a row per document in the same order.

Shapes: N documents, d dimensions.
"""

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from memo.errors import RuleError
from memo.seeding import key
from subsets.plugins import in_file, installed, module_of, offered

if TYPE_CHECKING:
    import pandas as pd

ENTRY_POINTS: Final = "memo.embeddings"
DEFAULT: Final = "tfidf"
DIMENSIONS: Final = 100  # Deerwester et al. 1990 and much later work: 100 to 300 do
_MOST_TERMS: Final = 50_000
_COMMON_SHARE: Final = 0.1  # of the documents: a word of so many names no topic; "and" in every language
_COMMON_DOCUMENTS: Final = 10

Points = NDArray[np.float64]


def embedded(reference: str, documents: "pd.DataFrame") -> Points:
    """(N, d) float64 points that an embedding of the user's gives to the documents, checked.

    Raises `RuleError` in one line: expected, found, what to do.
    """
    try:
        points = np.asarray(_function(reference)(documents.copy()))
    except RuleError:
        raise
    except (Exception, SystemExit) as error:
        told = " ".join(str(error).split()) or "no message"
        raise RuleError(f"embedding {reference!r} raised {type(error).__name__}: {told}") from error
    shape = f"an array of numbers of shape ({len(documents)}, dimensions)"
    if points.dtype.kind not in "fiu" or points.ndim != 2 or len(points) != len(documents) or not points.shape[1]:
        raise RuleError(
            f"embedding {reference!r}: expected {shape}, a row per document, found {points.dtype} {points.shape}; "
            "return one vector for each row of the documents"
        )
    points = points.astype(np.float64)
    unusable = ~np.isfinite(points).all(axis=1)
    if unusable.any():
        doc_id = documents["doc_id"].to_numpy()[unusable][0]
        raise RuleError(
            f"embedding {reference!r}: expected finite numbers, found NaN or infinity for {int(unusable.sum())} "
            f"documents, for instance {doc_id!r}; give zeros to a document without an embedding"
        )
    return points


def latent_semantics(weights: Any, seed: int) -> Points:
    """(N, d) float64: TF-IDF in the 100 dimensions that say most of it (latent semantic analysis, Deerwester et al.
    1990, "Indexing by latent semantic analysis"). A text without a term is a row of zeros.

    weights: (N, V) of `tfidf`, sparse.
    """
    from sklearn.decomposition import TruncatedSVD

    documents, terms = weights.shape
    if terms <= DIMENSIONS:
        return np.hstack([weights.toarray(), np.zeros((documents, int(terms == 0)))])
    state = key("embedding", DEFAULT, seed=seed) % 2**32
    points: Points = TruncatedSVD(min(DIMENSIONS, documents), random_state=state).fit_transform(weights)
    points[weights.count_nonzero(axis=1) == 0] = 0
    return points


def tfidf(texts: list[str]) -> tuple[Any, NDArray[Any]]:
    """(N, V) sparse weights (Salton and Buckley 1988; logarithmic term frequency), rows of length 1 or 0, and V terms.

    Terms are words of two letters or digits and more, in lower case; none that more than a tenth of the documents have
    (and more than 10), and of the rest the 50,000 most frequent ones.
    """
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

    vectorizer = CountVectorizer()
    if not any(map(vectorizer.build_analyzer(), texts)):
        return csr_array((len(texts), 0)), np.empty(0, dtype=object)
    counts = csr_array(vectorizer.fit_transform(texts))
    terms = vectorizer.get_feature_names_out()  # sorted
    rare = np.flatnonzero(counts.count_nonzero(axis=0) <= max(_COMMON_DOCUMENTS, int(_COMMON_SHARE * len(texts))))
    frequent = np.argsort(-counts.sum(axis=0)[rare], kind="stable")[:_MOST_TERMS]
    kept = np.sort(rare[frequent])
    if not len(kept):
        return csr_array((len(texts), 0)), terms[kept]
    return csr_array(TfidfTransformer(sublinear_tf=True).fit_transform(counts[:, kept])), terms[kept]


def _function(reference: str) -> Callable[..., Any]:
    if in_file(reference):
        name = reference.rpartition(":")[2]
        found = getattr(module_of(reference, "embedding"), name, None)
        if not callable(found):
            kind = "none" if found is None else type(found).__name__
            raise RuleError(f"embedding {reference}: expected a function {name!r} of the documents, found {kind}")
        return found
    known = offered(ENTRY_POINTS, "embedding", {DEFAULT: "built in"})
    if reference not in known:
        close = difflib.get_close_matches(reference, known, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise RuleError(
            f"no embedding is named {reference!r}; {hint}known: {', '.join(sorted(known))}; "
            "or name one in a file: path/to/file.py:name"
        )
    function: Callable[..., Any] = installed(reference, ENTRY_POINTS, "embedding")
    return function
