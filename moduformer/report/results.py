"""What a finished run of text classification knows, as frozen data that becomes JSON and comes back.

`results.json` stands beside the model; the page, the card and the pictures are pure functions of it.
"""

import dataclasses
import json
import math
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

from moduformer.errors import DataError
from moduformer.report.files import write_text_atomically

VERSION = 1
FILE_NAME = "results.json"
LARGEST_FILE = 256 * 2**20

Scalar = str | int | float | bool | None
Setting = Scalar | tuple[Scalar, ...]


class Record:
    """A frozen dataclass that reads itself from plain data and refuses what does not fit, by name."""

    # What other writers call the same thing; only looked at when the name itself is absent.
    aliases: "types.MappingProxyType[str, tuple[str, ...]]" = types.MappingProxyType({})

    def to_dict(self) -> dict[str, Any]:
        """This record as dicts, lists and scalars that strict JSON can hold (NaN and infinity become null)."""
        return {
            item.name: _encode(getattr(self, item.name))
            for item in dataclasses.fields(self)  # type: ignore[arg-type]
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "results") -> Self:
        """Read a record; unknown keys are ignored so that older programs read newer files of the same version.

        Args:
            data: what `to_dict` returned, or JSON from anywhere.
            where: the place named in error messages.

        Raises:
            DataError: a required value is missing or a value has the wrong type; names the place.
        """
        if not isinstance(data, Mapping):
            raise DataError(f"{where}: an object is expected, found {type(data).__name__}.")
        hints = _hints(cls)  # type: ignore[arg-type]
        values: dict[str, Any] = {}
        for item in dataclasses.fields(cls):  # type: ignore[arg-type]
            name = next((n for n in (item.name, *cls.aliases.get(item.name, ())) if n in data), None)
            if name is not None:
                values[item.name] = _decode(hints[item.name], data[name], f"{where}.{name}")
            elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
                raise DataError(f"{where}: {item.name} is missing; write the results of the run again.")
        return cls(**values)


def _aliases(**names: tuple[str, ...]) -> "types.MappingProxyType[str, tuple[str, ...]]":
    return types.MappingProxyType(names)


@dataclass(frozen=True)
class ModelFacts(Record):
    """The model that was made: its name, what it started from, its size and its licence."""

    name: str
    base: str | None = None
    base_revision: str | None = None
    family: str | None = None
    parameters: int | None = None
    trained_parameters: int | None = None
    languages: tuple[str, ...] = ()
    license: str | None = None


@dataclass(frozen=True)
class Recipe(Record):
    """How it was trained: the recipe's name and every setting after defaults were filled in."""

    name: str
    settings: Mapping[str, Setting] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassCount(Record):
    """How many rows of one class were trained on and held out."""

    label: str
    train: int
    heldout: int = 0


@dataclass(frozen=True)
class DataFacts(Record):
    """The data: a file or data set name (never a folder of this machine), row counts, classes, lengths in tokens.

    `rows_used` counts the rows trained on, `rows_heldout` those kept for measuring. `truncated_fraction` is the
    share of rows cut at `max_tokens`, in 0..1; `duplicates_across` counts held-out rows whose text also stands
    in the training rows.
    """

    name: str
    rows_used: int
    rows_heldout: int
    rows_refused: int = 0
    refused_reasons: Mapping[str, int] = field(default_factory=dict)
    classes: tuple[ClassCount, ...] = ()
    text_column: str | None = None
    label_column: str | None = None
    tokens: int | None = None
    tokens_median: float | None = None
    tokens_longest: int | None = None
    max_tokens: int | None = None
    truncated_fraction: float | None = None
    duplicates: int | None = None
    duplicates_across: int | None = None
    heldout_from: str | None = None
    license: str | None = None


@dataclass(frozen=True)
class Step(Record):
    """One logged optimiser step; `learning_rates` has one rate a layer group, bottom first, 0 where it is frozen."""

    step: int
    epoch: float
    loss: float | None
    learning_rates: tuple[float, ...] = ()
    tokens_per_second: float | None = None

    aliases = _aliases(learning_rates=("lrs",))


@dataclass(frozen=True)
class Evaluation(Record):
    """The held-out metrics after an epoch, by name (`accuracy`, `macro_f1`, `loss`, ...)."""

    step: int
    epoch: float
    metrics: Mapping[str, float | None]


@dataclass(frozen=True)
class History(Record):
    """How training went; `groups` names the layer groups in the order of `Step.learning_rates`."""

    steps: tuple[Step, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    groups: tuple[str, ...] = ()
    best_epoch: float | None = None


@dataclass(frozen=True)
class ClassMetrics(Record):
    """Precision, recall and F1 of one class, in 0..1, and the held-out rows that carry it."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int

    aliases = _aliases(label=("name", "class"), f1=("f1_score", "f1-score"), support=("rows", "count"))


@dataclass(frozen=True)
class ReliabilityBin(Record):
    """The predictions whose confidence lies in (lower, upper]: how many, how sure, and how often right."""

    lower: float
    upper: float
    count: int
    confidence: float | None = None
    accuracy: float | None = None

    aliases = _aliases(
        lower=("low", "start"),
        upper=("high", "end"),
        count=("rows", "n"),
        confidence=("mean_confidence",),
        accuracy=("mean_accuracy",),
    )


@dataclass(frozen=True)
class Metrics(Record):
    """The final metrics on held-out rows. Rates lie in 0..1; `confusion[i][j]` counts class i predicted as class j."""

    accuracy: float
    rows: int
    labels: tuple[str, ...] = ()
    macro_f1: float | None = None
    weighted_f1: float | None = None
    accuracy_interval: tuple[float, ...] | None = None
    macro_f1_interval: tuple[float, ...] | None = None
    interval_level: float = 0.95
    per_class: tuple[ClassMetrics, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    calibration_error: float | None = None
    reliability: tuple[ReliabilityBin, ...] = ()
    loss: float | None = None
    baseline_accuracy: float | None = None
    baseline_name: str | None = None

    aliases = _aliases(
        rows=("n", "count", "support", "examples"),
        labels=("classes", "label_names"),
        macro_f1=("f1_macro",),
        weighted_f1=("f1_weighted",),
        accuracy_interval=("accuracy_ci", "accuracy_confidence_interval"),
        macro_f1_interval=("macro_f1_ci", "f1_macro_interval"),
        confusion=("confusion_matrix",),
        calibration_error=("ece", "expected_calibration_error"),
        reliability=("reliability_bins", "bins"),
    )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "metrics") -> Self:
        """Read metrics; a per-class table may be a list or an object keyed by label (see `Record.from_dict`)."""
        if isinstance(data, Mapping) and isinstance(table := data.get("per_class"), Mapping):
            rows = [{"label": k, **v} for k, v in table.items() if isinstance(v, Mapping)]
            data = {**data, "per_class": rows}
        if isinstance(data, Mapping) and not any(n in data for n in ("labels", *cls.aliases["labels"])):
            named = (ClassMetrics.from_dict(row, f"{where}.per_class") for row in data.get("per_class") or ())
            data = {**data, "labels": [row.label for row in named]}
        made = super().from_dict(data, where)
        for name in ("accuracy_interval", "macro_f1_interval"):
            interval = getattr(made, name)
            if interval is not None and len(interval) != 2:
                raise DataError(f"{where}.{name}: two numbers are expected, found {len(interval)}.")
        size = len(made.labels)
        if made.confusion and (len(made.confusion) != size or any(len(row) != size for row in made.confusion)):
            raise DataError(f"{where}.confusion: {size} labels need a table of {size} x {size} counts.")
        return made

    def interval(self) -> tuple[float, float] | None:
        """The confidence interval of the accuracy: the one measured, else Wilson's at 95 % (Wilson 1927)."""
        if self.accuracy_interval is not None:
            return self.accuracy_interval[0], self.accuracy_interval[1]
        return wilson_interval(self.accuracy, self.rows) if self.rows > 0 else None


@dataclass(frozen=True)
class Contender(Record):
    """One recipe of a comparison: its metrics and what it cost; `chosen` marks the one this report is about."""

    name: str
    accuracy: float
    seconds: float | None = None
    macro_f1: float | None = None
    accuracy_interval: tuple[float, ...] | None = None
    chosen: bool = False
    note: str | None = None


@dataclass(frozen=True)
class Prediction(Record):
    """One held-out row: its text, its class, the class the model chose and that class's probability."""

    text: str
    true: str
    predicted: str
    probability: float
    row: int | None = None


@dataclass(frozen=True)
class Window(Record):
    """One window over a long text: characters `start` to `end` and a probability for each of the model's labels."""

    start: int
    end: int
    scores: tuple[float, ...]


@dataclass(frozen=True)
class LongText(Record):
    """A text longer than the model reads at once; `deciding` is the window that settled the label, where one did."""

    text: str
    predicted: str
    probability: float
    labels: tuple[str, ...]
    windows: tuple[Window, ...]
    true: str | None = None
    merge: str = "mean"
    deciding: int | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class Cost(Record):
    """What the run took: wall-clock seconds, peak resident memory in bytes, and on what."""

    seconds: float | None = None
    peak_memory: int | None = None
    device: str | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Results(Record):
    """Everything a finished run knows. `command` reproduces it; `versions` maps a package to its version."""

    model: ModelFacts
    recipe: Recipe
    data: DataFacts
    metrics: Metrics
    history: History = field(default_factory=History)
    comparison: tuple[Contender, ...] = ()
    predictions: tuple[Prediction, ...] = ()
    long_texts: tuple[LongText, ...] = ()
    cost: Cost = field(default_factory=Cost)
    seeds: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """This run as plain data, with the version of its layout."""
        return {"version": VERSION, **super().to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "results") -> Self:
        """Read a run; raises DataError where a value is missing, of the wrong type, or from a newer layout."""
        version = data.get("version", VERSION) if isinstance(data, Mapping) else VERSION
        if version != VERSION:
            raise DataError(
                f"{where}: layout version {str(version)[:40]} is not version {VERSION}, which this program reads; "
                "use the moduformer that wrote it."
            )
        return super().from_dict(data, where)

    def save(self, path: str | Path) -> Path:
        """Write `results.json`, replacing an older one only when all of it is on disk.

        Args:
            path: a folder, which gets `results.json`, or the file itself.

        Returns:
            The file written.
        """
        text = json.dumps(self.to_dict(), ensure_ascii=True, allow_nan=False, indent=1)
        return write_text_atomically(_file(path), text + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read `results.json` from a folder, or the file itself.

        Raises:
            DataError: there is no such file, or it is not JSON of this layout; names the file.
        """
        file = _file(path)
        try:
            if file.stat().st_size > LARGEST_FILE:
                raise DataError(f"{file}: larger than {LARGEST_FILE >> 20} MiB, which no run writes.")
            data = json.loads(file.read_bytes())
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror}); train first, or name its folder.") from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file}: is not JSON ({type(error).__name__}); train again to write it anew.") from None
        return cls.from_dict(data, str(file))

    def errors(self) -> tuple[Prediction, ...]:
        """The held-out rows it got wrong, the most confident first (equal ones in their given order)."""
        wrong = [p for p in self.predictions if p.true != p.predicted]
        return tuple(sorted(wrong, key=lambda p: -p.probability))


def wilson_interval(rate: float, rows: int, z: float = 1.959964) -> tuple[float, float]:
    """The score interval of a proportion, which stays inside 0..1 (Wilson 1927).

    Args:
        rate: the proportion seen, in 0..1.
        rows: how many rows it was seen on, at least 1.
        z: the normal quantile; the default gives 95 %.
    """
    centre = (rate + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(max(rate * (1 - rate), 0.0) / rows + z * z / (4 * rows * rows))
    return max(0.0, centre - half), min(1.0, centre + half)


def reliability_bins(
    confidences: Iterable[float], correct: Iterable[bool], bins: int = 15
) -> tuple[ReliabilityBin, ...]:
    """Sort predictions into bins of equal width by confidence (Guo et al. 2017, figure 1).

    Args:
        confidences: the probability of each predicted class, in 0..1.
        correct: whether that class was right.
        bins: how many bins.
    """
    sure, right, counts = [0.0] * bins, [0] * bins, [0] * bins
    for confidence, hit in zip(confidences, correct, strict=True):
        place = min(max(math.ceil(float(confidence) * bins) - 1, 0), bins - 1)
        counts[place] += 1
        sure[place] += float(confidence)
        right[place] += bool(hit)
    return tuple(
        ReliabilityBin(
            lower=place / bins,
            upper=(place + 1) / bins,
            count=counts[place],
            confidence=sure[place] / counts[place] if counts[place] else None,
            accuracy=right[place] / counts[place] if counts[place] else None,
        )
        for place in range(bins)
    )


def _file(path: str | Path) -> Path:
    return Path(path) / FILE_NAME if Path(path).is_dir() else Path(path)


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _encode(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): _encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_encode(item) for item in value]
    if value is None or isinstance(value, bool | str):
        return value
    # numpy's integers and floats are numbers too; a path or a dtype among the settings is its text.
    if hasattr(value, "item") and not isinstance(value, int | float):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int) else str(value)


def _decode(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _decode_union(arguments, value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _unfit("a list", value, where)
        return tuple(_decode(arguments[0], item, f"{where}[{place}]") for place, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise _unfit("an object", value, where)
        return {str(key): _decode(arguments[1], item, f"{where}.{str(key)[:60]}") for key, item in value.items()}
    if isinstance(hint, type) and issubclass(hint, Record):
        return hint.from_dict(value, where)
    return _decode_scalar(hint, value, where)


def _decode_union(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in choices:
        return None
    fits = [c for c in choices if c is not type(None)]
    if len(fits) == 1:
        return _decode(fits[0], value, where)
    if isinstance(value, list | tuple):
        lists = [c for c in fits if get_origin(c) is tuple]
        if lists:
            return _decode(lists[0], value, where)
    elif isinstance(value, str | int | float) and type(value) in fits:
        return value if not isinstance(value, float) or math.isfinite(value) else None
    raise _unfit("a text, a number, true, false or a list of those", value, where)


def _decode_scalar(hint: type, value: Any, where: str) -> Any:
    if hasattr(value, "item") and not isinstance(value, int | float):
        value = value.item()
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and number:
        try:
            made = float(value)
        except OverflowError:
            raise _unfit("a number", value, where) from None
        if math.isfinite(made):
            return made
    elif hint is int and number and _is_whole(value) and abs(value) < 2**63:
        return int(value)
    elif hint in (str, bool) and isinstance(value, hint):
        return value
    names = {float: "a finite number", int: "a whole number", str: "a text", bool: "true or false"}
    raise _unfit(names[hint], value, where)


def _is_whole(value: int | float) -> bool:
    return isinstance(value, int) or (math.isfinite(value) and value == int(value))


def _unfit(expected: str, value: Any, where: str) -> DataError:
    shown = repr(value)[:60] if isinstance(value, str | float | bool | None) else type(value).__name__
    return DataError(f"{where}: {expected} is expected, found {shown}.")
