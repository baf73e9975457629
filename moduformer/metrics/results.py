"""What the scores of every task have in common: a headline, and a form that JSON takes."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from moduformer.errors import DataError


class Scores:
    """The base of every result; each is a frozen dataclass.

    Attributes:
        headline: the field that stands for the whole, such as "f1" or "rougeL.f1".
    """

    headline: ClassVar[str]

    @property
    def score(self) -> float:
        """The headline figure; NaN where it is not defined."""
        value: Any = self
        for part in self.headline.split("."):
            value = getattr(value, part)
        return float("nan") if value is None else float(value)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: Python numbers, None in place of NaN, and which of them is the headline."""
        return {"headline": self.headline, **finite(asdict(self))}  # type: ignore[call-overload]


def finite(value: Any) -> Any:
    """A value as JSON allows it: NumPy scalars as Python numbers, NaN and infinity as None, arrays as lists."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def aligned(targets: Sequence[Any], predictions: Sequence[Any], what: str) -> None:
    """Refuse targets and predictions that are not two sequences of one length, at least one long.

    Args:
        targets: one an example.
        predictions: one an example.
        what: what the examples are, in the plural, for the message.

    Raises:
        DataError: one of them is no sequence or a single string, the lengths differ, or there are none.
    """
    for side, name in ((targets, "targets"), (predictions, "predictions")):
        if isinstance(side, (str, bytes)) or not hasattr(side, "__len__") or not hasattr(side, "__getitem__"):
            raise DataError(f"{name} are a list with one item for each of the {what}; got {type(side).__name__}")
    if len(targets) != len(predictions):
        raise DataError(f"there are {len(predictions)} predictions for {len(targets)} targets ({what})")
    if not len(targets):
        raise DataError(f"there are no {what} to score")


def text_of(value: Any, row: int, what: str) -> str:
    """`value` if it is a string, else a DataError that names the row."""
    if not isinstance(value, str):
        raise DataError(f'{what} {row} is {type(value).__name__}, not a string; give "" where there is none')
    return value


def texts_of(value: Any, row: int, what: str) -> list[str]:
    """One string or several as a list of strings; a DataError names the row of anything else."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, (list, tuple)):
        raise DataError(f"{what} {row} is {type(value).__name__}, not a string or a list of strings")
    return [text_of(item, row, what) for item in value]
