"""Predictions and losses over encoded examples, in batches of equal length, in the caller's order."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from moduformer.architecture import HeadKind
from moduformer.batch import Batch
from moduformer.model import Model
from moduformer.train.batching import evaluation_batches
from moduformer.train.encoded import Encoded
from moduformer.train.objectives import Objective

TOKENS = 2048
"""Tokens a batch: large enough to keep every core busy, small enough for any memory."""


@torch.inference_mode()
def predict(model: Model, examples: Encoded, head: HeadKind = "classify", tokens: int = TOKENS) -> Tensor:
    """A head's logits for every row, `[rows, outputs]`, for heads that give one result a row.

    Args:
        model: in evaluation mode.
        examples: what to read.
        head: the kind of head; "pool" gives the pooled vectors.
        tokens: at most so many tokens a batch.
    """
    results: Tensor | None = None
    for rows in evaluation_batches(examples.lengths, tokens):
        batch = batch_of(model, examples, rows)
        found = batch.restore(model.run(batch, model.source_again(batch), wanted=head).heads[head]).float().cpu()
        if results is None:
            results = found.new_empty(len(examples), *found.shape[1:])
        results[torch.from_numpy(rows)] = found
    assert results is not None, "there are no rows to predict"
    return results


@torch.inference_mode()
def predict_tokens(model: Model, examples: Encoded, head: HeadKind = "tag", tokens: int = TOKENS) -> list[Tensor]:
    """A head's logits for every token, one `[tokens, outputs]` a row, for heads that give one result a token."""
    results: list[Tensor] = [torch.empty(0)] * len(examples)
    for rows in evaluation_batches(examples.lengths, tokens):
        batch = batch_of(model, examples, rows)
        logits = model.run(batch, model.source_again(batch), wanted=head).heads[head].float().cpu()
        parts = logits.split(list(batch.rows.lengths))
        for place, part in zip(batch.order, parts):
            results[int(rows[place])] = part
    return results


@torch.inference_mode()
def mean_features(model: Model, examples: Encoded, tokens: int = TOKENS) -> np.ndarray:
    """The mean of every row's last hidden states, float32 `[rows, dim]`; heads are not run."""
    stack = model.encoder or model.decoder
    assert stack is not None
    features = np.empty((len(examples), model.spec.out_dim), dtype=np.float32)
    for rows in evaluation_batches(examples.lengths, tokens):
        batch = batch_of(model, examples, rows)
        hidden = stack(model.embedding(batch), batch.rows).float()
        summed = hidden.new_zeros(len(rows), hidden.shape[1]).index_add_(0, batch.rows.row_of, hidden)
        lengths = torch.tensor(batch.rows.lengths, device=hidden.device).unsqueeze(1)
        features[rows] = batch.restore(summed / lengths).cpu().numpy()
    return features


@torch.no_grad()
def mean_loss(
    model: Model,
    examples: Encoded,
    labels: Any,
    objective: Objective,
    tokens: int = TOKENS,
) -> float:
    """The objective's mean loss over all rows, as in training with the whole data as one batch."""
    summed = weight = 0.0
    for rows in evaluation_batches(examples.lengths, tokens):
        prepared = objective.prepare(examples, labels, rows, 0, model.device)
        if prepared.weight:
            summed += float(objective.loss(model, prepared))
            weight += prepared.weight
    return summed / weight if weight else float("nan")


def batch_of(model: Model, examples: Encoded, rows: np.ndarray) -> Batch:
    """Some of the rows as a batch on the model's device; its results come back in this order by `Batch.restore`."""
    segments = examples.segments
    return Batch.from_lists(
        [examples.ids.row(int(i)) for i in rows],
        None if segments is None else [segments.row(int(i)) for i in rows],
        device=model.device,
    )
