"""SetFit: pairs of few texts pull a sentence encoder together or apart, then a linear head is fitted."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

from bench.peers.trainers.trainer import Trainer, TrainerWork


class SetFit(Trainer):
    """Its defaults: one epoch over all pairs."""

    name = "SetFit"
    modules = packages = ("setfit",)

    def fit(self, work: TrainerWork) -> None:
        """As its own guide does."""
        from datasets import Dataset
        from setfit import SetFitModel, TrainingArguments
        from setfit import Trainer as SetFitTrainer

        self._model = SetFitModel.from_pretrained(work.folder)
        rows = Dataset.from_dict({"text": work.texts, "label": work.labels})
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder, batch_size=work.batch, num_epochs=1, report_to="none", show_progress_bar=False
            )
            SetFitTrainer(self._model, arguments, train_dataset=rows).train()

    def predict(self, texts: Sequence[str]) -> list[int]:
        """Its head's labels."""
        return [int(label) for label in self._model.predict(list(texts), batch_size=32)]
