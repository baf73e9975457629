"""How many floating-point operations a forward pass asks for, counted from a spec."""

from __future__ import annotations

from collections.abc import Sequence

from moduformer.architecture import Attention, Block, FeedForward, Spec, Stack


def visible_pairs(tokens: int, causal: bool, window: int | None = None) -> int:
    """Pairs of a query and a key that it sees, in one row."""
    reach = tokens if window is None else min(window, tokens)
    if not causal:
        if window is not None:
            raise ValueError("a window is counted for causal attention only")
        return tokens * tokens
    return reach * (reach + 1) // 2 + (tokens - reach) * reach


def forward_flops(spec: Spec, lengths: Sequence[int]) -> int:
    """Operations of one pass over rows of those lengths: matrix products and attention, the rest is negligible.

    For a stack of attention and feed-forward layers, with or without gates; vocabulary logits are not counted.
    """
    stack = spec.encoder or spec.decoder
    if not isinstance(stack, Stack):
        raise ValueError("only stacks of attention layers are counted")
    return sum(_layer(stack.block(layer), spec.dim, stack.causal, lengths) for layer in range(stack.layers))


def _layer(block: Block, dim: int, causal: bool, lengths: Sequence[int]) -> int:
    if not isinstance(block.feed_forward, FeedForward):
        raise ValueError("only dense feed-forward layers are counted")
    attention, feed_forward = block.attention, block.feed_forward
    matrices = _projections(attention, dim) + dim * feed_forward.width * (3 if feed_forward.gated else 2)
    pairs = sum(visible_pairs(tokens, causal, attention.window) for tokens in lengths)
    return 2 * matrices * sum(lengths) + 4 * attention.heads * attention.head_dim * pairs


def _projections(attention: Attention, dim: int) -> int:
    return 2 * dim * attention.head_dim * (attention.heads + attention.kv_heads)
