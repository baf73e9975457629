"""Questions with contexts and answers for training: SQuAD's nested JSON, and tables of any kind.

Nothing is dropped in silence: what cannot be used is in `refused`, what was corrected in `repaired`, and what was
guessed in `notes`. SQuAD: Rajpurkar et al. 2016 (arXiv:1606.05250), 2018 (arXiv:1806.03822); KorQuAD: Lim et al. 2019.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from moduformer.errors import DataError
from moduformer.train.encodings import sniff_encoding
from moduformer.train.gold_answers import GoldAnswer, answers_of, locate
from moduformer.train.json_rows import parse_json
from moduformer.train.tables import Table, plain, read_table, require_columns

QUESTION_NAMES = ("question", "questions", "question_text", "query", "질문")
CONTEXT_NAMES = ("context", "passage", "paragraph", "text", "document", "article", "지문", "본문", "문맥")
ANSWER_NAMES = ("answers", "answer", "answer_text", "정답", "답변", "답")
START_NAMES = ("answer_start", "answer_starts", "start")
ID_NAMES = ("id", "qid", "question_id", "guid")
GROUP_NAMES = ("title", "article_title", "doc_id", "document_id", "item_id", "제목")
IMPOSSIBLE_NAMES = ("is_impossible",)

_LARGEST_JSON = 2**30
_HEAD = 2**16


@dataclass(frozen=True)
class RefusedQuestion:
    """A question that is not used: where it stands, its id, and why."""

    place: str
    id: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}" if not self.id else f"{self.place}, question {self.id}: {self.reason}"


@dataclass
class Questions:
    """Questions, contexts and right answers. `rows_read == len(questions) + len(refused)`.

    Attributes:
        ids: unique names, as predictions are filed under.
        questions, contexts: texts.
        answers: of each question; none where the context does not answer it.
        groups: which article each question is of; a split keeps articles whole.
        places: where each question stands in its source.
        columns: the columns of a table, by what they hold; empty for nested JSON.
        rows_read: how many questions the source has; 0 for a part of other questions.
        refused: those that are not used.
        repaired: answers whose offset or text was corrected, and how.
        notes: what was guessed or noticed.
        name: the file, or "the data".
    """

    ids: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    contexts: list[str] = field(default_factory=list)
    answers: list[tuple[GoldAnswer, ...]] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    rows_read: int = 0
    refused: list[RefusedQuestion] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    name: str = "the data"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def unanswerable(self) -> int:
        """How many questions have no answer in their context."""
        return sum(not answers for answers in self.answers)

    @property
    def texts(self) -> list[list[str]]:
        """The texts of every question's right answers."""
        return [[answer.text for answer in answers] for answers in self.answers]

    def select(self, indices: Iterable[int]) -> Questions:
        """Some of the questions."""
        chosen = [int(i) for i in indices]
        own = ("ids", "questions", "contexts", "answers", "groups", "places")
        parts: dict[str, Any] = {name: [getattr(self, name)[i] for i in chosen] for name in own}
        return replace(self, **parts, rows_read=0, refused=[], repaired=[], notes=[])


def read_questions(
    source: Any,
    question: str | None = None,
    context: str | None = None,
    answer: str | None = None,
    *,
    located: bool = True,
    **reading: Any,
) -> Questions:
    """Questions of a file or of memory.

    Args:
        source: JSON in SQuAD's form (v1.1, v2.0, KorQuAD 1.0); a table as JSON Lines, JSON, Parquet, CSV or in memory
            whose answers are `{"text": [...], "answer_start": [...]}`, a list of objects, or plain texts (beside a
            column of offsets, or without one where the answer stands only once in its context).
        question, context, answer: columns of a table; None guesses them and says so in `notes`.
        located: refuse questions none of whose answers is found in the context, as training needs; for scoring the
            texts suffice.
        reading: see `read_table`.

    Raises:
        DataError: the file cannot be used, or none of its questions can; names the file and the first reason.
    """
    path = Path(source) if isinstance(source, (str, os.PathLike)) else None
    if path is not None and _is_nested(path):
        gathered = _Gathered(str(path), located)
        for place, row in _nested(path):
            gathered.add(place, row)
    else:
        gathered = _from_table(read_table(source, **reading), question, context, answer, located)
    return gathered.finished()


def asked_questions(
    source: Any, question: str | None = None, context: str | None = None, **reading: Any
) -> Iterator[tuple[str, Any, Any]]:
    """Id, question and context of every row of a file, for prediction; answers need not be there, and are not read.

    Arguments and errors are those of `read_questions`; a question or context that is missing is None.
    """
    path = Path(source) if isinstance(source, (str, os.PathLike)) else None
    if path is not None and _is_nested(path):
        for place, row in _nested(path):
            yield _name(row.get("id")) or place, row.get("question"), row.get("context")
        return
    table = read_table(source, **reading)
    require_columns(table.columns, [name for name in (question, context) if name is not None], table.name)
    names = _first(table, ID_NAMES)
    listed = [str(row) for row in table.rows] if names is None else list(map(_name, table.column(names)))
    asked = table.column(question or _guessed(table, "question", QUESTION_NAMES))
    yield from zip(listed, asked, table.column(context or _guessed(table, "context", CONTEXT_NAMES)))


def questions_from_lists(
    questions: Sequence[Any], contexts: Sequence[Any], answers: Sequence[Any], located: bool = True
) -> Questions:
    """Questions of three lists; an answer may be whatever `read_questions` takes, `located` is as there.

    Raises:
        DataError: the lengths differ, or a row that cannot be used, by its number.
    """
    if not len(questions) == len(contexts) == len(answers):
        raise DataError(f"there are {len(questions)} questions, {len(contexts)} contexts and {len(answers)} answers")
    gathered = _Gathered("the data", located)
    for i, (question, context, answer) in enumerate(zip(questions, contexts, answers)):
        gathered.add(f"row {i + 1}", {"question": question, "context": context, "answers": plain(answer)})
    found = gathered.finished()
    if found.refused:
        raise DataError(f"{len(found.refused)} rows cannot be used, the first: {found.refused[0]}")
    return found


def split_questions(data: Questions, fraction: float = 0.1, seed: int = 0) -> tuple[Questions, Questions]:
    """Holds whole articles out for evaluation: the same ones for the same data and seed.

    Args:
        data: what to split.
        fraction: the share of questions to hold out, about.
        seed: of the drawing.

    Returns:
        the questions to train on and those held out, each in their order. Where there is only one article its contexts
        are kept whole instead.

    Raises:
        DataError: the fraction is not between 0 and 1, or there is only one context.
    """
    import numpy as np

    if not isinstance(fraction, int | float) or not 0 < fraction < 1:
        raise DataError(f"the held-out fraction is above 0 and below 1, not {fraction!r}")
    names = data.groups if len(set(data.groups)) > 1 else data.contexts
    members: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        members.setdefault(name, []).append(i)
    if len(members) < 2:
        raise DataError(f"{data.name}: all {len(data)} questions have one context; give a file to evaluate on")
    wanted = max(1, round(fraction * len(data)))
    held: set[int] = set()
    groups = list(members.values())
    for number in np.random.default_rng(seed).permutation(len(groups)):
        group = groups[number]
        # A group larger than twice what is still wanted would miss the share by more than leaving it out does.
        if len(held) < wanted and len(group) <= 2 * (wanted - len(held)) and len(held) + len(group) < len(data):
            held.update(group)
    if not held:
        smallest: list[int] = min(groups, key=len)
        held.update(smallest)
    return data.select(i for i in range(len(data)) if i not in held), data.select(sorted(held))


class _Gathered:
    """Questions one after another, each used or refused."""

    def __init__(self, name: str, located: bool, notes: Sequence[str] = ()) -> None:
        self.found = Questions(name=name, notes=list(notes))
        self.located = located
        self.seen: dict[str, int] = {}

    def refuse(self, place: str, name: str, reason: str) -> None:
        self.found.rows_read += 1
        self.found.refused.append(RefusedQuestion(f"{Path(self.found.name).name} {place}", name, reason))

    def add(self, place: str, row: Mapping[str, Any]) -> None:
        """A question as a mapping with question, context, answers, and perhaps id, title and is_impossible."""
        name = _name(row.get("id"))
        for key in ("question", "context"):
            text = row.get(key)
            if not isinstance(text, str) or not text.strip():
                why = "missing" if text is None else "empty" if isinstance(text, str) else f"a {type(text).__name__}"
                return self.refuse(place, name, f"the {key} is {why}")
        given = answers_of(row.get("answers"), row.get("answer_start"))
        if isinstance(given, str):
            return self.refuse(place, name, given)
        if str(row.get("is_impossible")).lower() in ("true", "1", "1.0"):
            if any(text for text, _ in given):
                return self.refuse(place, name, "is_impossible is true, but there is an answer")
            given = []
        elif given and not any(text.strip() for text, _ in given):
            given = []
        answers, repairs, reasons = self._answers(row["context"], given)
        if given and not answers:
            return self.refuse(place, name, reasons[0])
        where = f"{Path(self.found.name).name} {place}" + (f", question {name}" if name else "")
        self.found.repaired += [f"{where}: {repair}" for repair in repairs]
        self.found.repaired += [f"{where}: left out of its answers: {reason}" for reason in reasons]
        name = name or str(len(self.found))
        self.found.rows_read += 1
        self.found.ids.append(self._unique(name))
        self.found.questions.append(row["question"])
        self.found.contexts.append(row["context"])
        self.found.answers.append(tuple(answers))
        self.found.groups.append(_name(row.get("title")) or row["context"])
        self.found.places.append(place)
        return None

    def _unique(self, name: str) -> str:
        self.seen[name] = count = self.seen.get(name, 0) + 1
        return name if count == 1 else self._unique(f"{name}#{count}")

    def _answers(
        self, context: str, given: list[tuple[str, int | None]]
    ) -> tuple[list[GoldAnswer], list[str], list[str]]:
        answers, repairs, reasons = [], [], []
        for text, start in given:
            what = locate(context, text, start)
            if what.answer is not None:
                answers.append(what.answer)
                if what.repair:
                    repairs.append(what.repair)
            elif not self.located and text.strip():
                answers.append(GoldAnswer(text))
            else:
                reasons.append(what.reason)
        return answers, repairs, reasons

    def finished(self) -> Questions:
        """All of them. Raises `DataError` where none can be used."""
        found = self.found
        if not len(found):
            why = f": {found.refused[0]}" if found.refused else ""
            raise DataError(f"{found.name}: none of its {found.rows_read} questions can be used{why}")
        repeated = sum(count > 1 for count in self.seen.values())
        if repeated:
            found.notes.append(
                f"{repeated:,} ids stand for several questions; the later ones are called ID#2, ID#3 ..."
            )
        if found.unanswerable:
            found.notes.append(f"{found.unanswerable:,} of {len(found):,} questions have no answer in their context")
        if found.repaired:
            found.notes.append(f"{len(found.repaired):,} answers were corrected, the first: {found.repaired[0]}")
        return found


# Nested JSON ---------------------------------------------------------------------------------------------------------


def _is_nested(path: Path) -> bool:
    """Whether a file is a JSON object with `data`, a list of articles with `paragraphs`."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    plain_head = head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    return (
        plain_head[:1] == b"{"
        and re.search(rb'"data"\s*:\s*\[', plain_head) is not None
        and (b'"paragraphs"' in plain_head or b'"qas"' in plain_head)
    )


def _nested(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise DataError(f"{path} is larger than {_LARGEST_JSON >> 30} GiB; split it, or write it as JSON Lines")
        value = parse_json(path.read_text(sniff_encoding(path).name))
    except (OSError, ValueError, LookupError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    articles = value.get("data") if isinstance(value, dict) else None
    if not isinstance(articles, list):
        raise DataError(f'{path}: "data" is no list of articles')
    for a, article in enumerate(articles, 1):
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        if not isinstance(paragraphs, list):
            raise DataError(f'{path}, article {a}: it has no list "paragraphs"')
        title = _name(article.get("title")) or f"article {a}"
        for p, paragraph in enumerate(paragraphs, 1):
            asked = paragraph.get("qas") if isinstance(paragraph, dict) else None
            if not isinstance(asked, list):
                raise DataError(f'{path}, article {a}, paragraph {p}: it has no list "qas"')
            for q, row in enumerate(asked, 1):
                place = f"article {a}, paragraph {p}, number {q}"
                if not isinstance(row, dict):
                    row = {}
                yield place, {**row, "context": paragraph.get("context"), "title": title}


# Tables --------------------------------------------------------------------------------------------------------------


def _from_table(
    table: Table, question: str | None, context: str | None, answer: str | None, located: bool
) -> _Gathered:
    if not len(table):
        raise DataError(f"{table.name}: there are no rows")
    require_columns(table.columns, [name for name in (question, context, answer) if name is not None], table.name)
    notes = list(table.notes)
    columns = {
        "question": question or _guessed(table, "question", QUESTION_NAMES),
        "context": context or _guessed(table, "context", CONTEXT_NAMES),
        "answers": answer or _guessed(table, "answers", ANSWER_NAMES),
    }
    if None in (question, context, answer):
        notes.append("the columns are " + ", ".join(f"{name!r} for the {what}" for what, name in columns.items()))
    optional = (
        ("answer_start", START_NAMES),
        ("id", ID_NAMES),
        ("title", GROUP_NAMES),
        ("is_impossible", IMPOSSIBLE_NAMES),
    )
    for what, names in optional:
        name = _first(table, [name for name in names if name not in columns.values()])
        if name is not None:
            columns[what] = name
    gathered = _Gathered(table.name, located, notes)
    for row in table.refused:
        gathered.refuse(row.where(), "", row.reason)
    values = [[plain(value) for value in table.column(name)] for name in columns.values()]
    for i, cells in enumerate(zip(*values)):
        gathered.add(table.where(i), dict(zip(columns, cells)))
    gathered.found.columns = columns
    return gathered


def _guessed(table: Table, what: str, names: Sequence[str]) -> str:
    found = _first(table, names)
    if found is None:
        shown = ", ".join(map(repr, table.columns[:20]))
        option = {"question": "--pair", "context": "--text", "answers": "--label"}[what]
        raise DataError(
            f"{table.name}: which column holds the {what} cannot be told; name it, with {option} on the command line. "
            f"It has {shown}"
        )
    return found


def _first(table: Table, names: Sequence[str]) -> str | None:
    lower = {column.casefold(): column for column in reversed(table.columns)}
    return next((lower[name] for name in names if name in lower), None)


def _name(value: Any) -> str:
    return "" if value is None or isinstance(value, dict | list) else str(value).strip()
