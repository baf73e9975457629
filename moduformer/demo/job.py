"""The main job: fetch a pretrained Transformer and rated sentences, fine-tune, compare, measure the shift, report."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moduformer.atomic import write_text
from moduformer.demo.lexicon import Lexicon
from moduformer.demo.rated import POSITIVE, RatedText, clear_polarity, draw, read_rated, without, write_csv
from moduformer.errors import DataError, TrainingError
from moduformer.report.results import Contender, Results, wilson_interval

if TYPE_CHECKING:
    from moduformer.tasks.classification_run import RunSettings
    from moduformer.tasks.text_classifier import TextClassifier
    from moduformer.train.callbacks import Callback

MODEL = "minilm"
DATA_SET = "hutto-gilbert"
DOMAINS = {
    "movies": "movieReviewSnippets_GroundTruth.txt",
    "products": "amazonReviewSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
    "editorials": "nytEditorialSnippets_GroundTruth.txt",
}
TRAINED_ON = "movies"
"""The largest table, and the one whose words give its side away least, so a list of words does worst there."""

CHOSEN = "plain"
"""The recipe of the report page: the default of the library, fixed before any result was seen."""

LEXICON = "lexicon"
SENTENCES_FILE = "sentences.txt"
MOST_SENTENCES, LARGEST_SENTENCES_FILE = 200, 2**18

SENTENCES = """\
# One sentence a line; lines that begin with # are passed over. Edit, save, and run the command again:
# what is trained already is not trained again, so the answers come in seconds.
The plot is thin, but the actors make every minute worth it.
Two hours of my life that I will never get back.
I expected nothing and was delighted.
The battery lasts a day, the screen scratches if you look at it.
Not bad at all.
The senator's plan would leave thousands without a doctor.
"""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How much of the data is used, and how long each recipe trains.

    With these values and two cores free, the job takes a few minutes.
    """

    train_rows: int = 3000
    test_rows: int = 800
    epochs: Mapping[str, int | None] = field(default_factory=lambda: {"features": None, "plain": 2, "ulmfit": 5})
    seed: int = 0


FAST = Plan(train_rows=160, test_rows=60, epochs={"features": None, "plain": 1, "ulmfit": 2})
"""Enough to see that everything works, and far too little to learn much."""


@dataclass(frozen=True)
class Prepared:
    """The rows of the job, as tables in files: one to train on, one a domain to measure with."""

    train: Path
    tests: dict[str, Path]
    rows: dict[str, list[RatedText]]
    refused: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What the chosen classifier says to a sentence, and how sure it is."""

    text: str
    label: str
    probability: float


@dataclass
class Demo:
    """What the job found: accuracies by contender and domain, seconds of training, answers, and where it all is."""

    folder: Path
    accuracy: dict[str, dict[str, float]]
    rows: dict[str, int]
    seconds: dict[str, float]
    answers: list[Answer]
    report: Path
    total_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe data, without folders of this machine."""
        return {
            "trained_on": TRAINED_ON,
            "rows": self.rows,
            "accuracy": self.accuracy,
            "training_seconds": self.seconds,
            "answers": [asdict(answer) for answer in self.answers],
            "total_seconds": self.total_seconds,
        }


def run(
    out: Path,
    fast: bool = False,
    *,
    say: Say = print,
    watchers: Callable[[], Iterable[Callback]] = tuple,
    plan: Plan | None = None,
) -> Demo:
    """Runs the job, or goes on with one that was interrupted; recipes that are trained already are only read.

    Args:
        out: the folder for everything it makes.
        fast: train on very little, to see that everything works.
        say: gets a line of news now and then.
        watchers: makes the callbacks that watch one training.
        plan: how much to do; overrides `fast`.

    Raises:
        SourceError: the model or the data can neither be found nor fetched.
        DataError: a data file cannot be used.
        TrainingError: `out` holds a job with other settings.
    """
    began = time.monotonic()
    plan = plan or (FAST if fast else Plan())
    _claim(out, plan)
    say(f"== 1/5  fetching {MODEL} and {DATA_SET}")
    data_folder = fetch(say)
    say("== 2/5  preparing the sentences")
    prepared = prepare(data_folder, out / "data", plan, say)
    lexicon = Lexicon.read(data_folder / "vader_lexicon.txt")
    accuracy = {LEXICON: {domain: _lexicon_accuracy(lexicon, rows) for domain, rows in prepared.rows.items()}}
    say(f"== 3/5  fine-tuning on {plan.train_rows:,} sentences from {TRAINED_ON}, once for each recipe")
    seconds: dict[str, float] = {}
    for number, (recipe, epochs) in enumerate(plan.epochs.items(), start=1):
        say(f"-- {recipe} ({number} of {len(plan.epochs)})")
        settings = _settings(prepared, recipe, epochs, plan)
        classifier, seconds[recipe] = _trained(settings, out / recipe, say, list(watchers()))
        accuracy[recipe] = {}
        for domain, path in prepared.tests.items():
            accuracy[recipe][domain] = _accuracy(classifier, path)
        say("   " + "  ".join(f"{domain} {value:.1%}" for domain, value in accuracy[recipe].items()))
        if recipe == CHOSEN:
            chosen = classifier
    say("== 4/5  your sentences")
    answers = ask(chosen, out / SENTENCES_FILE, say)
    say("== 5/5  writing the report")
    counts = {"train": plan.train_rows} | {domain: len(rows) for domain, rows in prepared.rows.items()}
    demo = Demo(out, accuracy, counts, seconds, answers, out / "report.html", 0.0)
    _write_report(demo, out, lexicon_rows=counts[TRAINED_ON])
    demo.total_seconds = round(time.monotonic() - began, 1)
    _write_json(out / "demo.json", demo.to_dict())
    return demo


# The model and the sentences -----------------------------------------------------------------------------------------


def fetch(say: Say) -> Path:
    """Finds or fetches the model and the data; returns the folder of the data."""
    from moduformer.sources import fetch_data, resolve

    located = resolve(MODEL, progress=_Fetching(MODEL, say))
    say(f"   {located.note}")
    folder = fetch_data(DATA_SET, progress=_Fetching(DATA_SET, say))
    say("   hutto-gilbert: four tables of sentences, each rated by about 20 people from -4 to 4 (MIT licence)")
    return folder


class _Fetching:
    """Says how far a download is, a few times a minute at most."""

    def __init__(self, name: str, say: Say, every: float = 5.0) -> None:
        self.name, self.say, self.every = name, say, every
        self.said = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now - self.said >= self.every:
            self.said = now
            share = f" of {total / 1e6:.0f} MB ({done / total:.0%})" if total else " MB"
            self.say(f"   {self.name}: {done / 1e6:.0f}{share}")


def prepare(source: Path, folder: Path, plan: Plan, say: Say) -> Prepared:
    """Reads the tables, keeps what is clearly positive or negative, draws rows, and writes them as CSV files.

    No text stands both among the rows to train on and among those of any domain to measure with.
    """
    rows: dict[str, list[RatedText]] = {}
    tests: dict[str, Path] = {}
    refused: list[str] = []
    notes: list[str] = []
    pool: list[RatedText] = []
    for domain, name in DOMAINS.items():
        table = read_rated(source / name)
        found = clear_polarity(table.rows)
        refused += table.refused
        rows[domain] = draw(found.rows, plan.test_rows, plan.seed)
        if domain == TRAINED_ON:
            pool = list(found.rows)
        share = sum(row.label == POSITIVE for row in rows[domain]) / max(1, len(rows[domain]))
        notes.append(
            f"{domain}: {len(table.rows):,} rated, {found.unclear:,} too near to 0, "
            f"{found.repeated + found.disputed:,} repeated or disputed; "
            f"{len(rows[domain]):,} held out, {share:.0%} of them positive"
        )
        say("   " + notes[-1])
    held_out = [row for drawn in rows.values() for row in drawn]
    train = draw(without(pool, held_out), plan.train_rows, plan.seed)
    for line in refused[:5]:
        say(f"   refused: {line}")
    if len(refused) > 5:
        say(f"   and {len(refused) - 5:,} rows more")
    for domain, drawn in rows.items():
        tests[domain] = write_csv(drawn, folder / f"{domain}.csv")
    return Prepared(write_csv(train, folder / "train.csv"), tests, rows, tuple(refused), tuple(notes))


def _lexicon_accuracy(lexicon: Lexicon, rows: Sequence[RatedText]) -> float:
    """As published: above 0 is positive. A text without any known word is not, so it counts as negative."""
    return sum((lexicon.score(row.text) > 0) == (row.label == POSITIVE) for row in rows) / len(rows)


# Training ------------------------------------------------------------------------------------------------------------


def _settings(prepared: Prepared, recipe: str, epochs: int | None, plan: Plan) -> RunSettings:
    from moduformer.tasks.classification_run import RunSettings

    return RunSettings(
        data=str(prepared.train),
        text="text",
        labels=("label",),
        evaluation=str(prepared.tests[TRAINED_ON]),
        model=MODEL,
        recipe=recipe,
        epochs=epochs,
        seed=plan.seed,
    )


def _trained(
    settings: RunSettings, folder: Path, say: Say, callbacks: Sequence[Callback]
) -> tuple[TextClassifier, float]:
    from moduformer.tasks.classification_run import train_run
    from moduformer.tasks.text_classifier import TextClassifier

    finished = folder / "results.json"
    if finished.is_file():
        say(f"   trained already ({folder}); delete the folder to train again")
        return TextClassifier.load(folder), Results.load(folder).cost.seconds or 0.0
    begun = folder.is_dir() and any(folder.iterdir())
    epochs = "" if settings.epochs is None else f" --epochs {settings.epochs}"
    command = (
        f"moduformer train {Path(settings.data).name} --text text --label label"
        f" --evaluation {Path(settings.evaluation or '').name}"
        f" --model {settings.model} --recipe {settings.recipe}{epochs} --seed {settings.seed}"
    )
    outcome = train_run(
        settings, folder, command=command, callbacks=callbacks, resume=begun, say=lambda line: say(f"   {line}")
    )
    if outcome is None:
        raise TrainingError(f"stopped on request; run the command again to go on with what is in {folder}")
    return outcome.classifier, outcome.seconds


def _accuracy(classifier: TextClassifier, path: Path) -> float:
    from moduformer.tasks.classification_run import evaluate_examples
    from moduformer.train.labelled_rows import read_examples

    examples = read_examples(path, "text", "label", classes=classifier.label_set_)
    return float(evaluate_examples(classifier, examples).to_dict()["accuracy"])


def ask(classifier: TextClassifier, path: Path, say: Say) -> list[Answer]:
    """The answers to the sentences of a file, which is written first where it is absent."""
    sentences = read_sentences(path)
    if not sentences:
        say(f"   {path} holds no sentence")
        return []
    scores = classifier.predict_proba(sentences)
    answers = []
    for text, label, row in zip(sentences, classifier.decide(scores), scores):
        answers.append(Answer(text, str(label), round(float(row.max()), 4)))
        say(f"   {answers[-1].label:>8} {answers[-1].probability:4.0%}  {text[:200]}")
    return answers


def read_sentences(path: Path) -> list[str]:
    """The sentences of an editable file, which is written first where it is absent.

    Raises:
        DataError: it is far too large, is not UTF-8, or holds too many sentences.
    """
    try:
        if not path.exists():
            write_text(path, SENTENCES)
        if path.stat().st_size > LARGEST_SENTENCES_FILE:
            raise DataError(
                f"{path} is larger than {LARGEST_SENTENCES_FILE >> 10} KiB; use `moduformer predict --file`"
            )
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read or written ({error.strerror})") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8; save it again in that encoding") from None
    lines = [line.strip() for line in text.splitlines()]
    sentences = [line for line in lines if line and not line.startswith("#")]
    if len(sentences) > MOST_SENTENCES:
        raise DataError(
            f"{path} holds {len(sentences):,} sentences; keep {MOST_SENTENCES}, or use `moduformer predict --file`"
        )
    return sentences


# The folder ----------------------------------------------------------------------------------------------------------


def _claim(out: Path, plan: Plan) -> None:
    """Marks a folder as this job's; one with other settings is not touched."""
    identity = {"model": MODEL, "data": DATA_SET, "train_rows": plan.train_rows, "test_rows": plan.test_rows}
    identity |= {"epochs": dict(plan.epochs), "seed": plan.seed}
    mark = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    place = out / ".demo"
    try:
        if place.is_file():
            if place.read_bytes()[:64].decode("ascii", "replace").strip() != mark:
                raise TrainingError(f"{out} holds a demo with other settings; delete it, or choose a folder with --out")
            return
        if out.is_dir() and any(path.name != SENTENCES_FILE for path in out.iterdir()):
            raise TrainingError(f"{out} is not empty and not a demo; choose another folder with --out")
        write_text(place, mark + "\n")
    except OSError as error:
        raise TrainingError(f"{out} cannot be written ({error.strerror}); choose another folder with --out") from None


def _write_report(demo: Demo, out: Path, lexicon_rows: int) -> None:
    """The page of the chosen recipe's run, with all contenders on it."""
    from moduformer.report.page import write_report

    results = Results.load(out / CHOSEN)
    contenders = [
        Contender(
            name=name,
            accuracy=scores[TRAINED_ON],
            seconds=demo.seconds.get(name),
            accuracy_interval=wilson_interval(scores[TRAINED_ON], lexicon_rows),
            chosen=name == CHOSEN,
            note="; ".join(f"{domain} {value:.1%}" for domain, value in scores.items() if domain != TRAINED_ON),
        )
        for name, scores in demo.accuracy.items()
    ]
    metrics = replace(
        results.metrics,
        baseline_accuracy=demo.accuracy[LEXICON][TRAINED_ON],
        baseline_name="a sentiment lexicon with five rules (Hutto & Gilbert 2014)",
    )
    shown = replace(results, comparison=tuple(contenders), metrics=metrics, command="moduformer demo")
    shown.save(out / "results.json")
    write_report(shown, demo.report)


def _write_json(path: Path, data: Any) -> None:
    try:
        write_text(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    except OSError as error:
        raise TrainingError(f"{path} cannot be written ({error.strerror})") from None
