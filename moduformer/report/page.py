"""`report.html`: one self-contained page about a run, in English and Korean, loading nothing, running no foreign text.

Whatever comes from data or file names is escaped by Jinja's autoescaping or by `drawing.element`; the
Content-Security-Policy forbids every request and allows the page's own style and script by their hashes only.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from moduformer.report import charts
from moduformer.report.drawing import Drawing
from moduformer.report.files import write_text_atomically
from moduformer.report.results import LongText, Metrics, Results
from moduformer.report.wording import (
    LANGUAGES,
    Phrase,
    clean,
    duration,
    in_language,
    number,
    percent,
    phrase,
    quantity,
    size,
)

MOST_ERRORS = 100
MOST_LONG_TEXTS = 6
MOST_CONFUSIONS = 10
LONGEST_ERROR_TEXT = 400
LONGEST_WINDOWED_TEXT = 60_000
# Windows are coloured in steps, one class of the style sheet each, because style attributes are forbidden.
SHADES = 9


@dataclass(frozen=True)
class Piece:
    """A stretch of one window's text; `repeated` where the window before already showed it."""

    text: str
    repeated: bool


def write_report(results: Results, path: str | Path) -> Path:
    """Write the report page of a run.

    Args:
        results: what the run knows.
        path: the HTML file to make or replace.

    Returns:
        The file written.

    Raises:
        DataError: the file cannot be written.
    """
    return write_text_atomically(path, render_report(results))


def render_report(results: Results) -> str:
    """The report page of a run as HTML; equal results give equal pages."""
    style = _resource("charts.css") + _resource("page.css")
    script = _resource("page.js")
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Every value printed passes here, so that controls and lone surrogates never reach the file.
        finalize=lambda value: value if isinstance(value, Markup) else clean(value),
    )
    environment.globals.update(say=say, words=words, number=number, percent=percent)
    template = environment.from_string(_resource("page.html.jinja"))
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return template.render(
        results=results,
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        tiles=_tiles(results),
        findings=_findings(results),
        facts=_facts(results),
        figures=_figures(results),
        confusions=_confusions(results.metrics),
        drawn=len(charts.classes_drawn(results.metrics)),
        errors=results.errors()[:MOST_ERRORS],
        error_text=_error_text,
        long_texts=[_long_text(t) for t in results.long_texts[:MOST_LONG_TEXTS]],
        settings=[(key, _setting(value)) for key, value in results.recipe.settings.items()],
        contenders=[(c, duration(c.seconds)) for c in results.comparison],
    )


def say(key: str, **values: Phrase) -> Markup:
    """A text of the page in each language, of which the style sheet shows one."""
    return words(phrase(key, **values))


def words(text: Phrase) -> Markup:
    """A phrase as HTML: one element a language, or plain text where they are alike."""
    versions = {language: in_language(text, language) for language in LANGUAGES}
    if len(set(versions.values())) == 1:
        return escape(versions[LANGUAGES[0]])
    return Markup("").join(
        Markup('<span class="{0}" lang="{0}">{1}</span>').format(language, version)
        for language, version in versions.items()
    )


def _resource(name: str) -> str:
    return files("moduformer.report").joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _tiles(results: Results) -> list[tuple[Phrase, Phrase, Phrase]]:
    """The figures on top: name, value, what to know about it."""
    metrics, cost = results.metrics, results.cost
    tiles: list[tuple[Phrase, Phrase, Phrase]] = [
        (phrase("accuracy"), percent(metrics.accuracy), _interval(metrics.interval(), metrics))
    ]
    if metrics.macro_f1 is not None:
        given = metrics.macro_f1_interval
        note = _interval((given[0], given[1]), metrics) if given else _weighted(metrics)
        tiles.append((phrase("macro_f1"), percent(metrics.macro_f1), note))
    if metrics.calibration_error is not None:
        tiles.append((phrase("calibration_error"), percent(metrics.calibration_error), phrase("interval_note")))
    tiles.append((phrase("heldout_rows"), number(metrics.rows), _rows_note(results)))
    if cost.seconds is not None:
        speeds = [s.tokens_per_second for s in results.history.steps if s.tokens_per_second]
        typical = sorted(speeds)[len(speeds) // 2] if speeds else None
        note = phrase("tokens_per_second", n=number(typical)) if typical else ""
        tiles.append((phrase("time"), duration(cost.seconds), note))
    if cost.peak_memory is not None:
        tiles.append((phrase("memory"), size(cost.peak_memory), cost.device or ""))
    return tiles


def _interval(interval: tuple[float, float] | None, metrics: Metrics) -> Phrase:
    if interval is None:
        return ""
    low, high = interval
    return phrase("interval", level=percent(metrics.interval_level, 0), low=percent(low), high=percent(high))


def _weighted(metrics: Metrics) -> Phrase:
    if metrics.weighted_f1 is None:
        return ""
    return {k: f"{v} {percent(metrics.weighted_f1)}" for k, v in phrase("weighted_f1").items()}


def _rows_note(results: Results) -> Phrase:
    return {k: f"{v} {number(results.data.rows_used)}" for k, v in phrase("rows_used").items()}


def _findings(results: Results) -> list[Phrase]:
    """The result in sentences, each with what it must be compared with."""
    metrics = results.metrics
    right = f"{metrics.accuracy * 100:.0f}"
    if right == "100" and metrics.accuracy < 1:
        right = f"{metrics.accuracy * 100:.1f}"
    findings: list[Phrase] = [phrase("verdict", right=right)]
    if metrics.baseline_accuracy is not None:
        name = metrics.baseline_name or "–"
        findings.append(phrase("baseline_named", name=name, score=percent(metrics.baseline_accuracy)))
    majority = max(results.data.classes, key=lambda c: c.train, default=None)
    heldout = sum(c.heldout for c in results.data.classes)
    if majority is not None and heldout:
        score = percent(majority.heldout / heldout)
        findings.append(phrase("baseline_majority", label=_short(majority.label), score=score))
    tested = [c for c in metrics.per_class if c.support]
    if len(tested) > 1:
        weakest = min(tested, key=lambda c: c.f1)
        findings.append(
            phrase("weakest", label=_short(weakest.label), score=percent(weakest.f1), n=number(weakest.support))
        )
    counted = [
        (b.count, b.confidence, b.accuracy)
        for b in metrics.reliability
        if b.count and b.confidence is not None and b.accuracy is not None
    ]
    total = sum(count for count, _, _ in counted)
    if total:
        sure = sum(count * confidence for count, confidence, _ in counted) / total
        hit = sum(count * accuracy for count, _, accuracy in counted) / total
        key = "calibrated" if abs(sure - hit) <= 0.02 else "overconfident" if sure > hit else "underconfident"
        findings.append(phrase(key, confidence=percent(sure), accuracy=percent(hit)))
    return findings


def _facts(results: Results) -> dict[str, list[tuple[Phrase, Phrase]]]:
    """Name and value of everything known about the model, the data and the run; what is unknown is left out."""
    model, data, cost = results.model, results.data, results.cost
    columns = ", ".join(c for c in (data.text_column, data.label_column) if c)
    lengths = f"{number(data.tokens_median)}, {number(data.tokens_longest)}" if data.tokens_median else None
    reasons = ", ".join(f"{reason}: {number(n)}" for reason, n in data.refused_reasons.items())
    truncated = None if data.truncated_fraction is None else percent(data.truncated_fraction)
    limit = phrase("truncated", n=number(data.max_tokens)) if data.max_tokens else phrase("truncated_plain")
    about_model = [
        (phrase("base"), model.base),
        (phrase("recipe"), results.recipe.name),
        (phrase("family"), model.family),
        (phrase("parameters"), quantity(model.parameters) if model.parameters else None),
        (phrase("license"), model.license),
    ]
    about_data = [
        (phrase("source"), data.name),
        (phrase("columns"), columns or None),
        (phrase("rows_used"), number(data.rows_used)),
        (phrase("heldout_rows"), number(data.rows_heldout)),
        (phrase("heldout_from"), data.heldout_from),
        (phrase("rows_refused"), f"{number(data.rows_refused)}{f' ({reasons})' if reasons else ''}"),
        (phrase("classes"), number(len(data.classes)) if data.classes else None),
        (phrase("tokens"), number(data.tokens) if data.tokens is not None else None),
        (phrase("token_lengths"), lengths),
        (limit, truncated),
        (phrase("duplicates"), None if data.duplicates is None else number(data.duplicates)),
        (phrase("duplicates_across"), None if data.duplicates_across is None else number(data.duplicates_across)),
        (phrase("license"), data.license),
    ]
    about_run = [
        (phrase("device"), cost.device),
        (phrase("threads"), None if cost.threads is None else number(cost.threads)),
        (phrase("seeds"), ", ".join(f"{k} {v}" for k, v in results.seeds.items()) or None),
        (phrase("versions"), ", ".join(f"{k} {v}" for k, v in results.versions.items()) or None),
    ]
    kept: dict[str, list[tuple[Phrase, Phrase]]] = {}
    for name, rows in (("model", about_model), ("data", about_data), ("run", about_run)):
        kept[name] = [(key, value) for key, value in rows if value is not None]
    return kept


def _figures(results: Results) -> dict[str, Drawing]:
    """The charts that the results have something to say in."""
    history, metrics, comparison = results.history, results.metrics, results.comparison
    made: dict[str, Drawing] = {}
    if results.data.classes:
        made["class_balance"] = charts.class_balance(results.data.classes)
    if any(s.loss is not None for s in history.steps):
        made["loss_curve"] = charts.loss_curve(history)
    if any(v is not None for e in history.evaluations for v in e.metrics.values()):
        made["score_curve"] = charts.score_curve(history)
    if any(s.learning_rates for s in history.steps):
        made["schedule"] = charts.schedule(history)
    if metrics.confusion:
        made["confusion"] = charts.confusion_matrix(metrics)
    if any(b.count for b in metrics.reliability):
        made["reliability"] = charts.reliability(metrics)
    if comparison:
        made["comparison_accuracy"] = charts.recipe_accuracy(comparison)
        if any(c.seconds is not None for c in comparison):
            made["comparison_seconds"] = charts.recipe_seconds(comparison)
    return made


def _confusions(metrics: Metrics) -> list[tuple[str, str, int, float]]:
    """The most frequent mistakes: true class, predicted class, count, share of the true class."""
    pairs = [
        (metrics.labels[i], metrics.labels[j], count, count / sum(row))
        for i, row in enumerate(metrics.confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], -pair[3]))[:MOST_CONFUSIONS]


def _error_text(text: str) -> tuple[str, int]:
    """The beginning of a text and how many characters follow it."""
    return text[:LONGEST_ERROR_TEXT], max(0, len(text) - LONGEST_ERROR_TEXT)


def _long_text(text: LongText) -> dict[str, Any]:
    """A text with its windows: the pieces to show, a shade for the score, and who decides."""
    answer = text.labels.index(text.predicted) if text.predicted in text.labels else None
    shown = text.text[:LONGEST_WINDOWED_TEXT]
    rows = []
    seen = 0
    for place, window in enumerate(text.windows):
        if window.start >= len(shown):
            break
        score = charts.window_score(window.scores, answer)
        first, last = max(window.start, 0), max(window.end, window.start, 0)
        border = min(max(seen, first), last)
        pieces = [Piece(shown[first:border], True), Piece(shown[border:last], False)]
        top = max(range(len(window.scores)), key=window.scores.__getitem__, default=None)
        rows.append(
            {
                "number": place + 1,
                "start": first,
                "end": last,
                "score": score,
                "shade": round(score * SHADES),
                "decides": place == text.deciding,
                "own": text.labels[top] if top is not None and top < len(text.labels) else None,
                "pieces": [p for p in pieces if p.text],
            }
        )
        seen = max(seen, last)
    merge: Phrase = phrase(f"merge_{text.merge}") if text.merge in ("mean", "max") else text.merge
    return {
        "given": text,
        "map": charts.window_map(text),
        "windows": rows,
        "merge": phrase("merge", n=number(len(text.windows)), how=merge),
        "rest": max(0, len(text.text) - len(shown)),
    }


def _setting(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_setting(v)}" for k, v in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(_setting(v) for v in value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def _short(label: str) -> str:
    return label if len(label) <= 60 else label[:60] + "…"
