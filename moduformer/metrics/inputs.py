"""Arrays as scores need them, or an error that says what is wrong with them."""

from typing import TYPE_CHECKING, Any

from moduformer.errors import DataError

if TYPE_CHECKING:
    import numpy


def probability_rows(values: Any, rows: int) -> "numpy.ndarray":
    """`values` as probabilities [rows, classes], finite and between 0 and 1, or a DataError."""
    import numpy as np

    array = np.asarray(values, np.float64)
    if array.ndim != 2 or len(array) != rows:
        raise DataError(f"probabilities have the shape [examples, classes]; got {array.shape} for {rows} examples")
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise DataError(f"the probabilities of example {bad} are not finite; the model's output is damaged")
    if array.size and (array.min() < -1e-6 or array.max() > 1 + 1e-6):
        raise DataError(f"probabilities lie between 0 and 1; these reach from {array.min():g} to {array.max():g}")
    return array.clip(0, 1)


def class_numbers(values: Any, classes: int | None, what: str) -> "numpy.ndarray":
    """`values` as whole numbers [n] from 0 to below `classes` (None: no upper end), or a DataError naming `what`."""
    import numpy as np

    array = np.asarray(values)
    if array.ndim != 1 or not (np.issubdtype(array.dtype, np.integer) or array.size == 0):
        raise DataError(f"{what} are class numbers of the shape [examples]; got {array.dtype} of shape {array.shape}")
    array = array.astype(np.int64)
    if array.size and (array.min() < 0 or (classes is not None and array.max() >= classes)):
        raise DataError(f"{what} reach from {array.min()} to {array.max()}, outside the {classes} classes")
    return array


def zeros_and_ones(values: Any, what: str) -> "numpy.ndarray":
    """`values` as whole numbers [n, classes], each 0 or 1, or a DataError naming `what`."""
    import numpy as np

    array = np.asarray(values)
    if array.ndim != 2:
        raise DataError(f"{what} have the shape [examples, classes]; got {array.shape}")
    if not np.isin(array, (0, 1)).all():
        raise DataError(f"{what} hold zeros and ones only")
    return array.astype(np.int64)
