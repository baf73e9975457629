"""Growth: a forward pass as rows get longer, more, and the model deeper, beside the operations it asks for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench.figures import Spread
from bench.flops import forward_flops
from bench.peers.forward.forward import LAYERS, WINDOW, Forward, ForwardWork, decoder
from bench.peers.forward.ours import Ours
from bench.peers.forward.transformers_model import TransformersForward
from bench.table import Table

if TYPE_CHECKING:
    from bench.sitting import Record

ROW, DEEP = 128, 512


class GrowthTable(Table[ForwardWork]):
    """A decoder of MiniLM's width and random weights."""

    name = "growth"
    title = "Growth: a forward pass by tokens, rows and layers"
    about = (
        f"A decoder of width 384 and {LAYERS} layers with random weights, without logits: one row of a growing number "
        f"of tokens, a growing number of rows of {ROW} tokens, and a growing number of layers over {DEEP} tokens. "
        "GFLOP counts two operations for each multiplication and sum, in matrix products and in the pairs of tokens "
        "that see each other; where GFLOP/s stay level, time grows as the arithmetic does. MiB are those beyond the "
        "weights."
    )
    work_type = ForwardWork
    contenders: ClassVar[list[Forward]] = [
        TransformersForward(),
        TransformersForward(WINDOW),
        Ours(),
        Ours(WINDOW),
    ]
    columns = ()
    warm_up = 0
    rounds = 3

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """How far."""
        parser.add_argument("--longest", type=int, default=32768, help="tokens of the longest row")

    def work(self, options: argparse.Namespace) -> ForwardWork:
        """Sizes four times as large from one to the next."""
        lengths = [tokens for tokens in (128, 512, 2048, 8192, 32768) if tokens <= options.longest]
        return ForwardWork("", options.kept, options.threads, lengths, [1, 4, 16, 64], ROW, [2, 6, 12, 24], DEEP)

    def grid(self, records: Sequence[Record]) -> str:
        """One row a size and contender."""
        lines = [
            "| | attention | GFLOP | library | seconds | GFLOP/s | MiB |",
            "| --- | --- | ---: | --- | ---: | ---: | ---: |",
        ]
        ran = [record for record in records if record.ran]
        keys = list(dict.fromkeys(key for record in ran for key in record.measures if key.startswith("seconds ")))
        for key in keys:
            axis, value = key.split()[1:]
            for record in ran:
                if key not in record.measures:
                    continue
                library, attends = record.name.split(", ", 1)
                seconds = Spread.of(record.measures[key]).median
                mib = Spread.of(record.measures[f"mib {axis} {value}"]).median
                operations = self.operations(axis, int(value), "window" in attends) / 1e9
                lines.append(
                    f"| {axis} {int(value):,} | {attends} | {operations:,.1f} | {library} | {seconds:.3f} "
                    f"| {operations / seconds:,.0f} | {mib:,.0f} |"
                )
        absent = [f"- {record.name}: {record.missing or record.failed}" for record in records if not record.ran]
        return "\n".join([*lines, *(["", "Did not run:", "", *absent] if absent else [])])

    def operations(self, axis: str, value: int, windowed: bool) -> int:
        """What a size asks for."""
        spec = decoder(value if axis == "layers" else LAYERS, WINDOW if windowed else None)
        lengths = {"length": [value], "rows": [ROW] * value, "layers": [DEEP]}[axis]
        return forward_flops(spec, lengths)

    def draw(self, records: Sequence[Record], path: Path) -> None:
        """Seconds and memory against each axis, both logarithmic."""
        from bench.picture import OURS, THEIRS, figure, save

        drawn = figure(9.5, 5.2)
        panels = drawn.subplots(2, 3)
        for column, axis in enumerate(("length", "rows", "layers")):
            for record in (record for record in records if record.ran):
                for panel, measure in zip(panels[:, column], ("seconds", "mib")):
                    found = {
                        int(key.split()[2]): Spread.of(rounds).median
                        for key, rounds in record.measures.items()
                        # What needed no memory of its own has no place on a logarithmic axis.
                        if key.startswith(f"{measure} {axis} ") and Spread.of(rounds).median > 0
                    }
                    color = OURS if record.name.startswith("moduformer") else THEIRS
                    style = "--" if "window" in record.name else "-"
                    panel.loglog(list(found), list(found.values()), style, color=color, marker=".", label=record.name)
            panels[0, column].set_title({"length": "tokens of one row"}.get(axis, axis), fontsize=9)
        panels[0, 0].set_ylabel("seconds")
        panels[1, 0].set_ylabel("MiB beyond the weights")
        panels[0, 0].legend(fontsize=7)
        save(drawn, path)


TABLE = GrowthTable()
