"""Writing with two streams (XLNet, Yang et al. 2019, section 2.3): the next token is asked of the query stream, at a
place after the text whose content nobody sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from moduformer.batch import Batch

if TYPE_CHECKING:
    from moduformer.cache import Cache
    from moduformer.model import Model, States

NOTHING = 0
"""The token at the place that is asked; its content is hidden."""


def ask_ahead(model: Model, batch: Batch, cache: Cache) -> States:
    """The states `[rows, dim]` of what follows each row of `batch`, and their logits `[rows, vocab]`.

    The place asked is forgotten again, and so is each row's last token: what it sees of its follower belongs to it, so
    the next pass reads it anew, as `transformers` does. `batch` therefore begins where `cache.seen` says.
    """
    texts = [*batch.tokens.split(batch.rows.lengths)]
    blank = batch.tokens.new_tensor([NOTHING])
    longer = Batch.following([torch.cat((text, blank)).tolist() for text in texts], cache.seen, model.device)
    lengths = torch.tensor(longer.rows.lengths, device=model.device)
    place = (torch.arange(longer.width, device=model.device) == lengths[:, None] - 1).long()[:, None]
    states = model.run(longer.permuted(place.expand(-1, longer.width, -1), place), cache=cache)
    cache.truncate(cache.seen - 2)
    return states


def unread(texts: Sequence[Sequence[int]], cache: Cache) -> list[list[int]]:
    """The end of each text that the cache does not hold."""
    return [list(text[seen:]) for text, seen in zip(texts, cache.seen.tolist())]
