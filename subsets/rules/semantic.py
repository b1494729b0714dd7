"""Documents about the same: clusters of an embedding.

    {name: topics, rule: semantic, clusters: 40}
    {name: topics, rule: semantic, clusters: 40, embedding: my_embedding.py:embed}

Each document is a point on the unit sphere; k-means with k-means++ (Arthur and Vassilvitskii 2007) makes `clusters` of
them, sqrt(documents / 2) by default. Embeddings are a plug point (`subsets.embeddings`): TF-IDF with latent semantic
analysis is built in and needs no model. A document whose vector is zero, such as one without words, is in no group.

Needs scikit-learn: pip install 'counterfactual-memo[semantic]'. The groups depend on the texts and `seed`, not on the
order of the documents or the number of cores: documents are sorted by content, and one thread computes. Another version
of scikit-learn may give other groups; its version is in the notes. 100,000 documents of 200 words take 50 s and
0.7 GB beyond the texts.

A label is the three terms that set the cluster apart, and a hash of the text next to its center.
`attrs["notes"]`: embedding, library, dimensions, clusters, unlabelled, topics (group_id, documents, terms), giants
(`subsets.giants`).
"""

import hashlib
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memo.errors import RuleError
from memo.rules import rule
from memo.seeding import key
from subsets.embeddings import DEFAULT, Points, embedded, latent_semantics, tfidf
from subsets.giants import giants

_ROUNDS: Final = 100
_LABEL_TERMS: Final = 3
_NOTED_TERMS: Final = 10
_HASH_CHARACTERS: Final = 8


@rule("semantic")
def semantic(
    documents: pd.DataFrame, clusters: int | None = None, embedding: str = DEFAULT, seed: int = 0
) -> pd.Series:
    """A label for each document with an embedding.

    clusters: how many; fewer where there are not so many different points. embedding: tfidf, an entry point, or
    path/to/file.py:name. seed: of the random numbers.
    """
    _whole("seed", seed, 0)
    if clusters is not None:
        _whole("clusters", clusters, 2)
    if not isinstance(embedding, str):
        raise RuleError(f"rule 'semantic': embedding: expected a name or path/to/file.py:name, found {embedding!r}")
    if find_spec("sklearn") is None:
        raise RuleError(
            "rule 'semantic': expected scikit-learn, found that it is not installed; "
            "pip install 'counterfactual-memo[semantic]'"
        )
    labels = pd.Series(None, index=documents.index, dtype=object)
    if not len(documents):
        return labels
    from threadpoolctl import threadpool_limits

    hashes = np.array([_hash(text) for text in documents["text"]])
    order = np.lexsort((documents["doc_id"].to_numpy(dtype=str), hashes))
    canonical = documents.iloc[order].reset_index(drop=True)
    with threadpool_limits(1):  # sums of several threads differ in the last digits, and so might a document's cluster
        weights, terms = tfidf(canonical["text"].tolist())
        points = latent_semantics(weights, seed) if embedding == DEFAULT else embedded(embedding, canonical)
        lengths = np.linalg.norm(points, axis=1)
        usable = np.flatnonzero(lengths > 0)
        points = points[usable] / lengths[usable, None]
        number = _clusters(points, clusters or max(2, round((len(documents) / 2) ** 0.5)), seed)
    texts = canonical["text"].iloc[usable].tolist()
    names, topics = _described(texts, points, number, _terms(weights[usable], terms, number))
    labels.iloc[order[usable]] = np.array(names, dtype=object)[number]
    labels.attrs["notes"] = {
        **_scheme(embedding, points),
        "clusters": len(names),
        "unlabelled": len(documents) - len(usable),
        "topics": topics,
        "giants": giants(names, np.bincount(number, minlength=len(names)), len(documents)),
    }
    return labels


def _clusters(points: Points, wanted: int, seed: int) -> NDArray[np.int64]:
    """(N,) the number of each point's cluster, from 0 without gaps."""
    from sklearn.cluster import KMeans

    different = len(np.unique(points, axis=0))
    if not different:
        return np.empty(0, dtype=np.int64)
    state = key("rule", "semantic", seed=seed) % 2**32
    found = KMeans(min(wanted, different), n_init=1, max_iter=_ROUNDS, random_state=state).fit_predict(points)
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def _described(
    texts: list[str], points: Points, number: NDArray[np.int64], terms: list[list[str]]
) -> tuple[list[str], list[dict[str, Any]]]:
    """A label for each cluster, and its documents and terms."""
    sizes = np.bincount(number, minlength=len(terms))
    centers = np.zeros((len(terms), points.shape[1]))
    np.add.at(centers, number, points)
    closeness = (points * centers[number]).sum(axis=1)
    labels = []
    for cluster, own in enumerate(terms):
        members = np.flatnonzero(number == cluster)
        nearest = texts[members[closeness[members].argmax()]]
        labels.append(" ".join([*own[:_LABEL_TERMS], _hash(nearest)[:_HASH_CHARACTERS]]))
    if len(set(labels)) < len(labels):  # one text, two vectors: an embedding may look at more than the text
        labels = [f"{label} {cluster}" for cluster, label in enumerate(labels)]
    topics = [
        {"group_id": labels[cluster], "documents": int(sizes[cluster]), "terms": terms[cluster]}
        for cluster in np.argsort(-sizes, kind="stable").tolist()
    ]
    return labels, topics


def _terms(weights: Any, terms: NDArray[Any], number: NDArray[np.int64]) -> list[list[str]]:
    """For each cluster the terms whose mean weight in it exceeds that in all documents most."""
    from scipy.sparse import csr_array

    sizes = np.bincount(number)
    member = csr_array((1 / sizes[number], (number, np.arange(len(number)))), shape=(len(sizes), len(number)))
    means = csr_array(member @ weights)  # (clusters, terms)
    everywhere = np.asarray(weights.mean(axis=0)).ravel() if len(number) else np.zeros(len(terms))
    found = []
    for begin, end in zip(means.indptr[:-1], means.indptr[1:], strict=True):
        own = means.indices[begin:end]
        excess = means.data[begin:end] - everywhere[own]
        found.append([str(terms[own[i]]) for i in np.lexsort((own, -excess))[:_NOTED_TERMS]])
    return found


def _scheme(embedding: str, points: Points) -> dict[str, Any]:
    import sklearn

    return {
        "embedding": embedding,
        "library": f"scikit-learn {sklearn.__version__}",
        "dimensions": int(points.shape[1]),
    }


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise RuleError(f"rule 'semantic': {name}: expected a whole number from {least}, found {value!r}")
