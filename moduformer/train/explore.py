"""Facts about labelled data before anything is trained on it: balance, lengths, duplicates, leaks, label noise.

Every finding names rows, so that it can be looked at; every suggestion says what it follows from.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moduformer.errors import DataError
from moduformer.metrics.results import finite
from moduformer.train.duplicates import duplicates, leaks
from moduformer.train.examples import Examples, label_variants, majority_accuracy

if TYPE_CHECKING:
    from rich.console import Console

IMBALANCE = 3.0
"""How many times larger than the smallest class the largest may be before class weights are suggested."""

FEW = 8
"""Examples below which a class is named as hardly learnable."""

_LISTED = 20
_TOKEN_CHUNK = 1000
_SHOWN = 90

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_MOJIBAKE = re.compile(r"[ÃÂ][\x80-\xbf]|â€|[ìíëê][\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]")
_JAMO = re.compile("[\u1100-\u11ff]")
_TAG = re.compile(r"</?(?:p|br|div|span|a|b|i|td|tr|table|img|font|html|body|script)\b[^>]*>", re.IGNORECASE)
_ADDRESS = re.compile(r"^\s*(?:https?://|www\.)\S+\s*$", re.IGNORECASE)
_REPEATED = re.compile(r"(.)\1{49}", re.DOTALL)


@dataclass(frozen=True)
class ClassBalance:
    """How often a class appears."""

    name: str
    count: int
    share: float
    mean_characters: float


@dataclass(frozen=True)
class Lengths:
    """Lengths of texts: mean, median, 95th and 99th percentile (the nearest text's length) and extremes."""

    unit: str
    mean: float
    median: int
    p95: int
    p99: int
    shortest: int
    longest: int


@dataclass(frozen=True)
class Finding:
    """Rows that deserve a look.

    Attributes:
        reason: what is the matter.
        text: the text of the first of them, shortened.
        count: how many rows.
        places: where they are, at most 20: "line 7".
        labels: their labels with their counts, where those matter.
    """

    reason: str
    text: str
    count: int
    places: list[str]
    labels: list[str] = field(default_factory=list)


@dataclass
class Exploration:
    """What `explore` found. Lists are cut to 20 findings; the counts beside them are complete.

    Attributes:
        name: the file or data set.
        examples, refused_rows: rows used and not used.
        refused: the rows not used.
        columns: which columns were text, pair and label.
        classes: the balance, most frequent first.
        imbalance: the largest class by the smallest that has examples.
        majority_accuracy: the accuracy of always answering the most frequent class.
        labels_per_example: the mean number of labels when multi-label; None otherwise.
        characters, tokens: lengths; tokens None without a tokenizer.
        max_length, truncated, truncated_share: the limit in tokens and how many texts are longer; None without one.
        duplicate_rows: rows whose text appeared before; `duplicates` lists groups.
        conflict_rows: rows in groups of (nearly) the same text with different labels; `conflicts` lists groups.
        leaked_rows: evaluation rows whose text is in training; None without evaluation data; `leaks` lists them.
        unseen_labels: evaluation labels without training rows.
        label_variants: labels that differ in spaces, case or Unicode form only.
        suspicious: rows that look damaged.
        suspicious_counts: how many rows for each reason.
        suggestions: what to do about it.
        notes: what was guessed while reading.
    """

    name: str
    examples: int
    refused_rows: int
    refused: list[dict[str, Any]]
    columns: dict[str, Any]
    classes: list[ClassBalance]
    imbalance: float
    majority_accuracy: float
    labels_per_example: float | None
    characters: Lengths
    tokens: Lengths | None = None
    max_length: int | None = None
    truncated: int | None = None
    truncated_share: float | None = None
    duplicate_rows: int = 0
    duplicates: list[Finding] = field(default_factory=list)
    conflict_rows: int = 0
    conflicts: list[Finding] = field(default_factory=list)
    leaked_rows: int | None = None
    leaks: list[Finding] = field(default_factory=list)
    unseen_labels: list[str] = field(default_factory=list)
    label_variants: list[list[str]] = field(default_factory=list)
    suspicious: list[Finding] = field(default_factory=list)
    suspicious_counts: dict[str, int] = field(default_factory=dict)
    suggestions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: Python numbers, None in place of NaN."""
        return finite(asdict(self))


def near_key(text: str) -> str:
    """What nearly identical texts share: letters and digits only, NFKC, case folded; the text if it has none."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(filter(str.isalnum, folded)) or text


def _lengths(values: Sequence[int], unit: str) -> Lengths:
    import numpy as np

    array = np.asarray(values)
    median, p95, p99 = (int(v) for v in np.quantile(array, [0.5, 0.95, 0.99], method="nearest"))
    return Lengths(unit, float(array.mean()), median, p95, p99, int(array.min()), int(array.max()))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


def _label_name(label: Any) -> str:
    return ", ".join(sorted(map(str, label))) if isinstance(label, tuple) else str(label)


def _places(examples: Examples, indices: Sequence[int], prefix: str = "") -> list[str]:
    return [prefix + examples.place(i) for i in indices[:_LISTED]]


def _suspicions(text: str, labels: frozenset[str]) -> list[str]:
    """What looks damaged about a text."""
    found = []
    if "\ufffd" in text:
        found.append("has replacement characters (�): it was decoded in the wrong encoding")
    elif not text.isascii() and _MOJIBAKE.search(text):
        found.append("looks like UTF-8 read in another encoding (mojibake)")
    if _CONTROL.search(text):
        found.append("has control characters")
    if not text.isascii() and _JAMO.search(text):
        found.append("has decomposed Hangul (NFD, as macOS file names have); normalise it to NFC")
    if not any(map(str.isalnum, text)):
        found.append("has no letter or digit")
    elif text.strip().casefold() in labels:
        found.append("is nothing but a label")
    if "<" in text and _TAG.search(text):
        found.append("has HTML tags")
    if _ADDRESS.match(text):
        found.append("is nothing but a web address")
    if len(text) >= 50 and _REPEATED.search(text):
        found.append("repeats one character 50 times or more")
    return found


def _suspicious_rows(examples: Examples) -> tuple[list[Finding], dict[str, int]]:
    names = frozenset(value.strip().casefold() for value in examples.classes.values if isinstance(value, str))
    rows: dict[str, list[int]] = {}
    for i, text in enumerate(examples.texts):
        for reason in _suspicions(text, names):
            rows.setdefault(reason, []).append(i)
    by_count = sorted(rows.items(), key=lambda item: (-len(item[1]), item[0]))
    findings = [
        Finding(reason, _short(examples.texts[at[0]]), len(at), _places(examples, at)) for reason, at in by_count
    ]
    return findings, {reason: len(at) for reason, at in by_count}


def _conflicts(examples: Examples) -> tuple[list[Finding], int]:
    groups: dict[tuple[str, str], list[int]] = {}
    for i, text in enumerate(examples.texts):
        second = "" if examples.pairs is None else near_key(examples.pairs[i])
        groups.setdefault((near_key(text), second), []).append(i)
    findings, rows = [], 0
    for group in groups.values():
        if len(group) < 2:
            continue
        labels = Counter(_label_name(examples.labels[i]) for i in group)
        if len(labels) > 1:
            rows += len(group)
            findings.append(
                Finding(
                    "the same text, different labels",
                    _short(examples.texts[group[0]]),
                    len(group),
                    _places(examples, group),
                    [f"{name} x{count}" for name, count in labels.most_common()],
                )
            )
    return findings[:_LISTED], rows


def _token_lengths(
    examples: Examples, count_tokens: Callable[[list[str]], Sequence[int]], texts: list[str]
) -> list[int]:
    counts: list[int] = []
    for start in range(0, len(texts), _TOKEN_CHUNK):
        chunk = texts[start : start + _TOKEN_CHUNK]
        found = [int(n) for n in count_tokens(chunk)]
        if len(found) != len(chunk):
            raise DataError(f"count_tokens gave {len(found)} numbers for {len(chunk)} texts of {examples.name}")
        counts.extend(found)
    return counts


def explore(
    examples: Examples,
    evaluation: Examples | None = None,
    count_tokens: Callable[[list[str]], Sequence[int]] | None = None,
    max_length: int | None = None,
) -> Exploration:
    """Look at labelled data before training.

    Args:
        examples: the training examples.
        evaluation: held-out examples, to find what leaked from one into the other.
        count_tokens: gives the number of tokens, special ones included, of each text of a list; for pairs it is
            called for the first and the second texts and the numbers are added.
        max_length: how many tokens the model will read; longer texts are counted as truncated.

    Returns:
        the facts, and suggestions that follow from them.

    Raises:
        DataError: there are no examples, or `count_tokens` gives another number of lengths than of texts.
    """
    if not len(examples):
        raise DataError(f"{examples.name}: there are no examples to look at")
    counts = examples.counts().tolist()
    present = [count for count in counts if count]
    characters = [len(text) for text in examples.texts]
    if examples.pairs is not None:
        characters = [n + len(second) for n, second in zip(characters, examples.pairs)]
    sums = [0] * len(counts)
    for n, label in zip(characters, examples.labels):
        for value in label if examples.multi_label else (label,):
            sums[examples.classes.index(value)] += n
    total = len(examples)
    balance = [
        ClassBalance(name, count, count / total, sums[i] / count if count else 0.0)
        for i, (name, count) in enumerate(zip(examples.classes.names, counts))
    ]
    repeated = duplicates(examples)
    conflicts, conflict_rows = _conflicts(examples)
    suspicious, suspicious_counts = _suspicious_rows(examples)
    result = Exploration(
        name=examples.name,
        examples=total,
        refused_rows=len(examples.refused),
        refused=[bad.to_dict() for bad in examples.refused[:_LISTED]],
        columns={
            "text": examples.text_column,
            "pair": examples.pair_column,
            "label": list(examples.label_columns),
        },
        classes=sorted(balance, key=lambda c: -c.count),
        imbalance=max(present) / min(present) if present else 1.0,
        majority_accuracy=majority_accuracy(examples),
        labels_per_example=sum(counts) / total if examples.multi_label else None,
        characters=_lengths(characters, "characters"),
        max_length=max_length,
        duplicate_rows=sum(len(group.indices) - 1 for group in repeated),
        duplicates=[
            Finding("the same text", _short(group.text), len(group.indices), _places(examples, group.indices))
            for group in repeated[:_LISTED]
        ],
        conflict_rows=conflict_rows,
        conflicts=conflicts,
        label_variants=[list(group) for group in label_variants(examples)],
        suspicious=suspicious,
        suspicious_counts=suspicious_counts,
        notes=list(examples.notes),
    )
    if count_tokens is not None:
        lengths = _token_lengths(examples, count_tokens, examples.texts)
        if examples.pairs is not None:
            seconds = _token_lengths(examples, count_tokens, examples.pairs)
            lengths = [first + second for first, second in zip(lengths, seconds)]
        result.tokens = _lengths(lengths, "tokens")
        if max_length is not None:
            result.truncated = sum(n > max_length for n in lengths)
            result.truncated_share = result.truncated / total
    if evaluation is not None:
        met = leaks(examples, evaluation)
        result.leaked_rows = sum(len(leak.evaluation_indices) for leak in met)
        result.leaks = [
            Finding(
                "in training and in evaluation",
                _short(leak.text),
                len(leak.evaluation_indices),
                _places(evaluation, leak.evaluation_indices, "evaluation ")
                + _places(examples, leak.train_indices, "training "),
            )
            for leak in met[:_LISTED]
        ]
        trained = [i for i, count in enumerate(counts) if count]
        unseen: dict[str, None] = {}
        for i, value in enumerate(evaluation.classes.values):
            if evaluation.counts()[i] and examples.classes.find(value) not in trained:
                unseen[str(value)] = None
        result.unseen_labels = list(unseen)
    result.suggestions = _suggestions(result, examples)
    return result


def _suggestions(found: Exploration, examples: Examples) -> list[str]:
    said = []
    with_rows = [c for c in found.classes if c.count]
    if found.refused_rows:
        said.append(f"{found.refused_rows} rows are not used; look at the first: {examples.refused[0].reason}")
    if not examples.multi_label and len(with_rows) < 2:
        said.append("there is only one class; a classifier needs two")
    elif found.imbalance > IMBALANCE:
        trivial = f"; always answering {found.classes[0].name!r} is right {found.majority_accuracy:.1%} of the time"
        said.append(
            f"the largest class has {found.imbalance:.1f} times the rows of the smallest: use class_weight='balanced' "
            f"and judge by macro F1{'' if examples.multi_label else trivial}"
        )
    few = [c.name for c in with_rows if c.count < FEW]
    if few:
        said.append(
            f"{len(few)} classes have fewer than {FEW} rows ({', '.join(few[:5])}{', ...' if len(few) > 5 else ''}): "
            "collect more, or join them with others"
        )
    if found.truncated:
        share = found.truncated_share or 0.0
        longest = found.tokens.longest if found.tokens else 0
        said.append(
            f"{found.truncated} texts ({share:.1%}) are longer than {found.max_length} tokens and would be cut: raise "
            f"max_length (the longest has {longest}) or read them in windows"
        )
    elif found.tokens and found.max_length and found.tokens.p99 * 2 <= found.max_length:
        said.append(f"99% of the texts have at most {found.tokens.p99} tokens: a smaller max_length costs nothing")
    if found.leaked_rows:
        said.append(
            f"{found.leaked_rows} evaluation rows are also in training: take them out, or the score is too good"
        )
    if found.unseen_labels:
        said.append(f"evaluation has labels training lacks: {', '.join(found.unseen_labels[:5])}")
    if found.conflict_rows:
        said.append(
            f"{found.conflict_rows} rows ({found.conflict_rows / found.examples:.1%}) have nearly the same text as "
            "others with another label: decide on one label"
        )
    if found.duplicate_rows:
        said.append(f"{found.duplicate_rows} rows repeat a text: split keeps them on one side; consider dropping them")
    for group in found.label_variants:
        said.append(f"the labels {', '.join(map(repr, group))} differ only in spaces, case or Unicode form: unite them")
    damaged = [reason for reason in found.suspicious_counts if "encoding" in reason or "Hangul" in reason]
    if damaged:
        said.append(f"{found.suspicious_counts[damaged[0]]} texts look damaged ({damaged[0]})")
    return said


def render(found: Exploration, console: "Console | None" = None) -> None:
    """Print an exploration as a readable report.

    Args:
        found: what `explore` returned.
        console: where to; None is standard output.
    """
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console = console or Console()

    def say(line: str, style: str = "") -> None:
        # Text, not markup: a data set may contain "[red]".
        console.print(Text(line, style=style))

    say(f"{Path(found.name).name}: {found.examples:,} examples, {len(found.classes)} classes", "bold")
    for note in found.notes:
        say(f"  {note}", "dim")
    grid = Grid("class", "rows", "share", "", "characters")
    for column in (1, 2, 4):
        grid.columns[column].justify = "right"
    top = max((c.share for c in found.classes), default=1.0) or 1.0
    for c in found.classes[:_LISTED]:
        bar = "█" * round(24 * c.share / top)
        grid.add_row(
            Text(c.name), f"{c.count:,}", f"{c.share:.1%}", Text(bar, style="cyan"), f"{c.mean_characters:,.0f}"
        )
    console.print(grid)
    if len(found.classes) > _LISTED:
        say(f"  and {len(found.classes) - _LISTED} smaller classes", "dim")
    lengths = Grid("length in", "mean", "median", "95%", "99%", "shortest", "longest")
    for measured in filter(None, (found.characters, found.tokens)):
        numbers = (measured.median, measured.p95, measured.p99, measured.shortest, measured.longest)
        lengths.add_row(measured.unit, f"{measured.mean:,.1f}", *(f"{n:,}" for n in numbers))
    for grid_column in lengths.columns[1:]:
        grid_column.justify = "right"
    console.print(lengths)
    if found.truncated is not None:
        say(f"  {found.truncated:,} texts ({found.truncated_share or 0:.1%}) exceed {found.max_length} tokens")

    def list_findings(title: str, findings: list[Finding]) -> None:
        if not findings:
            return
        say(title, "bold")
        for finding in findings[:5]:
            labels = f" [{' / '.join(finding.labels)}]" if finding.labels else ""
            more = f" and {finding.count - 3} more" if finding.count > 3 else ""
            say(f"  {finding.text}{labels}")
            say(f"    {finding.reason}: {', '.join(finding.places[:3])}{more}", "dim")

    if found.refused_rows:
        say(f"{found.refused_rows:,} rows not used", "bold")
        for bad in found.refused[:5]:
            place = f"row {bad['row']}" if bad["line"] is None else f"line {bad['line']}"
            say(f"  {place}: {bad['reason']}", "dim")
    list_findings(f"{found.duplicate_rows:,} rows repeat a text", found.duplicates)
    list_findings(f"{found.conflict_rows:,} rows in conflict", found.conflicts)
    list_findings(f"{found.leaked_rows or 0:,} evaluation rows are in training", found.leaks)
    list_findings(f"{sum(found.suspicious_counts.values()):,} suspicious findings", found.suspicious)
    if found.suggestions:
        say("What to do", "bold green")
        for suggestion in found.suggestions:
            say(f"  • {suggestion}")
