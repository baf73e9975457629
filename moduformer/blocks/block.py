"""One Transformer layer: attention, perhaps cross-attention, and feed-forward, with their norms and residuals."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from moduformer import architecture
from moduformer.blocks import compiled
from moduformer.blocks.attention import Attention, CrossAttention, Pass
from moduformer.blocks.disentangled import DisentangledAttention
from moduformer.blocks.dropout import dropout
from moduformer.blocks.experts import MixtureOfExperts
from moduformer.blocks.feed_forward import FeedForward
from moduformer.blocks.gated_cross_attention import GatedCrossAttention
from moduformer.blocks.norm import Norm
from moduformer.blocks.relative import RelativeAttention

ATTENTIONS: dict[type, type[Attention]] = {
    architecture.Disentangled: DisentangledAttention,
    architecture.RelativeSinusoids: RelativeAttention,
}
"""Positions whose scores are of a kind of their own."""


class Block(nn.Module):
    """The layer a `architecture.Block` describes. Norms are children named `{sub-layer}_norm_{slot}`.

    Its cross-attention reads vectors of width `memory`, and passes by where there is nothing to look at."""

    def __init__(self, settings: architecture.Block, dim: int, memory: int | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.attention = ATTENTIONS.get(type(settings.attention.position), Attention)(settings.attention, dim)
        crossed = settings.cross_attention
        self.cross_attention = CrossAttention(crossed, dim, memory or dim) if crossed else None
        gated = settings.gated_cross_attention
        self.gated_cross_attention = GatedCrossAttention(gated, dim, memory or dim) if gated else None
        inner = settings.feed_forward
        self.feed_forward: FeedForward | MixtureOfExperts = (
            MixtureOfExperts(inner, dim)
            if isinstance(inner, architecture.MixtureOfExperts)
            else FeedForward(inner, dim)
        )
        parts = ["attention", "feed_forward"]
        if settings.cross_attention:
            parts.insert(1, "cross_attention")
        if settings.flow == "parallel-shared":
            parts.remove("feed_forward")
        for part in parts:
            for slot in settings.norm_at:
                self.add_module(f"{part}_norm_{slot}", Norm(settings.norm, dim))

    @property
    def narrows(self) -> bool:
        """Whether the layer can give the results of some tokens without computing those of all."""
        return (
            type(self) is Block
            and type(self.attention) is Attention
            and isinstance(self.feed_forward, FeedForward)
            and self.cross_attention is None
            and self.gated_cross_attention is None
        )

    def forward(self, hidden: Tensor, run: Pass, layer: int, name: str) -> Tensor:
        """`[tokens, dim]` to the same shape, or of a layer that `narrows` to the tokens that are wanted."""
        whole = compiled.layer(self, hidden, run, layer)
        if whole is not None:
            return whole
        if self.gated_cross_attention is not None and run.memory is not None:
            hidden = self.gated_cross_attention(hidden, run, layer, f"{name}.gated_cross_attention")

        def attend(normed: Tensor) -> Tensor:
            return self.attention(normed, run, layer, f"{name}.attention")

        return self.around(hidden, attend, run, layer, name)

    def around(self, hidden: Tensor, attend: Callable[[Tensor], Tensor], run: Pass, layer: int, name: str) -> Tensor:
        """The layer with another function for its attention, which gets the normed states."""
        if self.settings.flow == "sequential":
            hidden = self.attended(hidden, attend, run, name)
            hidden = self.cross(hidden, run, layer, name)
            hidden = self.feed(hidden, run, name)
        else:
            normed = self.normed("attention", "in", hidden)
            fed = normed if self.settings.flow == "parallel-shared" else self.normed("feed_forward", "in", hidden)
            answer = _see(run, f"{name}.attention.output", attend(normed))
            attended = self._dropout(self.normed("attention", "out", answer))
            inner = self._dropout(self.normed("feed_forward", "out", self._feed(run.wanted(fed), run, name)))
            hidden = run.wanted(hidden) + attended + inner
        return _see(run, f"{name}.hidden", hidden)

    def attended(self, hidden: Tensor, attend: Callable[[Tensor], Tensor], run: Pass, name: str) -> Tensor:
        """The sub-layer of self-attention with its norms and residual, `[tokens, dim]`."""
        normed = self.normed("attention", "in", hidden)
        answer = _see(run, f"{name}.attention.output", attend(normed))
        return self._residual("attention", run.wanted(hidden), run.wanted(normed), answer)

    def cross(self, hidden: Tensor, run: Pass, layer: int, name: str) -> Tensor:
        """The sub-layer of cross-attention, where there is one and something to look at."""
        if self.cross_attention is None or run.memory is None:
            return hidden
        normed = self.normed("cross_attention", "in", hidden)
        answer = self.cross_attention(normed, run, layer, f"{name}.cross_attention")
        answer = _see(run, f"{name}.cross_attention.output", answer)
        return self._residual("cross_attention", hidden, normed, answer)

    def feed(self, hidden: Tensor, run: Pass, name: str) -> Tensor:
        """The feed-forward sub-layer."""
        normed = self.normed("feed_forward", "in", hidden)
        return self._residual("feed_forward", hidden, normed, self._feed(normed, run, name))

    def _feed(self, hidden: Tensor, run: Pass, name: str) -> Tensor:
        return _see(run, f"{name}.feed_forward.output", self.feed_forward(hidden, run.rows))

    def _residual(self, part: str, hidden: Tensor, normed: Tensor, change: Tensor) -> Tensor:
        kept = normed if self.settings.residual == "normed" else hidden
        if self.settings.residual_scale != 1.0:
            kept = kept * self.settings.residual_scale
        return self.normed(part, "res", kept + self._dropout(self.normed(part, "out", change)))

    def normed(self, part: str, slot: str, hidden: Tensor) -> Tensor:
        """What the norm of a sub-layer at a slot makes of `[tokens, dim]`; the same where there is none."""
        return getattr(self, f"{part}_norm_{slot}")(hidden) if slot in self.settings.norm_at else hidden

    def _dropout(self, hidden: Tensor) -> Tensor:
        return dropout(hidden, self.settings.dropout, self.training)


def _see(run: Pass, name: str, value: Tensor) -> Tensor:
    return value if run.trace is None else run.trace.see(name, value)
