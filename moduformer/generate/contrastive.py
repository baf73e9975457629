"""Contrastive search: of the likeliest tokens, the one whose hidden state repeats the text's least (Su et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from moduformer.batch import Batch
from moduformer.generate.decoding import Decoding, check_reads_forward
from moduformer.generate.processors import NEVER, apply
from moduformer.generate.sampling import positions_of
from moduformer.generate.strategies import EndedBy, Made, Request

if TYPE_CHECKING:
    from moduformer.model import Model


def generate(model: Model, prompts: Batch | Sequence[Sequence[int]], request: Request) -> list[list[Made]]:
    """The strategy: one result a prompt.

    Of the `top_k` likeliest tokens it takes the one with the highest `(1 - penalty_alpha)` times its probability less
    `penalty_alpha` times the greatest cosine similarity of its last hidden state with one of the text so far (the
    decoder's text, beside an encoder). Every candidate is read, so a step costs `top_k` rows of the cache. Of tokens
    that the model has no position to read, the most probable one is taken.
    """
    check_reads_forward(model)
    decoding = Decoding(model, prompts, request.prefix)
    states = decoding.states
    context = [normalize(own, dim=-1) for own in states.hidden.split(states.batch.rows.lengths)]
    processors, room = request.all_processors(), positions_of(model)
    made = [[Made([], "length")] for _ in decoding.rows]
    results = list(range(len(made)))
    while True:
        probabilities = apply(processors, decoding.rows, decoding.logits).softmax(-1)
        likely, tokens = probabilities.topk(min(request.settings.top_k, probabilities.shape[-1]))
        full = [room is not None and length >= room for length in decoding.lengths]
        reading = [place for place, done in enumerate(full) if not done]
        chosen, best = tokens[:, 0].tolist(), {}
        if reading:
            decoding.select(reading)
            best = dict(zip(reading, _read(decoding, context, reading, likely, tokens, request)))
            for place, (column, state) in best.items():
                chosen[place] = int(tokens[place, column])
                context[place] = torch.cat((context[place], state))
        going = []
        for place, (result, token) in enumerate(zip(results, chosen)):
            made[result][0].ids.append(token)
            ended = _ended(request, result, token, len(made[result][0].ids), full[place])
            if ended is None:
                going.append(place)
            else:
                made[result][0].ended_by = ended
        if not going:
            return made
        decoding.select([reading.index(place) for place in going])
        results, context = [results[place] for place in going], [context[place] for place in going]


def _read(
    decoding: Decoding,
    context: Sequence[Tensor],
    reading: Sequence[int],
    likely: Tensor,
    tokens: Tensor,
    request: Request,
) -> list[tuple[int, Tensor]]:
    """Reads every candidate of every row; the decoding goes on with the chosen ones. Columns and states of those."""
    alpha, k = request.settings.penalty_alpha or 0.0, tokens.shape[1]
    decoding.select([row for row in range(len(reading)) for _ in range(k)])
    decoding.advance(tokens[list(reading)].flatten())
    states = normalize(decoding.states.hidden, dim=-1).view(len(reading), k, -1)
    found = []
    for own, place in zip(states, reading):
        value = (1 - alpha) * likely[place] - alpha * (own @ context[place].T).amax(1)
        # A forbidden token is no candidate, however new.
        column = int(value.masked_fill(likely[place] == 0, NEVER).argmax())
        found.append((column, own[column : column + 1]))
    decoding.select([row * k + column for row, (column, _) in enumerate(found)])
    return found


def _ended(request: Request, result: int, token: int, new: int, full: bool) -> EndedBy | None:
    stopped = request.watch is not None and request.watch(result, token)
    if token in request.ends:
        return "eos"
    if stopped:
        return "stop"
    if new >= request.max_new_tokens:
        return "length"
    return "context" if full else None
