"""What a caller hands an estimator as X: texts, or pairs of texts, in any of the containers people use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from moduformer.errors import DataError


def texts_and_pairs(X: Any) -> tuple[list[str], list[str] | None]:
    """Texts, and second texts where X holds pairs.

    Args:
        X: a list, array, Series or generator of strings, or of pairs of strings; or a table of one or two columns.

    Raises:
        DataError: X is one string, or a row is neither a text nor a pair like the others; names the row.
    """
    rows = list(rows_of(X))
    if not rows:
        return [], None
    paired = not isinstance(rows[0], str)
    for number, row in enumerate(rows):
        if paired != (not isinstance(row, str)) or (paired and not _is_pair(row)):
            raise DataError(
                f"X[{number}] is {_shown(row)}, but every row must be a text, or every row a pair of texts; "
                "replace missing values before fitting or predicting"
            )
    if not paired:
        return [str(row) for row in rows], None
    return [str(row[0]) for row in rows], [str(row[1]) for row in rows]


def rows_of(X: Any) -> Iterator[Any]:
    """The rows of X one by one; a table's rows are a text or a pair. Raises `DataError` for a single string."""
    if isinstance(X, str | bytes):
        raise DataError("X is one string; give a list of texts, [text] for a single one")
    if getattr(X, "ndim", 1) == 2:
        values = X.to_numpy() if hasattr(X, "to_numpy") else X
        if values.shape[1] not in (1, 2):
            raise DataError(f"X has {values.shape[1]} columns; give one of texts, or two for pairs of texts")
        return iter([row[0] if len(row) == 1 else tuple(row) for row in values.tolist()])
    if not isinstance(X, Iterable):
        raise DataError(f"X is a {type(X).__name__}; give a list of texts")
    return iter(X)


def in_chunks(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of at most `size` rows, taken from the source only when asked for."""
    source = iter(rows)
    while chunk := list(islice(source, size)):
        yield chunk


def _is_pair(row: Any) -> bool:
    return isinstance(row, tuple | list) and len(row) == 2 and all(isinstance(text, str) for text in row)


def _shown(row: Any) -> str:
    return "a text" if isinstance(row, str) else "a pair" if _is_pair(row) else f"{type(row).__name__} {repr(row)[:40]}"
