"""How simple a text is: its mean performance over all models, whether they trained on it or not.

(Zhang et al. 2021, arXiv 2112.12938, equation 2, there with accuracy; Feldman and Zhang 2020 compare it with
memorization.) In accuracy a simple text has a high value, in loss a low one.

Shapes: M models, D texts.
"""

import numpy as np
from numpy.typing import NDArray

from memo.estimators.checks import Bools, Floats, as_floats, checked_values


def simplicity(performance: NDArray[np.floating], valid: Bools | None = None) -> Floats:
    """(D,) mean over the models. performance: (M, D) losses or accuracies; valid: (M, D), all by default.

    NaN where no model counts. Raises ValueError for values that are NaN, infinite or negative, where they count.
    """
    values = as_floats(performance, "performance")
    shape = values.shape if valid is None else np.asarray(valid).shape
    if values.ndim != 2 or shape != values.shape:
        raise ValueError(f"expected performance and valid of one shape (M, D), found {values.shape} and {shape}")
    values = checked_values(values, valid, "performance").astype(np.float64, copy=False)
    if valid is None:
        total, number = values.sum(axis=0), np.full(values.shape[1], float(len(values)))
    else:
        total, number = np.where(valid, values, 0.0).sum(axis=0), valid.sum(axis=0).astype(np.float64)
    mean: Floats = np.divide(total, number, out=np.full_like(number, np.nan), where=number > 0)
    return mean
