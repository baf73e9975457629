"""Labelled examples for classification: which column is the text, which the label, what every class is.

Nothing is decided in silence: guessed columns are named in `notes`, rows without text or label in `refused`.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from moduformer.errors import DataError
from moduformer.train.labels import Label, LabelSet, check_label
from moduformer.train.tables import (
    LABEL_NAMES,
    PAIR_NAMES,
    TEXT_NAMES,
    Refused,
    Table,
    plain,
    read_table,
    require_columns,
)

if TYPE_CHECKING:
    import numpy

_SAMPLE = 1000
_LISTED = 5


@dataclass
class Examples:
    """Texts with their classes, and where each came from. `rows_read == len(examples) + len(refused)`.

    Attributes:
        texts: the texts.
        labels: the original label of each text; a tuple of labels when `multi_label`.
        targets: class numbers [n] (int64), or zeros and ones [n, classes] (float32) when `multi_label`.
        classes: the classes, in order.
        pairs: the second text of each example, or None.
        text_column, pair_column, label_columns: the columns they came from.
        rows, lines: row number and line of every example, from 1 (`lines` is None for Parquet and memory).
        rows_read: how many rows the source had; 0 for a part of other examples.
        refused: the rows that are not used.
        notes: what was guessed or noticed.
        name: the file, or "the data".
    """

    texts: list[str]
    labels: list[Any]
    targets: "numpy.ndarray"
    classes: LabelSet
    multi_label: bool = False
    pairs: list[str] | None = None
    text_column: str = "text"
    pair_column: str | None = None
    label_columns: tuple[str, ...] = ("label",)
    rows: list[int] = field(default_factory=list)
    lines: list[int] | None = None
    rows_read: int = 0
    refused: list[Refused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    name: str = "the data"

    def __len__(self) -> int:
        return len(self.texts)

    def place(self, index: int) -> str:
        """Where in its source an example is: "line 7", or "row 6" where there are no lines."""
        return f"row {self.rows[index]}" if self.lines is None else f"line {self.lines[index]}"

    def where(self, index: int) -> str:
        """Where an example comes from: "train.csv line 7"."""
        return f"{self.name} {self.place(index)}"

    def counts(self) -> "numpy.ndarray":
        """How many examples each class has [classes] (int64)."""
        import numpy as np

        if self.multi_label:
            return self.targets.sum(axis=0).astype(np.int64)
        return np.bincount(self.targets, minlength=len(self.classes)).astype(np.int64)

    def select(self, indices: Iterable[int]) -> "Examples":
        """Some of the examples, in the order of their positions given; the classes stay those of the whole."""
        import numpy as np

        chosen = [int(i) for i in indices]
        return replace(
            self,
            texts=[self.texts[i] for i in chosen],
            labels=[self.labels[i] for i in chosen],
            targets=self.targets[np.asarray(chosen, np.int64)],
            pairs=None if self.pairs is None else [self.pairs[i] for i in chosen],
            rows=[self.rows[i] for i in chosen],
            lines=None if self.lines is None else [self.lines[i] for i in chosen],
            rows_read=len(chosen),
            refused=[],
            notes=[],
        )


@dataclass(frozen=True)
class Duplicate:
    """Examples with the same text (spacing, letter case and Unicode form aside).

    Attributes:
        text: the text, as the first of them has it.
        indices: their positions.
        labels_agree: whether all carry the same label.
    """

    text: str
    indices: tuple[int, ...]
    labels_agree: bool


@dataclass(frozen=True)
class Leak:
    """A text that is both in the training and in the evaluation examples."""

    text: str
    train_indices: tuple[int, ...]
    evaluation_indices: tuple[int, ...]


def text_key(text: str) -> str:
    """What two texts share when they are the same for a reader: NFC, one space between words, case folded."""
    return " ".join(unicodedata.normalize("NFC", text).split()).casefold()


def _example_key(examples: Examples, index: int) -> tuple[str, str]:
    return text_key(examples.texts[index]), "" if examples.pairs is None else text_key(examples.pairs[index])


def _strings(values: Sequence[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str)]


def _are_numbers(strings: Sequence[str]) -> bool:
    return all(re.fullmatch(r"\s*[+-]?[\d.,]+\s*", text) for text in strings if text)


def guess_text_column(table: Table, taken: Collection[str] = ()) -> str:
    """The column of texts: by its name, else the column of strings with the longest ones.

    Raises:
        DataError: the table has no rows, or no column holds texts (numbers and labels are none).
    """
    if not len(table):
        raise no_rows(table)
    folded = {name.strip().casefold(): name for name in table.columns if name not in taken}
    for name in TEXT_NAMES:
        column = folded.get(name)
        if column is not None and _strings(table.frame[column].head(_SAMPLE).tolist()):
            return column
    lengths = {}
    for name, column in folded.items():
        values = table.frame[column].head(_SAMPLE).tolist()
        strings = _strings(values)
        if name not in LABEL_NAMES and strings and len(strings) * 2 >= len(values) and not _are_numbers(strings):
            lengths[column] = sum(map(len, strings)) / len(strings)
    if not lengths:
        raise DataError(
            f"{table.name}: no column holds texts; it has: {', '.join(table.columns)}. Name the text column"
        )
    return max(lengths, key=lambda column: lengths[column])


def guess_label_column(table: Table, taken: Collection[str] = ()) -> str:
    """The column of labels: by its name, else the only column whose few values come again and again.

    Raises:
        DataError: none or several columns could be the label.
    """
    folded = {name.strip().casefold(): name for name in table.columns if name not in taken}
    for name in LABEL_NAMES:
        if name in folded:
            return folded[name]
    likely = []
    for column in folded.values():
        values = [v for v in table.frame[column].head(_SAMPLE).tolist() if isinstance(v, (str, int, float, bool))]
        if len(values) >= 2 and len(set(values)) <= max(2, min(len(values) // 2, 200)):
            likely.append(column)
    if len(likely) == 1:
        return likely[0]
    why = f"{' and '.join(map(repr, likely[:4]))} could be it" if likely else "none looks like it"
    raise DataError(f"{table.name}: which column is the label? {why}; name it. Columns: {', '.join(table.columns)}")


def _names_of(table: Table, label: str, taken: Collection[str]) -> str:
    """The column that names the numbers of a label column, one name a number; the column itself when none does."""
    numbers = table.frame[label].tolist()
    if not all(isinstance(value, int) for value in numbers):
        return label
    for column in table.columns:
        names = table.frame[column].tolist() if column != label and column not in taken else []
        if names and all(isinstance(name, str) and 0 < len(name) <= 64 for name in names):
            pairs = set(zip(numbers, names))
            if 1 < len(pairs) == len({number for number, _ in pairs}) == len({name for _, name in pairs}):
                # With one row a number any column of different strings would do, such as an id.
                return column if len(pairs) * 2 <= len(names) else label
    return label


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


def no_rows(table: Table) -> DataError:
    """The error that says why a table has no row to use."""
    if table.refused:
        first = table.refused[0]
        return DataError(
            f"{table.name}: none of its {table.rows_read} rows can be read; {first.where()}: {first.reason}"
        )
    header = f", only a header ({', '.join(table.columns)})" if table.columns else ""
    return DataError(f"{table.name} has no rows{header}")


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
        names = _names_of(table, guessed, [text, pair or ""])
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


def label_variants(examples: Examples) -> list[tuple[str, ...]]:
    """Groups of classes whose names differ only in spaces, letter case or Unicode form, such as "pos" and "pos "."""
    groups: dict[str, list[str]] = {}
    for value in examples.classes.values:
        if isinstance(value, str):
            groups.setdefault(re.sub(r"\s+", "", unicodedata.normalize("NFKC", value)).casefold(), []).append(value)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def check_trainable(train: Examples, evaluation: Examples | None = None) -> None:
    """Refuse what cannot be trained on before any model is loaded.

    Raises:
        DataError: no examples, fewer than two classes with examples, or an evaluation label without training rows.
    """
    if not len(train):
        raise DataError(f"{train.name}: there are no examples to train on")
    counts = train.counts()
    present = [i for i, count in enumerate(counts) if count]
    if train.multi_label:
        if not present:
            raise DataError(f"{train.name}: no example has any label")
    elif len(present) < 2:
        only = train.classes.values[present[0]]
        raise DataError(
            f"{train.name}: every one of the {len(train)} examples has the label {only!r}; "
            "a classifier needs two classes"
        )
    if evaluation is None:
        return
    if evaluation.multi_label != train.multi_label:
        raise DataError("training and evaluation data must both be multi-label, or neither")
    missing: Counter[str] = Counter()
    first = ""
    for i, chosen in enumerate(evaluation.labels):
        for value in chosen if evaluation.multi_label else (chosen,):
            if train.classes.find(value) not in present:
                missing[repr(value)] += 1
                first = first or evaluation.where(i)
    if missing:
        shown = ", ".join(f"{value} ({count} rows)" for value, count in missing.most_common(_LISTED))
        raise DataError(
            f"{first}: evaluation labels that no training example has: {shown}. Training has {train.classes.shown()}"
        )


def duplicates(examples: Examples) -> list[Duplicate]:
    """Texts that appear more than once, in order of their first appearance."""
    groups: dict[tuple[str, str], list[int]] = {}
    for i in range(len(examples)):
        groups.setdefault(_example_key(examples, i), []).append(i)
    return [
        Duplicate(examples.texts[group[0]], tuple(group), len({_label_key(examples.labels[i]) for i in group}) == 1)
        for group in groups.values()
        if len(group) > 1
    ]


def _label_key(label: Any) -> Any:
    return frozenset(label) if isinstance(label, tuple) else label


def leaks(train: Examples, evaluation: Examples) -> list[Leak]:
    """Texts of the evaluation examples that training has seen, in order of the evaluation examples."""
    seen: dict[tuple[str, str], list[int]] = {}
    for i in range(len(train)):
        seen.setdefault(_example_key(train, i), []).append(i)
    met: dict[tuple[str, str], list[int]] = {}
    for i in range(len(evaluation)):
        key = _example_key(evaluation, i)
        if key in seen:
            met.setdefault(key, []).append(i)
    return [Leak(evaluation.texts[found[0]], tuple(seen[key]), tuple(found)) for key, found in met.items()]


def _strata(examples: Examples) -> list[int]:
    """One class for each example: its own, or of several labels the rarest, which is the hardest to spread."""
    if not examples.multi_label:
        return [int(target) for target in examples.targets]
    counts = examples.counts()
    strata = []
    for row in examples.targets:
        chosen = [i for i, value in enumerate(row) if value]
        strata.append(min(chosen, key=lambda i: (counts[i], i)) if chosen else -1)
    return strata


def split(examples: Examples, fraction: float = 0.1, seed: int = 0, stratify: bool = True) -> tuple[Examples, Examples]:
    """Hold examples out for evaluation: the same ones for the same data and seed, on any machine.

    Args:
        examples: what to split.
        fraction: the share to hold out, above 0 and below 1.
        seed: of the drawing.
        stratify: hold out that share of every class (of the rarest label of each multi-label example), at least one
            example of each class that has two different texts; else of the whole.

    Returns:
        the examples to train on and those held out, each in their original order. Examples with the same text
        (`text_key`) stay on one side, so the held-out score is not memory.

    Raises:
        DataError: the fraction is not between 0 and 1, or a side would be empty.
    """
    import numpy as np

    if not isinstance(fraction, (int, float)) or not 0 < fraction < 1:
        raise DataError(f"the held-out fraction is above 0 and below 1, not {fraction!r}")
    if not isinstance(seed, int) or seed < 0:
        raise DataError(f"a seed is a whole number from 0, not {seed!r}")
    strata = _strata(examples) if stratify else [0] * len(examples)
    groups: dict[tuple[str, str], list[int]] = {}
    for i in range(len(examples)):
        groups.setdefault(_example_key(examples, i), []).append(i)
    by_stratum: dict[int, list[list[int]]] = {}
    for group in groups.values():
        by_stratum.setdefault(strata[group[0]], []).append(group)
    held: set[int] = set()
    for stratum in sorted(by_stratum):
        members = by_stratum[stratum]
        if len(members) < 2:
            continue
        # One generator a class: adding rows of one class leaves the others' held-out rows as they were.
        order = np.random.default_rng([seed, stratum + 1]).permutation(len(members))
        taken, total = 0, sum(map(len, members))
        wanted = max(1, round(fraction * total))
        for chosen in order:
            group = members[chosen]
            # A group larger than twice what is still wanted would miss the share by more than leaving it out does.
            if taken < wanted and len(group) <= 2 * (wanted - taken) and len(group) + taken < total:
                held.update(group)
                taken += len(group)
        if not taken:
            smallest: list[int] = min(members, key=len)
            held.update(smallest)
    if not held:
        refused = examples.refused
        left_out = f"; {len(refused)} rows cannot be used, {refused[0].where()}: {refused[0].reason}" if refused else ""
        raise DataError(
            f"{examples.name}: no rows can be held out, since no class has two different texts "
            f"({len(groups)} different texts, {len(examples.classes)} classes{left_out}). "
            "Name the column of labels, add rows, or give a file to evaluate on"
        )
    train = [i for i in range(len(examples)) if i not in held]
    return examples.select(train), examples.select(sorted(held))


def few_shot(examples: Examples, shots: int, seed: int = 0) -> Examples:
    """The few-shot subset of SetFit's experiments (Tunstall et al. 2022, arXiv:2209.11055).

    For each class, in order of first appearance, pandas' `sample(shots, random_state=seed, replace=False)` of its rows;
    all of them when there are no more than `shots`. Multi-label examples are drawn once for each class and counted
    once.

    Args:
        examples: the training examples in their published order.
        shots: examples a class.
        seed: 0 to 9 in the published tables.

    Raises:
        DataError: `shots` is less than one.
    """
    import pandas as pd

    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise DataError(f"a seed is a whole number from 0 to 2**32 - 1, not {seed!r}")
    if shots < 1:
        raise DataError(f"shots is the number of examples a class, at least 1, not {shots}")
    if examples.multi_label:
        members = [[i for i, row in enumerate(examples.targets) if row[c]] for c in range(len(examples.classes))]
    else:
        order: dict[int, list[int]] = {}
        for i, target in enumerate(examples.targets.tolist()):
            order.setdefault(target, []).append(i)
        members = list(order.values())
    chosen: dict[int, None] = {}
    for rows in members:
        column = pd.Series(rows, dtype="int64")
        if len(rows) > shots:
            column = column.sample(shots, random_state=seed, replace=False)
        chosen.update(dict.fromkeys(column.tolist()))
    return examples.select(chosen)


def class_weights(examples: Examples) -> "numpy.ndarray":
    """scikit-learn's "balanced" weights [classes] (float64): n / (classes * count); 0 for a class without examples.

    For multi-label examples they weigh the positive term of each class: negatives / positives.
    """
    import numpy as np

    counts = examples.counts().astype(np.float64)
    present = counts > 0
    weights = np.zeros_like(counts)
    if examples.multi_label:
        weights[present] = (len(examples) - counts[present]) / counts[present]
    else:
        weights[present] = len(examples) / (present.sum() * counts[present])
    return weights


def majority_accuracy(examples: Examples) -> float:
    """The accuracy of always answering the most frequent class; what a model must beat."""
    counts = examples.counts()
    return float(counts.max() / len(examples)) if len(examples) else math.nan
