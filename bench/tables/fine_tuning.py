"""Fine-tuning: one epoch over ragged texts, from the texts to the trained classifier."""

from __future__ import annotations

import argparse
from typing import ClassVar

from bench.peers.trainers.ours import Ours
from bench.peers.trainers.trainer import TrainerWork
from bench.peers.trainers.transformers_trainer import TransformersTrainer
from bench.table import Column, Table


class FineTuningTable(Table[TrainerWork]):
    """MiniLM learns whether a sentence is positive, or the labels of a file."""

    name = "fine-tuning"
    title = "Fine-tuning: all-MiniLM-L6-v2, one epoch, batches of 32, ragged texts"
    about = (
        "Seconds count from the texts to the trained classifier: loading, tokenising and one epoch of AdamW. What is "
        "learnt differs in the order of rows alone; accuracy on texts held out stands beside it. `lora` trains "
        "low-rank adapters, `features` a linear head on the frozen encoder; `recompute` is gradient checkpointing."
    )
    work_type = TrainerWork
    contenders: ClassVar = [
        TransformersTrainer(),
        TransformersTrainer(by_length=True),
        Ours(),
        Ours(precision="bfloat16"),
        Ours(recompute=True),
        Ours("lora"),
        Ours("features"),
    ]
    columns = (
        Column("examples_per_second", "examples/s", 1, ratio=True, spread=True),
        Column("seconds", "seconds", 1),
        Column("accuracy", "accuracy, %", 1, scale=100),
        Column("peak_mib", "peak MiB", lower_is_better=True),
    )
    stand_in = "moduformer plain"
    rounds = 3

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The texts."""
        parser.add_argument("--rows", type=int, default=2048, help="texts to learn from")
        parser.add_argument("--held-out", type=int, default=512, help="texts to be right about")
        parser.add_argument("--batch", type=int, default=32, help="texts a step")
        parser.add_argument("--data", help="a parquet file (default: Hutto & Gilbert's sentences)")
        parser.add_argument("--text", default="text", help="its column of texts")
        parser.add_argument("--label", default="label_name", help="its column of labels")

    def work(self, options: argparse.Namespace) -> TrainerWork:
        """The texts, split."""
        from bench.sentences import sentences
        from moduformer.sources.resolve import resolve

        texts, labels = sentences(options.rows + options.held_out, options.data, options.text, options.label)
        cut = len(texts) - options.held_out
        return TrainerWork(
            str(resolve("minilm").path),
            options.kept,
            options.threads,
            texts[:cut],
            labels[:cut],
            texts[cut:],
            labels[cut:],
            options.batch,
        )


TABLE = FineTuningTable()
