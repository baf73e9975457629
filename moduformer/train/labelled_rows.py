"""Rows of a table, or lists, as labelled examples: which are used, and why the others are not.

Nothing is decided in silence: guessed columns are named in `notes`, rows without text or label in `refused`.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from moduformer.errors import DataError
from moduformer.train.columns import guess_label_column, guess_text_column, naming_column, no_rows
from moduformer.train.examples import Examples, label_variants
from moduformer.train.labels import Label, LabelSet, check_label
from moduformer.train.tables import (
    PAIR_NAMES,
    Refused,
    Table,
    plain,
    read_table,
    require_columns,
)

_LISTED = 5


def _as_text(value: Any) -> tuple[str | None, str]:
    if value is None:
        return None, "the text is missing"
    if not isinstance(value, str):
        return None, f"the text is a {type(value).__name__}, not a string"
    if not value.strip():
        return None, "the text is empty"
    return value, ""


def _clean(value: Any) -> Any:
    return unicodedata.normalize("NFC", value).strip() if isinstance(value, str) else value


def _switch(value: Any) -> bool | None:
    """A cell of a 0/1 column; None when it is neither."""
    if isinstance(value, str):
        return {"0": False, "1": True, "false": False, "true": True}.get(value.strip().lower())
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    return None


class _LabelReader:
    """Turns the label cells of a row into one label or a tuple of labels, or says why it cannot."""

    def __init__(
        self, columns: Sequence[str], cells: Sequence[Sequence[Any]], separator: str | None, strip: bool
    ) -> None:
        self.columns = columns
        self.cells = cells
        self.separator = separator
        self.strip = strip
        self.one_column_a_class = len(columns) > 1
        self.holds_lists = len(columns) == 1 and any(isinstance(v, (list, tuple, set)) for v in cells[0])
        self.multi_label = self.one_column_a_class or self.holds_lists or separator is not None

    def read(self, row: int) -> tuple[Any, str]:
        """(label, "") or (None, why not)."""
        if self.one_column_a_class:
            chosen = []
            for column, values in zip(self.columns, self.cells):
                switch = _switch(values[row])
                if switch is None:
                    return None, f"the label column {column!r} holds {_shortened(values[row])}, neither 0 nor 1"
                if switch:
                    chosen.append(column)
            return tuple(chosen), ""
        value = self.cells[0][row]
        if value is None:
            return None, "the label is missing"
        if self.multi_label:
            if isinstance(value, str) and self.separator is not None:
                value = [part.strip() for part in value.split(self.separator) if part.strip()]
            elif not isinstance(value, (list, tuple, set)):
                return None, f"the label is {_shortened(value)}, where other rows have a list"
            found: dict[tuple[str, Any], Label] = {}
            for part in value:
                label, reason = self._one(part)
                if reason:
                    return None, reason
                found[type(label).__name__, label] = label
            return tuple(found.values()), ""
        return self._one(value)

    def _one(self, value: Any) -> tuple[Any, str]:
        try:
            label = check_label(_clean(value) if self.strip else value)
        except DataError as error:
            return None, str(error)
        if isinstance(label, str) and not label.strip():
            return None, "the label is empty"
        return label, ""


def _shortened(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."


def label_examples(
    table: Table,
    text: str | None = None,
    label: str | Sequence[str] | None = None,
    pair: str | None = None,
    *,
    classes: LabelSet | None = None,
    separator: str | None = None,
    strip_labels: bool = False,
) -> Examples:
    """Labelled examples of a table.

    Args:
        table: what `read_table` gave.
        text, label, pair: the columns; None guesses text and label and says so in `notes`. `pair` is guessed only
            with a guessed text column such as "sentence1". Several label columns hold 0/1, one column a class.
        classes: the classes of training, for evaluation data; None takes those that appear here.
        separator: splits the label cells of a multi-label column, such as "|".
        strip_labels: remove spaces around labels and bring them to NFC, so that "pos " and "pos" are one class.

    Returns:
        the examples. A column of lists, several columns or a separator make them multi-label. Rows whose text is
        empty or whose label is missing are in `refused`.

    Raises:
        DataError: a column is missing or cannot be guessed, no row can be used, or a label is not among `classes`.
    """
    notes = list(table.notes)
    if separator == "":
        raise DataError("the separator of labels is empty; give the character between them, such as ','")
    if not len(table):
        raise no_rows(table)
    label_columns = [label] if isinstance(label, str) else list(label or ())
    require_columns(table.columns, [c for c in (text, pair, *label_columns) if c is not None], table.name)
    if text is None:
        text = guess_text_column(table, [*label_columns, pair or ""])
        notes.append(f"the text is column {text!r}")
        if pair is None and text.casefold() in ("text", "sentence1", "premise", "문장1"):
            pair = next((name for name in table.columns if name.casefold() in PAIR_NAMES), None)
            if pair is not None:
                notes.append(f"the second text of each pair is column {pair!r}")
    if not label_columns:
        guessed = guess_label_column(table, [text, pair or ""])
        names = naming_column(table, guessed, [text, pair or ""])
        notes.append(f"the label is column {names!r}" + (f", the names of {guessed!r}" if names != guessed else ""))
        label_columns = [names]
    if len({text, pair, *label_columns}) < 2 + len(label_columns):
        raise DataError(f"{table.name}: text, pair and label must be different columns")

    reader = _LabelReader(label_columns, [table.column(c) for c in label_columns], separator, strip_labels)
    texts = table.column(text)
    seconds = None if pair is None else table.column(pair)
    used: list[int] = []
    labels: list[Any] = []
    refused = list(table.refused)
    unseen: list[tuple[int, Any]] = []
    for i, value in enumerate(texts):
        _, reason = _as_text(value)
        if not reason and seconds is not None:
            reason = _as_text(seconds[i])[1].replace("the text", "the second text")
        found = None
        if not reason:
            found, reason = reader.read(i)
        if reason:
            refused.append(Refused(table.rows[i], None if table.lines is None else table.lines[i], reason))
            continue
        if classes is not None:
            chosen = found if isinstance(found, tuple) else (found,)
            unseen.extend((i, v) for v in chosen if classes.find(v) is None)
        used.append(i)
        labels.append(found)
    refused.sort(key=lambda bad: bad.row)
    if unseen:
        counted = Counter(repr(value) for _, value in unseen)
        shown = ", ".join(f"{v} ({count} rows)" for v, count in counted.most_common(_LISTED))
        raise DataError(
            f"{table.name}, {table.where(unseen[0][0])}: labels that training did not have: {shown}. "
            f"The classes are {(classes or LabelSet(())).shown()}"
        )
    if not used:
        why = f": {refused[0].where()}: {refused[0].reason}" if refused else ""
        raise DataError(f"{table.name}: none of its {table.rows_read} rows can be used{why}")
    if classes is None:
        if reader.one_column_a_class:
            # The order the user gave the columns in is the order of the classes.
            classes = LabelSet(tuple(label_columns))
        elif reader.multi_label:
            classes = LabelSet.of(value for chosen in labels for value in chosen)
        else:
            classes = LabelSet.of(labels)
    targets = classes.encode_sets(labels) if reader.multi_label else classes.encode(labels)
    # A label that was met in another type ("1" for 1) comes out as the class has it.
    if reader.multi_label:
        labels = [tuple(classes.values[classes.index(v)] for v in chosen) for chosen in labels]
    else:
        labels = classes.decode(targets)
    examples = Examples(
        [texts[i] for i in used],
        labels,
        targets,
        classes,
        reader.multi_label,
        None if seconds is None else [seconds[i] for i in used],
        text,
        pair,
        tuple(label_columns),
        [table.rows[i] for i in used],
        None if table.lines is None else [table.lines[i] for i in used],
        table.rows_read,
        refused,
        notes,
        table.name,
    )
    for variants in label_variants(examples):
        notes.append(
            f"the labels {', '.join(map(repr, variants))} differ only in spaces, letter case or Unicode form and are "
            "different classes; correct the file, or pass strip_labels=True for the spaces"
        )
    return examples


def read_examples(
    source: Any,
    text: str | None = None,
    label: str | Sequence[str] | None = None,
    pair: str | None = None,
    *,
    classes: LabelSet | None = None,
    separator: str | None = None,
    strip_labels: bool = False,
    **reading: Any,
) -> Examples:
    """`label_examples` of `read_table`; further arguments go to `read_table`."""
    table = read_table(source, **reading)
    return label_examples(table, text, label, pair, classes=classes, separator=separator, strip_labels=strip_labels)


def examples_from_lists(
    texts: Iterable[Any],
    labels: Iterable[Any],
    pairs: Iterable[Any] | None = None,
    *,
    classes: LabelSet | None = None,
) -> Examples:
    """Labelled examples of lists, arrays or Series already in memory, as a scikit-learn `fit(X, y)` gets them.

    Args:
        texts: strings.
        labels: a label each; or a list of labels each, or a matrix [n, classes] of 0/1, for multi-label.
        pairs: the second texts, or None.
        classes: the classes of training, for evaluation data.

    Raises:
        DataError: the lengths differ, a single string is given for a list, or as in `label_examples`.
    """
    label_matrix: Any = labels
    for what, values in (("texts", texts), ("labels", labels), ("pairs", pairs)):
        if isinstance(values, (str, bytes)):
            raise DataError(f"{what} is one string; give a list of them")
    columns: dict[str, list[Any]] = {"text": list(texts)}
    if getattr(labels, "ndim", 1) == 2 and hasattr(labels, "columns"):
        names = [str(name) for name in label_matrix.columns]
        columns["label"] = [[name for name, value in zip(names, row) if value] for row in label_matrix.to_numpy()]
        classes = classes or LabelSet(tuple(names))
    elif getattr(labels, "ndim", 1) == 2:
        matrix = label_matrix.tolist()
        if not all(value in (0, 1) for row in matrix for value in row):
            raise DataError("a matrix of labels holds zeros and ones only")
        width = len(matrix[0]) if matrix else 0
        classes = classes or LabelSet(tuple(range(width)))
        if len(classes) != width:
            raise DataError(f"the matrix of labels has {width} columns for {len(classes)} classes")
        columns["label"] = [[classes.values[i] for i, value in enumerate(row) if value] for row in matrix]
    else:
        columns["label"] = [plain(value) for value in labels]
    if pairs is not None:
        columns["text_pair"] = list(pairs)
    sizes = {name: len(values) for name, values in columns.items()}
    if len(set(sizes.values())) > 1:
        raise DataError(f"there are {sizes['text']} texts for {sizes} values; each text needs one")
    examples = label_examples(
        read_table(columns), "text", "label", None if pairs is None else "text_pair", classes=classes
    )
    examples.notes[:] = [note for note in examples.notes if "column" not in note]
    return examples


def unlabelled_texts(table: Table, text: str | None = None) -> list[str]:
    """The texts of a column that are not empty, for adaptation on unlabelled text.

    Raises:
        DataError: the column is missing or cannot be guessed, or has no text.
    """
    if text is None:
        text = guess_text_column(table)
    found = [value for value in table.column(text) if isinstance(value, str) and value.strip()]
    if not found:
        raise DataError(f"{table.name}: column {text!r} has no text")
    return found
