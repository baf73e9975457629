"""Standalone SVG files for a README: the same drawings as the page, in one language, light and dark."""

from importlib.resources import files
from pathlib import Path

from moduformer.report import charts
from moduformer.report.drawing import Drawing
from moduformer.report.files import write_text_atomically
from moduformer.report.results import Results
from moduformer.report.wording import clean, in_language, phrase


def learning_curves_svg(results: Results, language: str = "en") -> str:
    """Training loss and held-out scores next to each other, as an SVG file's text.

    Args:
        results: a run with logged steps or evaluations.
        language: "en" or "ko".
    """
    history = results.history
    drawing = charts.beside(
        charts.loss_curve(history, (language,)),
        charts.score_curve(history, (language,)),
        (phrase("loss_curve"), phrase("score_curve")),
        (language,),
    )
    return _standalone(drawing, results, "training", language)


def schedule_svg(results: Results, language: str = "en") -> str:
    """The learning rate of each layer group, as an SVG file's text."""
    return _standalone(charts.schedule(results.history, (language,)), results, "schedule", language)


def confusion_matrix_svg(results: Results, language: str = "en") -> str:
    """The confusion matrix with its counts, as an SVG file's text."""
    return _standalone(charts.confusion_matrix(results.metrics, (language,)), results, "confusion", language)


def write_pictures(results: Results, folder: str | Path, language: str = "en") -> list[Path]:
    """Write `learning_curves.svg`, `schedule.svg` and `confusion_matrix.svg`, each where the run has data for it.

    Returns:
        The files written.

    Raises:
        DataError: the folder cannot be written to.
    """
    history, written = results.history, []
    if history.steps or history.evaluations:
        written.append(("learning_curves.svg", learning_curves_svg(results, language)))
    if any(s.learning_rates for s in history.steps):
        written.append(("schedule.svg", schedule_svg(results, language)))
    if results.metrics.confusion:
        written.append(("confusion_matrix.svg", confusion_matrix_svg(results, language)))
    return [write_text_atomically(Path(folder) / name, text) for name, text in written]


def _standalone(drawing: Drawing, results: Results, key: str, language: str) -> str:
    style = files("moduformer.report").joinpath("charts.css").read_text(encoding="utf-8")
    title = f"{in_language(phrase(key), language)}: {clean(results.model.name)}"
    return charts.framed(drawing).standalone(title, style) + "\n"
