"""`README.md` of a model: the model card with its YAML header, readable on the hub and honest about its limits.

Names, labels and file names come from strangers: in the header they are double-quoted scalars, in the body
every character that Markdown or HTML could act on becomes a character reference.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moduformer.report.files import write_text_atomically
from moduformer.report.results import Results
from moduformer.report.wording import clean, duration, in_language, number, percent, quantity, size

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
MOST_CLASSES = 100


def write_card(results: Results, path: str | Path) -> Path:
    """Write the model card of a run.

    Args:
        results: what the run knows.
        path: the file, or the model's folder, which gets `README.md`.

    Returns:
        The file written.

    Raises:
        DataError: the file cannot be written.
    """
    path = Path(path)
    return write_text_atomically(path / "README.md" if path.is_dir() else path, render_card(results))


def render_card(results: Results) -> str:
    """The model card as Markdown; equal results give equal cards."""
    sections = [
        f"# {markdown(results.model.name)}",
        _opening(results),
        *_section("Results", _metrics(results)),
        *_section("Use", _use(results)),
        *_section("Data", _data(results)),
        *_section("Training", _training(results)),
        *_section("Limits", _limits(results)),
    ]
    return front_matter(header(results)) + "\n\n".join(s for s in sections if s) + "\n"


def front_matter(data: Mapping[str, Any]) -> str:
    """Plain data as the YAML header of a card: mappings with the program's own keys, lists, strings and numbers."""
    return f"---\n{_yaml(data)}---\n\n"


def header(results: Results) -> dict[str, Any]:
    """The YAML header as plain data, in the hub's model card format.

    Values that the hub would refuse (a base model that is a folder, a licence that is a sentence) are left out.
    """
    model, metrics = results.model, results.metrics
    made: dict[str, Any] = {}
    if languages := [code for code in model.languages if _LANGUAGE.fullmatch(code)]:
        made["language"] = languages
    if model.license and _LICENSE.fullmatch(model.license):
        made["license"] = model.license.lower()
    made["library_name"] = "moduformer"
    made["pipeline_tag"] = "text-classification"
    if model.base and _HUB_ID.fullmatch(model.base):
        made["base_model"] = model.base
    if _HUB_ID.fullmatch(results.data.name):
        made["datasets"] = [results.data.name]
    made["metrics"] = ["accuracy", "f1"]
    made["tags"] = ["moduformer", "text-classification", "transformers", _one_line(results.recipe.name)]
    scores = [("accuracy", "Accuracy", metrics.accuracy), ("f1", "Macro F1", metrics.macro_f1)]
    data = _one_line(results.data.name)
    result = {
        "task": {"type": "text-classification", "name": "Text classification"},
        "dataset": {"type": data if _HUB_ID.fullmatch(data) else "custom", "name": data, "split": "held-out"},
        "metrics": [
            {"type": kind, "name": name, "value": round(value, 6)} for kind, name, value in scores if value is not None
        ],
    }
    made["model-index"] = [{"name": _one_line(model.name), "results": [result]}]
    return made


def markdown(text: object) -> str:
    """Text that Markdown and HTML show as it is, on one line, wherever it stands.

    Every ASCII punctuation that can start markup, a link or a mention becomes a character reference, which by
    CommonMark 0.31 (section 2.5) never has structural meaning.
    """
    line = _one_line(text)
    shown = "".join(f"&#{ord(c)};" if c in '\\`*_{}[]<>()#+!|~&:$@=^"' else c for c in line)
    # "1." and "-" begin a list only at the start of a line, "www." a link only at the start of a word.
    shown = re.sub(r"^-", "&#45;", re.sub(r"^(\d+)\.(?=\s|$)", r"\1&#46;", shown))
    return re.sub(r"(?i)\bwww\.", lambda m: m[0][:3] + "&#46;", shown)


def fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks inside it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{clean(text)}\n{fence}"


def quoted(text: object) -> str:
    """A YAML double-quoted scalar that every YAML 1.1 and 1.2 reader gives back as it was (cleaned of controls)."""
    made = []
    for character in clean(text):
        code = ord(character)
        if character in '"\\':
            made.append("\\" + character)
        elif character == " " or (character.isprintable() and unicodedata.category(character) != "Zs"):
            made.append(character)
        elif code < 0x100:
            made.append(f"\\x{code:02x}")
        else:
            made.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return '"' + "".join(made) + '"'


def _yaml(value: Any, indent: int = 0) -> str:
    """Block-style YAML of dicts with the program's own keys, lists, strings and numbers."""
    pad = " " * indent
    if isinstance(value, Mapping):
        return "".join(_yaml_entry(f"{pad}{key}:", item, indent) for key, item in value.items())
    made = ""
    for item in value:
        if isinstance(item, Mapping):
            made += f"{pad}- {_yaml(item, indent + 2).lstrip()}"
        else:
            made += f"{pad}- {_yaml_scalar(item)}\n"
    return made


def _yaml_entry(head: str, item: Any, indent: int) -> str:
    if isinstance(item, Mapping):
        return f"{head}\n{_yaml(item, indent + 2)}"
    if isinstance(item, list):
        return f"{head}\n{_yaml(item, indent)}"
    return f"{head} {_yaml_scalar(item)}\n"


def _yaml_scalar(value: Any) -> str:
    return f"{value:.6f}" if isinstance(value, float) else quoted(value)


def _one_line(text: object) -> str:
    return " ".join(clean(text).split())


def _opening(results: Results) -> str:
    model, metrics = results.model, results.metrics
    start = f"**{markdown(model.base)}**" if model.base else "a Transformer"
    labels = [c.label for c in results.data.classes] or list(metrics.labels)
    shown = ", ".join(f"**{markdown(label)}**" for label in labels[:12])
    more = f" and {number(len(labels) - 12)} more" if len(labels) > 12 else ""
    classes = f" Its classes ({number(len(labels))}): {shown}{more}." if labels else ""
    return (
        f"A text classifier, fine-tuned from {start} on {markdown(results.data.name)} with the "
        f"**{markdown(results.recipe.name)}** recipe of moduformer.{classes}"
    )


def _metrics(results: Results) -> list[str]:
    metrics = results.metrics
    interval = metrics.interval()
    level = percent(metrics.interval_level, 0)
    between = f"{percent(interval[0])} to {percent(interval[1])}" if interval else ""
    f1_interval = metrics.macro_f1_interval
    rows = [["Accuracy", percent(metrics.accuracy), between]]
    if metrics.macro_f1 is not None:
        both = f"{percent(f1_interval[0])} to {percent(f1_interval[1])}" if f1_interval else ""
        rows.append(["Macro F1", percent(metrics.macro_f1), both])
    if metrics.weighted_f1 is not None:
        rows.append(["Weighted F1", percent(metrics.weighted_f1), ""])
    if metrics.calibration_error is not None:
        rows.append(["Expected calibration error", percent(metrics.calibration_error), ""])
    if metrics.baseline_accuracy is not None:
        name = markdown(metrics.baseline_name or "baseline")
        rows.append([f"For comparison: accuracy of {name}", percent(metrics.baseline_accuracy), ""])
    source = f" ({markdown(results.data.heldout_from)})" if results.data.heldout_from else ""
    parts = [
        f"Measured on {number(metrics.rows)} held-out texts{source}.",
        _table(["Metric", "Value", f"{level} interval"], rows, "lrr"),
    ]
    if metrics.per_class:
        table = [
            [markdown(c.label), percent(c.precision), percent(c.recall), percent(c.f1), number(c.support)]
            for c in metrics.per_class[:MOST_CLASSES]
        ]
        parts.append(_table(["Class", "Precision", "Recall", "F1", "Texts"], table, "lrrrr"))
    if results.comparison:
        table = [
            [
                markdown(c.name) + (" (this model)" if c.chosen else ""),
                percent(c.accuracy),
                percent(c.macro_f1),
                in_language(duration(c.seconds), "en"),
            ]
            for c in results.comparison
        ]
        parts.append("Recipes compared on the same split:")
        parts.append(_table(["Recipe", "Accuracy", "Macro F1", "Time"], table, "lrrr"))
    return parts


def _use(results: Results) -> list[str]:
    return [
        "With moduformer, in the folder that holds this model:",
        fenced('moduformer predict . "Write your own text here."', "sh"),
        fenced(
            "import moduformer as mf\n\n"
            'classifier = mf.TextClassifier.load(".")\n'
            'classifier.predict(["Write your own text here."])',
            "python",
        ),
        "With transformers:",
        fenced(
            "from transformers import pipeline\n\n"
            'classifier = pipeline("text-classification", model=".")\n'
            'classifier("Write your own text here.")',
            "python",
        ),
    ]


def _data(results: Results) -> list[str]:
    data = results.data
    reasons = "; ".join(f"{markdown(reason)}: {number(n)}" for reason, n in data.refused_reasons.items())
    rows = [
        ["Source", markdown(data.name)],
        ["Texts trained on", number(data.rows_used)],
        ["Texts held out", number(data.rows_heldout)],
        ["Rows refused", f"{number(data.rows_refused)}{f' ({reasons})' if reasons else ''}"],
    ]
    if data.text_column or data.label_column:
        names = [markdown(c) for c in (data.text_column, data.label_column) if c]
        rows.append(["Columns", ", ".join(names)])
    if data.tokens is not None:
        rows.append(["Tokens", number(data.tokens)])
    if data.truncated_fraction is not None:
        limit = f" at {number(data.max_tokens)} tokens" if data.max_tokens else ""
        rows.append([f"Texts cut{limit}", percent(data.truncated_fraction)])
    if data.duplicates is not None:
        rows.append(["Duplicate texts", number(data.duplicates)])
    if data.duplicates_across is not None:
        rows.append(["Held-out texts also trained on", number(data.duplicates_across)])
    if data.license:
        rows.append(["Licence of the data", markdown(data.license)])
    parts = [_table(["", ""], rows, "ll")]
    if data.classes:
        counts = [[markdown(c.label), number(c.train), number(c.heldout)] for c in data.classes[:MOST_CLASSES]]
        parts.append(_table(["Class", "Trained on", "Held out"], counts, "lrr"))
    return parts


def _training(results: Results) -> list[str]:
    model, cost = results.model, results.cost
    parts = []
    if results.command:
        parts += ["This command makes the model again:", fenced(results.command, "sh")]
    facts = []
    if model.parameters:
        facts.append(f"{quantity(model.parameters)} parameters")
    if cost.seconds is not None:
        facts.append(in_language(duration(cost.seconds), "en"))
    if cost.device:
        facts.append(markdown(cost.device))
    if cost.threads is not None:
        facts.append(f"{number(cost.threads)} threads")
    if cost.peak_memory is not None:
        facts.append(f"peak memory {size(cost.peak_memory)}")
    if facts:
        parts.append(", ".join(facts) + ".")
    settings = [[markdown(k), markdown(_setting(v))] for k, v in results.recipe.settings.items()]
    settings += [[f"seed: {markdown(k)}", str(v)] for k, v in results.seeds.items()]
    if settings:
        parts.append(_table(["Setting", "Value"], settings, "ll"))
    if results.versions:
        versions = ", ".join(f"{markdown(k)} {markdown(v)}" for k, v in results.versions.items())
        parts.append(f"Versions: {versions}.")
    return parts


def _limits(results: Results) -> list[str]:
    """What the numbers do not promise; each line follows from the results or holds for every classifier."""
    data, metrics = results.data, results.metrics
    lines = [
        "The figures hold for texts like the held-out ones. On texts of another kind, time or language they can "
        "be much lower: measure on your own before relying on it.",
        "It always answers with one of its classes, even for a text that belongs to none of them.",
        "It repeats the mistakes and the prejudice of the labels it learned from.",
    ]
    weak = sorted((c for c in metrics.per_class if c.support), key=lambda c: c.f1)
    if len(weak) > 1:
        lines.append(
            f"The weakest class is {markdown(weak[0].label)}: F1 {percent(weak[0].f1)} on "
            f"{number(weak[0].support)} texts."
        )
    if few := [c for c in metrics.per_class if c.support < 30]:
        classes = "class has" if len(few) == 1 else "classes have"
        lines.append(f"{number(len(few))} {classes} fewer than 30 held-out texts; their figures are uncertain.")
    if metrics.calibration_error is not None and metrics.calibration_error > 0.05:
        lines.append(
            f"Its probabilities are off by {percent(metrics.calibration_error)} on average; do not read them as "
            "chances."
        )
    if data.duplicates_across:
        lines.append(
            f"{number(data.duplicates_across)} held-out texts also stand in the training data, so the figures are "
            "somewhat too good."
        )
    if data.truncated_fraction:
        lines.append(f"{percent(data.truncated_fraction)} of the texts were cut before training.")
    if len(results.seeds) <= 1:
        lines.append("One run with one seed; another seed gives slightly different figures.")
    return ["\n".join(f"- {line}" for line in lines)]


def _setting(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(_setting(v) for v in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _section(title: str, parts: list[str]) -> list[str]:
    return [f"## {title}", *parts] if parts else []


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> str:
    rule = ["---:" if side == "r" else "---" for side in align]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))
