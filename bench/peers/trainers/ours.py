"""moduformer's `TextClassifier`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.peers.trainers.trainer import LEARNING_RATE, Trainer, TrainerWork


class Ours(Trainer):
    """One of its recipes; `settings` are those that it is asked to change."""

    packages = ("moduformer", "torch")

    def __init__(self, recipe: str = "plain", epochs: int | None = 1, **settings: Any) -> None:
        self.recipe, self.epochs, self.settings = recipe, epochs, settings
        shown = "".join(f", {name if value is True else value}" for name, value in settings.items())
        self.name = f"moduformer {recipe}{shown}"

    def fit(self, work: TrainerWork) -> None:
        """As scikit-learn's estimators are fitted."""
        import moduformer as mf

        rate: dict[str, Any] = {"learning_rate": LEARNING_RATE} if self.recipe == "plain" and self.epochs else {}
        self._learner = mf.TextClassifier(
            work.folder, self.recipe, epochs=self.epochs, batch_size=work.batch, **rate, **self.settings
        ).fit(work.texts, work.labels)

    def predict(self, texts: Sequence[str]) -> list[int]:
        """The labels that came in."""
        return [int(label) for label in self._learner.predict(list(texts))]
