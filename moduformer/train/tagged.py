"""Tagged text for training: sentences as words with tags, or texts with spans, from every shape people keep them in.

Nothing is dropped in silence: rows that cannot be used are in `refused`, tags that break their scheme in `mended`, and
what was guessed in `notes`.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from moduformer.errors import DataError
from moduformer.metrics.tagging import Entity
from moduformer.text.tags import OUTSIDE, Kind, TagScheme
from moduformer.train.conll import read_columns
from moduformer.train.tables import TEXT_NAMES, Refused, Table, file_kind, plain, read_table, require_columns

WORD_NAMES = ("tokens", "words", "token", "word", "form", "forms", "morphs", "단어", "형태소")
"""Column names taken for a list of words, most telling first."""

TAG_NAMES = (
    "ner_tags", "tags", "ner", "labels", "label", "bio", "bio_tags", "tag", "pos_tags", "upos", "pos", "xpos",
    "chunk_tags", "morph_ner_tags", "chars_ner_tags", "태그",
)  # fmt: skip
"""Column names taken for a list of tags, most telling first."""

SPAN_NAMES = ("entities", "spans", "ents", "label", "labels", "annotations", "ner", "개체명")
"""Column names taken for a list of spans, most telling first."""

_START = ("start", "start_offset", "begin", "start_char")
_END = ("end", "end_offset", "stop", "end_char")
_LABEL = ("label", "type", "entity", "tag", "entity_group", "entity_type")
_SAMPLE = 200


@dataclass
class TaggedExamples:
    """Tagged sentences or texts, and where each came from. `rows_read == len(examples) + len(refused)`.

    Attributes:
        texts: the texts; of sentences given as words, the words with a space between.
        spans: the typed spans of characters of each text, in order; for tags without marks, one a word.
        words: the words of each sentence, or None where texts have spans.
        tags: a tag a word, marked as BIO or without marks; None where texts have spans.
        labels: the classes of tokens: O and a B and an I of each type, or the tags without marks.
        marked: whether the tags mark entities; otherwise every word has one, such as a part of speech.
        text_column, label_column: where they came from.
        rows, lines: row number and line of every example, from 1 (`lines` is None for Parquet and memory).
        rows_read: how many rows the source had; 0 for a part of other examples.
        refused: the rows that are not used.
        mended: tags that broke their scheme, such as an I without a B, by where they stand; they were read as a B.
        notes: what was guessed or noticed.
        name: the file, or "the data".
    """

    texts: list[str]
    spans: list[list[Entity]]
    words: list[list[str]] | None
    tags: list[list[str]] | None
    labels: tuple[str, ...]
    marked: bool = True
    text_column: str = "text"
    label_column: str = "tags"
    rows: list[int] = field(default_factory=list)
    lines: list[int] | None = None
    rows_read: int = 0
    refused: list[Refused] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    name: str = "the data"

    def __len__(self) -> int:
        return len(self.texts)

    def place(self, index: int) -> str:
        """Where in its source an example is: "line 7", or "row 6" where there are no lines."""
        return f"row {self.rows[index]}" if self.lines is None else f"line {self.lines[index]}"

    def where(self, index: int) -> str:
        """Where an example comes from: "train.jsonl line 7"."""
        return f"{Path(self.name).name} {self.place(index)}"

    def select(self, indices: Iterable[int]) -> "TaggedExamples":
        """Some of the examples."""
        chosen = [int(i) for i in indices]

        def part(values: list[Any] | None) -> list[Any] | None:
            return None if values is None else [values[i] for i in chosen]

        return replace(
            self, texts=[self.texts[i] for i in chosen], spans=[self.spans[i] for i in chosen], words=part(self.words),
            tags=part(self.tags), rows=[self.rows[i] for i in chosen], lines=part(self.lines), rows_read=0, refused=[],
            mended=[], notes=[],
        )  # fmt: skip

    def inputs(self) -> list[Any]:
        """What a tagger predicts from: lists of words, or texts."""
        return list(self.texts) if self.words is None else [list(words) for words in self.words]

    def counts(self) -> dict[str, int]:
        """How many spans there are of each type (for tags without marks, how many words of each tag)."""
        return dict(Counter(span.type for spans in self.spans for span in spans).most_common())


def read_tagged(source: Any, text: str | None = None, label: str | None = None, **reading: Any) -> TaggedExamples:
    """Tagged rows of a file or of memory.

    Args:
        source: a file in columns (CoNLL and its like, any name); JSON Lines, JSON or Parquet with a column of words and
            one of tags, or of texts and one of spans (`[start, end, label]` as doccano writes them, or objects); a
            DataFrame, a list of dicts or a dict of columns.
        text, label: the columns; None guesses them and says so in `notes`. Columns of a file in columns have numbers.
        reading: see `read_table`.

    Raises:
        DataError: the file cannot be used, or two spans overlap; names the file and the row.
    """
    if isinstance(source, (str, os.PathLike)) and Path(source).is_file():
        try:
            if file_kind(Path(source)) == "delimited":
                return _from_columns(Path(source), text, label)
        except OSError as error:
            raise DataError(f"{source} cannot be read: {error.strerror or error}") from None
    return tagged_examples(read_table(source, **reading), text, label)


def tagged_examples(table: Table, text: str | None = None, label: str | None = None) -> TaggedExamples:
    """Tagged rows of a table; see `read_tagged`."""
    if not len(table):
        raise DataError(f"{table.name}: there are no rows")
    require_columns(table.columns, [column for column in (text, label) if column is not None], table.name)
    notes = list(table.notes)
    first, second = _guessed(table, text, label)
    if text is None or label is None:
        notes.append(f"the text is column {first!r}, the tags are column {second!r}")
    gathered = _Gathered(table.name, first, second, notes, list(table.refused), table.lines is not None)
    gathered.read = len(table.refused)
    for i, (value, tags) in enumerate(zip(table.column(first), table.column(second))):
        gathered.add(plain(value), plain(tags), table.rows[i], None if table.lines is None else table.lines[i])
    return gathered.examples()


def tagged_from_lists(texts: Sequence[Any], tags: Sequence[Any]) -> TaggedExamples:
    """Tagged rows of two lists: words and a tag for each, or texts and their spans.

    Raises:
        DataError: a row that cannot be used, by its number.
    """
    for name, given in (("texts", texts), ("tags or spans", tags)):
        if isinstance(given, str | bytes) or not isinstance(given, Iterable):
            raise DataError(f"the {name} are a {type(given).__name__}; give a list with an entry for each text")
    texts, tags = list(texts), list(tags)
    if len(texts) != len(tags):
        raise DataError(f"there are {len(texts)} texts but {len(tags)} lists of tags or spans")
    if not texts:
        raise DataError("there are no texts")
    gathered = _Gathered("the data", "X", "y", [], [], has_lines=False)
    for row, (value, own) in enumerate(zip(texts, tags), 1):
        gathered.add(plain(value), plain(own), row, None)
    if gathered.refused:
        bad = gathered.refused[0]
        raise DataError(f"{len(gathered.refused)} rows cannot be used; X[{bad.row - 1}]: {bad.reason}")
    return gathered.examples()


def _from_columns(path: Path, text: str | None, label: str | None) -> TaggedExamples:
    found = read_columns(path, _number(path, text), _number(path, label))
    notes = list(found.notes)
    gathered = _Gathered(str(path), str(found.word), str(found.tag), notes, list(found.refused), has_lines=True)
    # Where a token may be a space, tokens are characters.
    characters = any(word.isspace() for words, _ in found.sentences for word in words)
    if characters:
        notes.append("the tokens are characters, so the rows are read as texts")
    for number, ((words, tags), line) in enumerate(zip(found.sentences, found.lines), 1):
        whole = characters and all(len(word) == 1 for word in words)
        gathered.add("".join(words) if whole else words, tags, number, line)
    gathered.read = found.read
    gathered.how = " as lines of a word and its tag"
    return gathered.examples()


def _number(path: Path, column: str | None) -> int | None:
    if column is None:
        return None
    try:
        return int(column)
    except ValueError:
        raise DataError(f"{path} is read as columns of tokens, which have numbers from 0; {column!r} is none") from None


def _guessed(table: Table, text: str | None, label: str | None) -> tuple[str, str]:
    """The columns of texts (or words) and of tags (or spans)."""
    lower = {name.casefold(): name for name in reversed(table.columns)}
    kinds = {name: _content(table, name) for name in table.columns}

    def first(names: Sequence[str], content: str) -> str | None:
        return next((lower[n] for n in names if n in lower and kinds[lower[n]] == content), None)

    if text is None and label is None:
        texts, spans = first(TEXT_NAMES, "text"), first(SPAN_NAMES, "spans")
        words, tags = first(WORD_NAMES, "words"), first(TAG_NAMES, "words")
        pair = (texts, spans) if texts and spans else (words, tags) if words and tags else (texts, tags)
        if pair[0] is not None and pair[1] is not None:
            return pair[0], pair[1]
    elif label is None:
        assert text is not None
        label = first(SPAN_NAMES, "spans") if kinds[text] == "text" else None
        label = label or next((lower[n] for n in TAG_NAMES if lower.get(n) not in (None, text)), None)
        if label is not None:
            return text, label
    elif text is None:
        text = first(TEXT_NAMES, "text") if kinds[label] == "spans" else first(WORD_NAMES, "words")
        text = text or first(TEXT_NAMES, "text")
        if text is not None:
            return text, label
    if text is not None and label is not None:
        return text, label
    listed = ", ".join(f"{name!r} ({kinds[name]})" for name in table.columns[:12])
    raise DataError(
        f"{table.name}: which columns hold words and tags, or texts and spans, cannot be told; name them. "
        f"It has {listed}"
    )


def _content(table: Table, column: str) -> str:
    """What a column holds: "text", "words" (a list of plain values), "spans", or "other"."""
    values = [plain(value) for value in table.frame[column].iloc[:_SAMPLE].tolist()]
    lists = [value for value in values if isinstance(value, list | tuple)]
    if not lists:
        return "text" if any(isinstance(value, str) for value in values) else "other"
    filled = [value[0] for value in lists if len(value)]
    if any(isinstance(entry, dict | list | tuple) for entry in filled):
        return "spans"
    return "words" if filled else "spans"


class _Gathered:
    """Rows one after another; what their tags mean is known only when all are there."""

    def __init__(
        self, name: str, text: str, label: str, notes: list[str], refused: list[Refused], has_lines: bool
    ) -> None:
        self.name, self.text, self.label, self.notes, self.refused = name, text, label, notes, refused
        self.read = 0
        self.places: list[tuple[int, int | None]] = []
        self.has_lines = has_lines
        self.given: list[tuple[Any, Any]] = []
        self.mended: list[str] = []
        self.how = ""

    def add(self, value: Any, tags: Any, row: int, line: int | None) -> None:
        """A row: words and tags, a text and a tag for each character, or a text and spans."""
        self.read += 1
        reason, made = self._row(value, tags, f"row {row}" if line is None else f"line {line}")
        if reason:
            self.refused.append(Refused(row, line, reason))
        else:
            self.given.append(made)
            self.places.append((row, line))

    def _row(self, value: Any, tags: Any, where: str) -> tuple[str, Any]:
        if value is None or tags is None:
            return ("the text is missing" if value is None else "the tags are missing"), None
        if not isinstance(tags, list | tuple):
            return f"the tags are a {type(tags).__name__}, not a list", None
        if isinstance(value, str):
            if not value.strip():
                return "the text is empty", None
            if tags and all(isinstance(tag, str) for tag in tags):
                if len(tags) != len(value):
                    return f"the text has {len(value)} characters but {len(tags)} tags", None
                return "", (value, [str(tag) for tag in tags])
            return self._spans(value, tags, where)
        if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
            return "the words are no list of strings", None
        if not value:
            return "there are no words", None
        if len(value) != len(tags):
            return f"there are {len(value)} words but {len(tags)} tags", None
        named = [plain(tag) for tag in tags]
        bad = next((tag for tag in named if not isinstance(tag, str | int) or isinstance(tag, bool) or tag == ""), None)
        if bad is not None or None in named:
            return f"{bad!r} is no tag", None
        return "", (list(value), [str(tag) for tag in named])

    def _spans(self, text: str, listed: Sequence[Any], where: str) -> tuple[str, Any]:
        found = []
        for entry in listed:
            span = _span(entry)
            if span is None:
                return f"{str(entry)[:60]} is no span; give [start, end, label] or start, end and label by name", None
            if not 0 <= span.start < span.end <= len(text):
                return f"the span {span.start} to {span.end} is not within the text's {len(text)} characters", None
            found.append(span)
        found.sort(key=lambda span: (span.start, span.end))
        for before, after in pairwise(found):
            if after.start < before.end:
                raise DataError(
                    f"{self.name}, {where}: the spans {before.start}-{before.end} {before.type!r} "
                    f"({text[before.start : before.end][:30]!r}) and {after.start}-{after.end} {after.type!r} "
                    f"({text[after.start : after.end][:30]!r}) overlap; a token has one tag, so leave one of them out"
                )
        return "", (text, found)

    def examples(self) -> TaggedExamples:
        """All rows as examples of one kind."""
        tagged = [tags for value, tags in self.given if tags and isinstance(tags[0], str)]
        scheme = _scheme_of(tagged, self.notes) if tagged else None
        made = []
        for number, (value, tags) in enumerate(self.given):
            row, line = self.places[number]
            reason, example = self._made(value, tags, scheme, f"row {row}" if line is None else f"line {line}")
            if reason:
                self.refused.append(Refused(row, line, reason))
            else:
                made.append((example, row, line))
        self.refused.sort(key=lambda bad: bad.row)
        if not made:
            why = f": {self.refused[0].where()}: {self.refused[0].reason}" if self.refused else ""
            raise DataError(f"{self.name}: none of its {self.read} rows can be used{self.how}{why}")
        split = [words is not None for (_, _, words, _), _, _ in made]
        if any(split) != all(split):
            raise DataError(f"{self.name}: some rows are words with tags and some texts with spans; give one kind")
        if self.mended:
            self.notes.append(f"{len(self.mended):,} tags break their scheme and were read as the beginning of an "
                              f"entity, the first: {self.mended[0]}")  # fmt: skip
        marked = scheme is None or scheme.kind != "plain"
        types = sorted({span.type for (_, spans, _, _), _, _ in made for span in spans})
        return TaggedExamples(
            [text for (text, _, _, _), _, _ in made],
            [spans for (_, spans, _, _), _, _ in made],
            [words for (_, _, words, _), _, _ in made] if split[0] else None,
            [tags for (_, _, _, tags), _, _ in made] if split[0] else None,
            bio_labels(types) if marked else tuple(types),
            marked,
            self.text,
            self.label,
            [row for _, row, _ in made],
            [line or 0 for _, _, line in made] if self.has_lines else None,
            self.read,
            self.refused,
            self.mended,
            self.notes,
            self.name,
        )

    def _made(self, value: Any, tags: Any, scheme: TagScheme | None, where: str) -> tuple[str, Any]:
        if isinstance(value, str) and not (tags and isinstance(tags[0], str)):
            return "", (value, tags, None, None)
        assert scheme is not None
        known = {label: number for number, label in enumerate(scheme.labels)}
        unknown = next((tag for tag in tags if tag not in known), None)
        if unknown is not None:
            return f"the tag {unknown!r} is neither O nor has it a mark like B- or I-", None
        path = [known[tag] for tag in tags]
        self._check(scheme, tags, path, where)
        stretches = scheme.stretches(path)
        if isinstance(value, str):
            return "", (value, [Entity(*stretch) for stretch in stretches], None, None)
        edges, at = [], 0
        for word in value:
            edges.append((at, at + len(word)))
            at += len(word) + 1
        spans = [Entity(type_, edges[first][0], edges[end - 1][1]) for type_, first, end in stretches]
        named = list(tags)
        if scheme.kind != "plain":
            named = [OUTSIDE] * len(value)
            for type_, first, end in stretches:
                named[first:end] = [f"B-{type_}", *[f"I-{type_}"] * (end - first - 1)]
        # A span of no characters, as an empty word would give, can be no entity.
        spans = [span for span in spans if span.end > span.start]
        return "", (" ".join(value), spans, list(value), named)

    def _check(self, scheme: TagScheme, tags: Sequence[str], path: Sequence[int], where: str) -> None:
        if scheme.kind in ("plain", "io", "iob1"):
            return
        begin, follow, _ = scheme.may("bioes" if scheme.kind == "bioes" else "bio")
        for i, number in enumerate(path):
            if not (begin[number] if i == 0 else follow[path[i - 1], number]):
                before = "at the beginning" if i == 0 else f"after {tags[i - 1]}"
                self.mended.append(f"{where}: {tags[i]} {before} (token {i + 1})")


def bio_labels(types: Iterable[str]) -> tuple[str, ...]:
    """The tags of these types of entities."""
    return (OUTSIDE, *(f"{mark}-{kind}" for kind in types for mark in "BI"))


def _scheme_of(tagged: Sequence[Sequence[str]], notes: list[str]) -> TagScheme:
    """The scheme of all tags; those without a mark beside many with one are left out of it."""
    counts = Counter(tag for tags in tagged for tag in tags)
    marked = [tag for tag in counts if tag != OUTSIDE and TagScheme.of([tag]).kind != "plain"]
    others = [tag for tag in counts if tag != OUTSIDE and tag not in marked]
    if len(marked) > len(others):
        scheme = TagScheme.of(sorted([*marked, OUTSIDE]))
    else:
        return TagScheme.of(sorted(counts))
    if scheme.kind is None:
        kind: Kind = "iob1" if _begins_with_i(tagged) else "bio"
        if kind == "iob1":
            notes.append("entities begin with I unless they follow another of their type: the tags are IOB1")
        scheme = replace(scheme, kind=kind)
    return scheme


def _begins_with_i(tagged: Sequence[Sequence[str]]) -> bool:
    """Whether more entities after an O begin with I than with B."""
    begins = Counter(
        after[:1] for tags in tagged for before, after in zip([OUTSIDE, *tags], tags) if before == OUTSIDE != after
    )
    return begins["I"] > begins["B"]


def _span(entry: Any) -> Entity | None:
    if isinstance(entry, dict):
        values = [next((entry[n] for n in names if entry.get(n) is not None), None) for names in (_START, _END, _LABEL)]
    elif isinstance(entry, list | tuple) and len(entry) == 3:
        values = list(entry)
        if isinstance(values[0], str) and not isinstance(values[2], str):
            values = [values[1], values[2], values[0]]
    else:
        return None
    start, end, kind = (plain(value) for value in values)
    if isinstance(kind, list | tuple) and len(kind) == 1:
        kind = kind[0]
    numbers = all(isinstance(value, int) and not isinstance(value, bool) for value in (start, end))
    if not numbers or not isinstance(kind, str) or not kind:
        return None
    return Entity(kind, start, end)


def split_tagged(examples: TaggedExamples, fraction: float, seed: int) -> tuple[TaggedExamples, TaggedExamples]:
    """Holds a share of the rows out, the same ones for the same data and seed; equal texts stay on one side.

    Raises:
        DataError: there are not two different texts.
    """
    import numpy as np

    groups: dict[str, list[int]] = {}
    for i, text in enumerate(examples.texts):
        groups.setdefault(" ".join(text.casefold().split()), []).append(i)
    listed = list(groups.values())
    if len(listed) < 2:
        raise DataError(f"{examples.name}: no rows can be held out, since there are not two different texts")
    wanted = max(1, round(fraction * len(examples)))
    held: set[int] = set()
    for chosen in np.random.default_rng([seed, 1]).permutation(len(listed))[:-1]:
        if len(held) >= wanted:
            break
        held.update(listed[chosen])
    kept = [i for i in range(len(examples)) if i not in held]
    return examples.select(kept), examples.select(sorted(held))
