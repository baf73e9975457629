"""The work: time and memory of a forward pass as rows get longer, more, or the model deeper."""

from __future__ import annotations

import gc
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.contender import Contender, Measured, Work, timed
from moduformer.architecture import Attention, Block, Embedding, FeedForward, Norm, Rotary, Spec, Stack

WINDOW = 1024


@dataclass(frozen=True)
class ForwardWork(Work):
    """Sizes to try: tokens of one row, rows of `row` tokens, layers over one row of `deep` tokens."""

    lengths: list[int]
    rows: list[int]
    row: int
    layers: list[int]
    deep: int


@dataclass(frozen=True)
class Point:
    """One size: the axis that grows, its value, and the model and rows it stands for."""

    axis: str
    value: int
    layers: int
    rows: int
    tokens: int

    @property
    def key(self) -> str:
        """Its name in a record."""
        return f"{self.axis} {self.value}"


LAYERS = 6


def points(work: ForwardWork) -> list[Point]:
    """All sizes, axis after axis."""
    return [
        *(Point("length", tokens, LAYERS, 1, tokens) for tokens in work.lengths),
        *(Point("rows", rows, LAYERS, rows, work.row) for rows in work.rows),
        *(Point("layers", layers, layers, 1, work.deep) for layers in work.layers),
    ]


def decoder(layers: int, window: int | None) -> Spec:
    """MiniLM's width in the decoder of LLaMA: pre-norm, rotary positions, gated feed-forward layers, no biases."""
    attention = Attention(12, 32, 12, bias=False, out_bias=False, position=Rotary(32), window=window)
    norm = Norm("rms", 1e-6, bias=False)
    block = Block(attention, FeedForward(1024, "silu", gated=True, bias=False), norm, ("in",))
    return Spec(1000, 384, Embedding(384), decoder=Stack(layers, (block,), causal=True, final_norm=norm))


class Forward(Contender[ForwardWork]):
    """A decoder that attends to all tokens before, or to the last `WINDOW`."""

    def __init__(self, window: int | None) -> None:
        self.window = window
        self.attends = f"window of {window:,}" if window else "all tokens"
        self._models: dict[int, Any] = {}

    @abstractmethod
    def build(self, layers: int) -> Any:
        """A model of so many layers."""

    @abstractmethod
    def forward(self, model: Any, ids: Any) -> Any:
        """Last hidden states of ids `[rows, tokens]`."""

    def prepare(self, work: ForwardWork) -> None:
        """Builds a model for each depth, and runs the smallest size once."""
        import torch

        torch.set_num_threads(work.threads)
        for point in points(work):
            if point.layers not in self._models:
                self._models[point.layers] = self.build(point.layers)
        self._once(replace(points(work)[0], tokens=16))

    def run(self, work: ForwardWork) -> Measured:
        """For each size seconds, and the MiB beyond those held before."""
        measures: dict[str, float] = {}
        for point in points(work):
            gc.collect()
            held, peak = _peak_from_here()
            measures[f"seconds {point.key}"] = self._once(point)
            measures[f"mib {point.key}"] = max(peak() - held, 0.0)
        return Measured(measures)

    def _once(self, point: Point) -> float:
        import torch

        ids = torch.randint(1, 1000, (point.rows, point.tokens), generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            return timed(lambda: self.forward(self._models[point.layers], ids))[0]


def _peak_from_here() -> tuple[float, Callable[[], float]]:
    """MiB held now, and a function that says the most held since; Linux counts it anew when asked."""
    import psutil

    own = psutil.Process()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return own.memory_info().rss / 2**20, lambda: own.memory_info().rss / 2**20

    def peak() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024

    return own.memory_info().rss / 2**20, peak
