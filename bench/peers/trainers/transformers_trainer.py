"""`transformers.Trainer` with its default fused AdamW."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

from bench.peers.trainers.trainer import LEARNING_RATE, Trainer, TrainerWork

MAX_LENGTH = 512


class TransformersTrainer(Trainer):
    """Batches padded to their longest text, drawn at random or from groups of like lengths."""

    modules = packages = ("transformers", "accelerate")

    def __init__(self, by_length: bool = False) -> None:
        self.by_length = by_length
        self.name = f"transformers.Trainer, {'grouped by length' if by_length else 'dynamic padding'}"

    def fit(self, work: TrainerWork) -> None:
        """One epoch."""
        import transformers
        from transformers import AutoTokenizer, DataCollatorWithPadding, TrainingArguments

        transformers.logging.set_verbosity_error()
        self._tokenizer = AutoTokenizer.from_pretrained(work.folder)
        self._model = transformers.AutoModelForSequenceClassification.from_pretrained(
            work.folder, num_labels=len(set(work.labels))
        )
        encoded = self._tokenizer(work.texts, truncation=True, max_length=MAX_LENGTH)
        rows: Any = [
            {"input_ids": ids, "attention_mask": mask, "label": label, "length": len(ids)}
            for ids, mask, label in zip(encoded["input_ids"], encoded["attention_mask"], work.labels)
        ]
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=work.batch,
                num_train_epochs=1,
                learning_rate=LEARNING_RATE,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=True,
                train_sampling_strategy="group_by_length" if self.by_length else "random",
            )
            transformers.Trainer(self._model, arguments, DataCollatorWithPadding(self._tokenizer), rows).train()

    def predict(self, texts: Sequence[str]) -> list[int]:
        """The class with the highest logit."""
        import torch

        self._model.eval()
        found: list[int] = []
        with torch.inference_mode():
            for start in range(0, len(texts), 32):
                padded = self._tokenizer(
                    list(texts[start : start + 32]),
                    padding=True,
                    truncation=True,
                    max_length=MAX_LENGTH,
                    return_tensors="pt",
                )
                found += self._model(**padded).logits.argmax(1).tolist()
        return found
