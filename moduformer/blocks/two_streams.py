"""The second stream of XLNet (Yang et al. 2019, arXiv 1906.08237, section 2.3): queries that know a token's place, not
its content, so that every order of a text can be trained on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moduformer import kernels
from moduformer.batch import Permutation
from moduformer.blocks.attention import Attention, Pass
from moduformer.blocks.block import Block
from moduformer.kernels import Group, Layout, padding


class QueryStream(nn.Module):
    """States of the tokens to predict; all begin with the same vector, `weight` `[dim]`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim))

    def begin(self, permutation: Permutation) -> Tensor | None:
        """The first states `[predicted, dim]` of the tokens to predict; None where none are asked for."""
        return None if permutation.places is None else self.weight.expand(len(permutation.places), -1)

    def forward(self, queries: Tensor, content: Tensor, block: Block, run: Pass, layer: int, stack: str) -> Tensor:
        """One layer: `[predicted, dim]` attend to the first stream's `[tokens, dim]`, by its weights."""
        seen, name = block.normed("attention", "in", content), f"query_stream.{layer}"

        def attend(states: Tensor) -> Tensor:
            return self._attend(block.attention, states, seen, run, layer, f"{name}.attention", stack)

        return block.around(queries, attend, run, layer, name)

    @staticmethod
    def _attend(
        attention: Attention, queries: Tensor, content: Tensor, run: Pass, layer: int, name: str, stack: str
    ) -> Tensor:
        settings = attention.settings
        sizes = (settings.heads, settings.kv_heads, settings.kv_heads)
        q, _, _ = attention.project(queries, run.rows).unflatten(-1, (-1, settings.head_dim)).split(sizes, dim=1)
        _, k, v = attention.project(content, run.rows).unflatten(-1, (-1, settings.head_dim)).split(sizes, dim=1)
        if run.placements is not None and run.caches is not None:
            # The first stream stores the same keys and values at the same places.
            k, v = run.caches[layer].extend(k, v, run.placements[settings.window], len(run.rows.lengths))
        layout = run.once(("query stream", settings.window), lambda: _layout(run, settings.window))
        scores = attention.scores(q, k, v, layout, run, layer)
        mixed = kernels.attend(scores) if run.trace is None else run.trace.attend(name, scores, across=stack)
        return attention.out(mixed.flatten(1))


def _layout(run: Pass, window: int | None) -> Layout:
    """The tokens to predict against all tokens of their rows, and what a cache holds of these."""
    assert run.batch is not None
    assert run.batch.permutation is not None
    assert run.batch.permutation.targets is not None
    rows = run.batch.permutation.targets.rows
    stored = None if run.placements is None else run.placements[window].layout
    if stored is None:
        return Layout(rows, run.rows)
    group = stored.groups[0]
    longest = max(rows.lengths)
    return Layout(
        rows,
        rows,
        (
            Group(
                count=group.count,
                queries=longest,
                keys=group.keys,
                query_tokens=rows.tokens,
                key_tokens=group.key_tokens,
                query_padding=padding(rows.lengths, longest, rows.positions.device),
                slots=group.slots,
            ),
        ),
    )
