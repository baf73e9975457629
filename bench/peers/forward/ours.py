"""moduformer, built from a spec."""

from __future__ import annotations

from typing import Any

from bench.peers.forward.forward import Forward, decoder


class Ours(Forward):
    """`mf.build(spec)`."""

    modules = ("psutil",)
    packages = ("moduformer", "torch")

    def __init__(self, window: int | None = None) -> None:
        super().__init__(window)
        self.name = f"moduformer, {self.attends}"

    def build(self, layers: int) -> Any:
        """Random weights."""
        import moduformer as mf

        return mf.build(decoder(layers, self.window), seed=0).eval()

    def forward(self, model: Any, ids: Any) -> Any:
        """Through the padded door."""
        return model(input_ids=ids).last_hidden_state
