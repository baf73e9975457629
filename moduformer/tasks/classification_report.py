"""A finished run of text classification as `results.json`, a model card and a report page."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moduformer.errors import ModuformerError
from moduformer.metrics.classification import ClassificationMetrics
from moduformer.report.results import (
    ClassCount,
    ClassMetrics,
    Cost,
    DataFacts,
    Evaluation,
    History,
    LongText,
    Metrics,
    ModelFacts,
    Prediction,
    Recipe,
    Results,
    Step,
    Window,
    reliability_bins,
)
from moduformer.sources import MODELS
from moduformer.tasks.run_records import Outcome, RunData, RunSettings, peak_memory

MOST_PREDICTIONS = 5000
LONG_TEXTS = 4
PACKAGES = ("moduformer", "torch", "tokenizers", "safetensors", "numpy", "scikit-learn")


def write_reports(
    outcome: Outcome,
    settings: RunSettings,
    data: RunData,
    recipe: Any,
    command: str | None,
    say: Callable[[str], None],
) -> Results:
    """Writes `results.json`, `README.md` and `report.html` into the run's folder; a page that fails does not fail the
    run, whose model is already saved."""
    results = results_of(outcome, settings, data, recipe, command)
    results.save(outcome.folder / "results.json")
    from moduformer.report.card import write_card
    from moduformer.report.page import write_report

    for write, name in ((write_card, "README.md"), (write_report, "report.html")):
        try:
            write(results, outcome.folder / name)
        except ModuformerError as error:
            say(f"{name} was not written: {error}")
    return results


def results_of(outcome: Outcome, settings: RunSettings, data: RunData, recipe: Any, command: str | None) -> Results:
    """Everything the run knows."""
    return Results(
        model=_model(outcome, settings),
        recipe=Recipe(recipe.name, _settings(recipe)),
        data=_data(outcome, data),
        metrics=_metrics(outcome),
        history=_history(outcome),
        predictions=_predictions(outcome),
        long_texts=_long_texts(outcome),
        cost=_cost(outcome),
        seeds={"training": settings.seed},
        versions={"python": platform.python_version(), **_versions()},
        command=command,
    )


def _model(outcome: Outcome, settings: RunSettings) -> ModelFacts:
    model = outcome.classifier.model_
    family = None if model.origin is None else model.origin.family.model_type
    base, revision = settings.model, None
    if os.path.exists(base):
        base = Path(base).name
    elif base in MODELS:
        base, revision = MODELS[base].hub.repo_id, MODELS[base].hub.revision
    return ModelFacts(outcome.folder.resolve().name, base, revision, family, model.num_parameters())


def _settings(recipe: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in recipe.settings.identity().items():
        if isinstance(value, dict):
            kind = value.get("type", "")
            rest = ", ".join(f"{k}={v}" for k, v in value.items() if k != "type")
            found[name] = f"{kind}({rest})"
        else:
            found[name] = tuple(value) if isinstance(value, list) else value
    return found


def _data(outcome: Outcome, data: RunData) -> DataFacts:
    names = data.train.classes.names
    counts, held = data.train.counts(), data.evaluation.counts()
    report = outcome.classifier.report_
    from moduformer.train.duplicates import duplicates, leaks

    return DataFacts(
        name=Path(data.train.name).name,
        rows_used=len(data.train),
        rows_heldout=len(data.evaluation),
        rows_refused=len(data.refused),
        refused_reasons=data.refused_reasons,
        classes=tuple(ClassCount(name, int(counts[i]), int(held[i])) for i, name in enumerate(names)),
        text_column=data.train.text_column,
        label_column=", ".join(data.train.label_columns),
        tokens=report.get("tokens"),
        tokens_longest=report.get("longest_window"),
        max_tokens=report.get("max_length"),
        truncated_fraction=0.0,
        duplicates=sum(len(d.indices) - 1 for d in duplicates(data.train)),
        duplicates_across=len(leaks(data.train, data.evaluation)),
        heldout_from=data.evaluation_from,
    )


def _metrics(outcome: Outcome) -> Metrics:
    found, names = outcome.metrics, outcome.classifier.label_set_.names
    scores = found.scores
    per_class = tuple(ClassMetrics(c.name, c.precision, c.recall, c.f1, c.support) for c in scores.per_class)
    if not isinstance(scores, ClassificationMetrics):
        return Metrics(
            accuracy=scores.subset_accuracy,
            rows=scores.examples,
            labels=names,
            macro_f1=scores.macro_f1,
            weighted_f1=scores.weighted_f1,
            per_class=per_class,
            calibration_error=scores.calibration_error,
            loss=found.loss,
        )
    chosen = found.probabilities.argmax(1)
    sure = found.probabilities.max(1)
    bins = reliability_bins(sure.tolist(), (chosen == found.examples.targets).tolist())
    return Metrics(
        accuracy=scores.accuracy,
        rows=scores.examples,
        labels=names,
        macro_f1=scores.macro_f1,
        weighted_f1=scores.weighted_f1,
        accuracy_interval=scores.accuracy_interval,
        per_class=per_class,
        confusion=tuple(map(tuple, scores.confusion)),
        calibration_error=scores.calibration_error,
        reliability=bins,
        loss=found.loss,
    )


def _history(outcome: Outcome) -> History:
    history = outcome.history
    if history is None:
        return History()
    groups = tuple(dict.fromkeys(name for step in history.steps for name in step.rates))
    order = [name for name, _ in outcome.classifier.model_.layer_groups()]
    groups = tuple(sorted(groups, key=lambda name: order.index(name) if name in order else len(order)))
    steps = tuple(
        Step(
            step.step,
            step.epoch,
            step.loss if np.isfinite(step.loss) else None,
            tuple(step.rates.get(name, 0.0) for name in groups),
            step.tokens_per_second,
        )
        for step in history.steps
    )
    evaluations = tuple(
        Evaluation(e.step, e.epoch, {k: v if np.isfinite(v) else None for k, v in e.metrics.items()})
        for e in history.evaluations
    )
    return History(steps, evaluations, groups)


def _predictions(outcome: Outcome) -> tuple[Prediction, ...]:
    """The evaluation rows; where there are many, all mistakes first."""
    found, names = outcome.metrics, outcome.classifier.label_set_.names
    if found.examples.multi_label:
        return ()
    chosen, targets = found.probabilities.argmax(1), found.examples.targets
    sure = found.probabilities.max(1)
    order = np.argsort(chosen == targets, kind="stable")[:MOST_PREDICTIONS]
    return tuple(
        Prediction(found.examples.texts[i], names[targets[i]], names[chosen[i]], float(sure[i]), found.examples.rows[i])
        for i in sorted(order.tolist())
    )


def _long_texts(outcome: Outcome) -> tuple[LongText, ...]:
    """The longest evaluation texts of more than one window, with what each window said."""
    classifier, examples = outcome.classifier, outcome.metrics.examples
    if examples.pairs is not None or examples.multi_label:
        return ()
    longest = sorted(range(len(examples)), key=lambda i: -len(examples.texts[i]))[:LONG_TEXTS]
    names = classifier.label_set_.names
    found = []
    for i, prediction in zip(longest, classifier.predict_windows([examples.texts[i] for i in longest])):
        if len(prediction.windows) < 2:
            continue
        best = int(np.argmax(prediction.probabilities))
        found.append(
            LongText(
                examples.texts[i],
                names[best],
                prediction.probabilities[best],
                names,
                tuple(Window(w.start, w.end, w.probabilities) for w in prediction.windows),
                names[examples.targets[i]],
                classifier.merge,
                prediction.deciding,
            )
        )
    return tuple(found)


def _cost(outcome: Outcome) -> Cost:
    device = str(outcome.classifier.model_.device)
    return Cost(outcome.seconds, peak_memory(), device, torch.get_num_threads())


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
