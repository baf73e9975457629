"""Few labelled texts: SetFit beside our recipes."""

from __future__ import annotations

import argparse
from typing import ClassVar

from bench.peers.trainers.ours import Ours
from bench.peers.trainers.set_fit import SetFit
from bench.peers.trainers.trainer import TrainerWork
from bench.table import Column, Table


class FewShotsTable(Table[TrainerWork]):
    """MiniLM learns from a few sentences of each kind."""

    name = "few-shots"
    title = "Few labelled texts: all-MiniLM-L6-v2, sixteen of each kind"
    about = (
        "Positive and other sentences (Hutto & Gilbert 2014); every contender with its own defaults for so few texts. "
        "Seconds count from the texts to the trained classifier."
    )
    work_type = TrainerWork
    contenders: ClassVar = [
        SetFit(),
        Ours("contrast", epochs=None),
        Ours("features", epochs=None),
        Ours("plain", epochs=None),
        Ours("lora", epochs=None),
        Ours("ulmfit", epochs=None),
    ]
    columns = (
        Column("seconds", "seconds", 1, ratio=True, lower_is_better=True, spread=True),
        Column("accuracy", "accuracy, %", 1, scale=100),
        Column("peak_mib", "peak MiB", lower_is_better=True),
    )
    stand_in = "moduformer features"
    rounds = 3

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """How few."""
        parser.add_argument("--shots", type=int, default=16, help="texts of each kind")
        parser.add_argument("--held-out", type=int, default=512, help="texts to be right about")

    def work(self, options: argparse.Namespace) -> TrainerWork:
        """The first texts of each kind, and others."""
        from bench.sentences import sentences
        from moduformer.sources.resolve import resolve

        texts, labels = sentences(options.held_out + 100 * options.shots)
        rows = list(zip(texts, labels))
        few = [row for kind in sorted(set(labels)) for row in [r for r in rows if r[1] == kind][: options.shots]]
        rest = rows[-options.held_out :]
        return TrainerWork(
            str(resolve("minilm").path),
            options.kept,
            options.threads,
            [text for text, _ in few],
            [label for _, label in few],
            [text for text, _ in rest],
            [label for _, label in rest],
            min(16, len(few)),
        )


TABLE = FewShotsTable()
