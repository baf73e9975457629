"""The classes of a labelled data set: values of any type in a fixed order, and back again with their types."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from moduformer.errors import DataError
from moduformer.train.tables import plain

if TYPE_CHECKING:
    import numpy

Label = str | int | float | bool
"""What a class may be called. A class is its value and its type: 1, 1.0, True and "1" are four classes."""

_MOST_NAMED = 10


def _key(value: Any) -> tuple[str, Any]:
    return type(value).__name__, value


def _order(value: Label) -> tuple[int, float | int, str, str]:
    if isinstance(value, str):
        return 2, 0, "", value
    return (0 if isinstance(value, bool) else 1), value, type(value).__name__, ""


def _name(value: Label) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def check_label(value: Any) -> Label:
    """A value as a label: a NumPy scalar becomes the Python value it holds.

    Raises:
        DataError: the value is no string, number or bool, or is not finite.
    """
    value = plain(value)
    if isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise DataError(f"a label is a string, a whole or finite number, or a bool, not {type(value).__name__} {value!r}")


@dataclass(frozen=True)
class LabelSet:
    """The classes, in order. The order is that of `numpy.unique` for labels of one type.

    Bools come first, then numbers by value, then strings by code point; this is what scikit-learn's `classes_` gives
    for labels of one type, and it depends neither on the order of the rows nor on the hash seed.

    Attributes:
        values: the original labels in class order.
    """

    values: tuple[Label, ...]

    @classmethod
    def of(cls, labels: Iterable[Any]) -> "LabelSet":
        """The classes that appear among labels.

        Raises:
            DataError: a label that is no string, number or bool.
        """
        found = {_key(value): value for value in map(check_label, labels)}
        return cls(tuple(sorted(found.values(), key=_order)))

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def _ids(self) -> dict[tuple[str, Any], int]:
        return {_key(value): i for i, value in enumerate(self.values)}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A string for every class, each different (values whose strings agree get their type added)."""
        names = [_name(value) for value in self.values]
        return tuple(
            name if names.count(name) == 1 else f"{name} ({type(value).__name__})"
            for name, value in zip(names, self.values)
        )

    @property
    def id2label(self) -> dict[int, str]:
        return dict(enumerate(self.names))

    @property
    def label2id(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    def find(self, value: Any) -> int | None:
        """The class of a label, None when there is no such class.

        A label of another type whose string is the same is taken for it when that is unambiguous, so that the "1" of a
        CSV file meets the 1 of a Parquet file.
        """
        value = plain(value)
        exact = self._ids.get(_key(value))
        if exact is not None or isinstance(value, (list, tuple, dict, set)) or value is None:
            return exact
        return self._by_string.get(_string_of(value))

    @cached_property
    def _by_string(self) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        for i, value in enumerate(self.values):
            string = _string_of(value)
            found[string] = None if string in found else i
        return found

    def index(self, value: Any) -> int:
        """The class of a label.

        Raises:
            DataError: there is no such class.
        """
        found = self.find(value)
        if found is None:
            raise DataError(f"the label {value!r} is not among the classes: {self.shown()}")
        return found

    def shown(self) -> str:
        """The classes in a sentence, at most ten of them."""
        names = ", ".join(repr(value) for value in self.values[:_MOST_NAMED])
        return names + (f" and {len(self) - _MOST_NAMED} more" if len(self) > _MOST_NAMED else "")

    def encode(self, labels: Sequence[Any]) -> "numpy.ndarray":
        """Class numbers [n] of labels (int64)."""
        import numpy as np

        return np.fromiter((self.index(value) for value in labels), np.int64, len(labels))

    def decode(self, ids: Iterable[int]) -> list[Label]:
        """The original labels of class numbers."""
        return [self.values[int(i)] for i in ids]

    def encode_sets(self, labels: Sequence[Collection[Any]]) -> "numpy.ndarray":
        """Zeros and ones [n, classes] (float32) of sets of labels."""
        import numpy as np

        matrix = np.zeros((len(labels), len(self)), np.float32)
        for row, chosen in enumerate(labels):
            for value in chosen:
                matrix[row, self.index(value)] = 1
        return matrix

    def decode_sets(self, matrix: Any, threshold: float = 0.5) -> list[list[Label]]:
        """The original labels of rows [n, classes] of zeros and ones or probabilities."""
        import numpy as np

        return [[self.values[i] for i in np.flatnonzero(row >= threshold)] for row in np.asarray(matrix)]

    def to_dict(self) -> dict[str, Any]:
        """For JSON, types kept (JSON keeps string, integer, float and bool apart)."""
        return {"values": list(self.values)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "LabelSet":
        """What `to_dict` wrote.

        Raises:
            DataError: the stored value is not a list of different labels.
        """
        values = stored.get("values") if isinstance(stored, Mapping) else None
        if not isinstance(values, list):
            raise DataError("stored classes are an object with a list called 'values'")
        checked = tuple(check_label(value) for value in values)
        if len({_key(value) for value in checked}) < len(checked):
            raise DataError("stored classes name a class twice")
        return cls(checked)


def _string_of(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
