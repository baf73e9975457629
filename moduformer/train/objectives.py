"""What training minimises. An objective makes a batch of some rows and sums its loss; the loop divides.

Every loss is a sum over rows (or targets) together with the weight it stands for. The loop divides the sums of all
parts of one optimizer step by their whole weight, so gradients do not depend on how a step is cut into micro-batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from moduformer.architecture import HeadKind
from moduformer.batch import Batch, by_length
from moduformer.blocks.head import IGNORED, Head, mean, shift_left, shift_right
from moduformer.errors import TrainingError
from moduformer.model import Model
from moduformer.train.encoded import Encoded, Ragged


@dataclass(eq=False)
class Prepared:
    """A micro-batch: rows ready to run, what is wanted of them (in the batch's order), and the loss's denominator."""

    batch: Batch
    wanted: Tensor
    weight: float
    target: Batch | None = None
    row_weights: Tensor | None = None

    @property
    def tokens(self) -> int:
        """Tokens computed, the decoder's included."""
        return self.batch.rows.tokens + (self.target.rows.tokens if self.target else 0)


class Objective(Protocol):
    """What the loop needs of an objective."""

    @property
    def head(self) -> HeadKind:
        """The kind of head it trains."""
        ...

    def prepare(self, examples: Encoded, labels: Any, rows: np.ndarray, epoch: int, device: torch.device) -> Prepared:
        """The rows with these numbers as a micro-batch."""
        ...

    def loss(self, model: Model, prepared: Prepared) -> Tensor:
        """The sum of losses, a scalar; divided by `prepared.weight` it is the mean."""
        ...


@dataclass(frozen=True)
class Classification:
    """Cross-entropy of one class a row; `labels` are int `[rows]`.

    With `class_weights` the mean is weighted as PyTorch's (the sum of the rows' weights divides).
    """

    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    head: HeadKind = "classify"

    def prepare(self, examples: Encoded, labels: Any, rows: np.ndarray, epoch: int, device: torch.device) -> Prepared:
        """The rows as a micro-batch."""
        batch, wanted, shares = _rows(examples, labels, rows, device, torch.long)
        counted = torch.ones_like(wanted, dtype=torch.float64)
        if self.class_weights is not None:
            counted = torch.tensor(self.class_weights, dtype=torch.float64, device=device)[wanted]
        if shares is not None:
            counted = counted * shares
        return Prepared(batch, wanted, float(counted.sum()), row_weights=shares)

    def loss(self, model: Model, prepared: Prepared) -> Tensor:
        """The weighted sum of the rows' cross-entropies."""
        logits = model.run(prepared.batch, wanted=self.head).heads[self.head].float()
        weights = None if self.class_weights is None else logits.new_tensor(self.class_weights)
        losses = F.cross_entropy(
            logits, prepared.wanted, weights, reduction="none", label_smoothing=self.label_smoothing
        )
        return _weighted(losses, prepared)


@dataclass(frozen=True)
class MultiLabel:
    """Binary cross-entropy of every class; `labels` are 0 or 1, float `[rows, classes]`.

    `class_weights` multiply the loss where a class is present (PyTorch's pos_weight).
    """

    class_weights: tuple[float, ...] | None = None
    head: HeadKind = "classify"

    def prepare(self, examples: Encoded, labels: Any, rows: np.ndarray, epoch: int, device: torch.device) -> Prepared:
        """The rows as a micro-batch."""
        batch, wanted, shares = _rows(examples, labels, rows, device, torch.float32)
        weight = (float(len(rows)) if shares is None else float(shares.sum())) * wanted.shape[1]
        return Prepared(batch, wanted, weight, row_weights=shares)

    def loss(self, model: Model, prepared: Prepared) -> Tensor:
        """The sum over rows and classes."""
        logits = model.run(prepared.batch, wanted=self.head).heads[self.head].float()
        weights = None if self.class_weights is None else logits.new_tensor(self.class_weights)
        losses = F.binary_cross_entropy_with_logits(logits, prepared.wanted, pos_weight=weights, reduction="none")
        return _weighted(losses.sum(1), prepared)


@dataclass(frozen=True)
class Regression:
    """Squared error of one number a row; `labels` are float `[rows]`."""

    head: HeadKind = "classify"

    def prepare(self, examples: Encoded, labels: Any, rows: np.ndarray, epoch: int, device: torch.device) -> Prepared:
        """The rows as a micro-batch."""
        batch, wanted, shares = _rows(examples, labels, rows, device, torch.float32)
        return Prepared(batch, wanted, float(len(rows)) if shares is None else float(shares.sum()), row_weights=shares)

    def loss(self, model: Model, prepared: Prepared) -> Tensor:
        """The sum of squared errors."""
        logits = model.run(prepared.batch, wanted=self.head).heads[self.head].float().squeeze(-1)
        return _weighted((logits - prepared.wanted).square(), prepared)


@dataclass(frozen=True)
class Contrast:
    """Texts of one class alike, those of others unlike: supervised contrastive learning (Khosla et al. 2020, eq. 2).

    For every text of a batch that another one shares its label with, the mean negative log-probability of being chosen
    that these others have among all texts of the batch, where the chance of a text is e^(cosine / temperature) of mean
    states. `labels` are int `[rows]`, or 0 and 1 `[rows, classes]`, where one label in common is enough.
    """

    temperature: float = 0.1
    head: HeadKind = "classify"

    def prepare(self, examples: Encoded, labels: Any, rows: np.ndarray, epoch: int, device: torch.device) -> Prepared:
        """The rows as a micro-batch, weighted by how many of them have another to be drawn to."""
        batch, wanted, shares = _rows(examples, labels, rows, device, torch.float32)
        counted = _alike(wanted).any(1)
        weight = float(counted.sum()) if shares is None else float((counted * shares).sum())
        # A batch without two of a kind says nothing: its loss is zero, and it must not end the training.
        return Prepared(batch, wanted, weight or 1.0, row_weights=shares)

    def loss(self, model: Model, prepared: Prepared) -> Tensor:
        """The sum over texts."""
        states = model.run(prepared.batch, wanted="hidden")
        features = F.normalize(mean(states.hidden, states.batch.rows).float(), dim=1)
        itself = torch.eye(len(features), dtype=torch.bool, device=features.device)
        logits = (features @ features.T / self.temperature).masked_fill(itself, -torch.inf)
        chances = logits.log_softmax(1).masked_fill(itself, 0.0)
        alike = _alike(prepared.wanted)
        return _weighted(-(chances * alike).sum(1) / alike.sum(1).clamp(min=1), prepared)


def _alike(labels: Tensor) -> Tensor:
    """Which rows have a label in common with which others, bool `[rows, rows]`."""
    same = labels[:, None] == labels if labels.dim() == 1 else labels @ labels.T > 0
    return same.fill_diagonal_(False)


@dataclass(frozen=True)
class Tagging:
    """Cross-entropy of one class a token; `labels` are a `Ragged` of the tokens' shape, -100 where none is wanted."""

    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    head: HeadKind = "tag"

    def prepare(self, examples: Encoded, labels: Any, rows: np.ndarray, epoch: int, device: torch.device) -> Prepared:
        """The rows as a micro-batch."""
        batch, shares = _batch(examples, rows, device)
        wanted = torch.tensor(
            [label for i in batch.order for label in labels.row(int(rows[i]))], dtype=torch.long, device=device
        )
        return Prepared(batch, wanted, _token_weight(wanted, self.class_weights, batch, shares), row_weights=shares)

    def loss(self, model: Model, prepared: Prepared) -> Tensor:
        """The sum over labelled tokens."""
        logits = model.run(prepared.batch, wanted=self.head).heads[self.head].float()
        return _token_sum(logits, prepared, prepared.batch, self.class_weights, self.label_smoothing)


@dataclass(frozen=True)
class Span:
    """Cross-entropy of an answer's first and last token, halved; `labels` are int `[rows, 2]` of token positions."""

    head: HeadKind = "span"

    def prepare(self, examples: Encoded, labels: Any, rows: np.ndarray, epoch: int, device: torch.device) -> Prepared:
        """The rows as a micro-batch."""
        batch, wanted, shares = _rows(examples, labels, rows, device, torch.long)
        return Prepared(batch, wanted, float(len(rows)) if shares is None else float(shares.sum()), row_weights=shares)

    def loss(self, model: Model, prepared: Prepared) -> Tensor:
        """The sum over rows of the mean of both edges' cross-entropies."""
        batch = prepared.batch
        logits = model.run(batch, wanted=self.head).heads[self.head].float()
        starts = batch.rows.starts.unsqueeze(1)
        at_gold = logits.gather(0, starts + prepared.wanted)
        # log-sum-exp of every row's own tokens; shifting by the batch's maximum keeps exp in range.
        rows_of = batch.rows.row_of.unsqueeze(1).expand_as(logits)
        highest = logits.new_full((len(batch.order), 2), float("-inf"))
        highest = highest.scatter_reduce(0, rows_of, logits.detach(), "amax")
        summed = torch.zeros_like(highest).scatter_add(0, rows_of, (logits - highest.gather(0, rows_of)).exp())
        losses = summed.log() + highest - at_gold
        return _weighted(losses.mean(1), prepared)


@dataclass(frozen=True)
class MaskedLanguage:
    """Words hidden from the model and guessed back (Devlin et al. 2019, section 3.1): adapts an encoder to a domain.

    Of the tokens that are not in `special_ids`, a `probability` share is chosen; of these 80 % become `mask_id`, 10 % a
    random token and 10 % stay. What is chosen depends on the seed, the epoch and the row alone. Needs no labels.
    """

    mask_id: int
    vocab: int
    special_ids: tuple[int, ...] = ()
    probability: float = 0.15
    seed: int = 0
    head: HeadKind = "masked-lm"

    def corrupt(self, ids: Sequence[int], row: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """A row's corrupted ids and its labels (-100 where nothing is guessed)."""
        generator = np.random.default_rng((self.seed, epoch, row))
        tokens = np.asarray(ids, dtype=np.int64)
        may = ~np.isin(tokens, self.special_ids)
        chosen = may & (generator.random(len(tokens)) < self.probability)
        if not chosen.any() and may.any():
            chosen[generator.choice(np.flatnonzero(may))] = True
        labels = np.where(chosen, tokens, IGNORED)
        way = generator.random(len(tokens))
        random = generator.integers(0, self.vocab, len(tokens))
        tokens = np.where(chosen & (way < 0.8), self.mask_id, tokens)
        return np.where(chosen & (way >= 0.8) & (way < 0.9), random, tokens), labels

    def prepare(self, examples: Encoded, labels: Any, rows: np.ndarray, epoch: int, device: torch.device) -> Prepared:
        """The rows, corrupted, as a micro-batch."""
        pairs = [self.corrupt(examples.ids.row(int(i)), int(i), epoch) for i in rows]
        segments = examples.segments
        batch = Batch.from_lists(
            [tokens.tolist() for tokens, _ in pairs],
            None if segments is None else [segments.row(int(i)) for i in rows],
            device=device,
        )
        wanted = torch.from_numpy(np.concatenate([pairs[i][1] for i in batch.order])).to(device)
        return Prepared(batch, wanted, float((wanted != IGNORED).sum()))

    def loss(self, model: Model, prepared: Prepared) -> Tensor:
        """The sum over guessed tokens; the vocabulary's logits are computed for these alone."""
        stack, head = model.encoder or model.decoder, model.heads[self.head]
        assert stack is not None
        assert isinstance(head, Head)
        batch = model.both_ways(prepared.batch)
        hidden = head.states(stack(model.embedding(batch), batch.rows), batch.rows)
        chosen = (prepared.wanted != IGNORED).nonzero().squeeze(1)
        logits = head(hidden[chosen], model.embedding.tokens.weight)
        return F.cross_entropy(logits.float(), prepared.wanted[chosen], reduction="sum")


@dataclass(frozen=True)
class NextToken:
    """Every token from those before it (Bengio et al. 2003): causal language modelling. Needs no labels.

    `backward` is for a model that reads from the end (`Spec.reads_backward`): every token from those after it.
    `labels` may be a `Ragged` of the tokens' shape with -100 where nothing is learned (a prompt). `z_loss` times the
    squared logarithm of the softmax's denominator keeps logits from drifting (Chowdhery et al. 2022, section 5).
    """

    label_smoothing: float = 0.0
    head: HeadKind = "language-model"
    backward: bool = False
    z_loss: float = 0.0

    def prepare(self, examples: Encoded, labels: Any, rows: np.ndarray, epoch: int, device: torch.device) -> Prepared:
        """The rows as a micro-batch."""
        batch, shares = _batch(examples, rows, device)
        own = batch.tokens
        if isinstance(labels, Ragged):
            own = torch.tensor([t for i in batch.order for t in labels.row(int(rows[i]))], device=device)
        wanted = (shift_right if self.backward else shift_left)(own, batch.rows)
        return Prepared(batch, wanted, _token_weight(wanted, None, batch, shares), row_weights=shares)

    def loss(self, model: Model, prepared: Prepared) -> Tensor:
        """The sum over predicted tokens."""
        logits = model.run(prepared.batch, wanted=self.head).heads[self.head].float()
        loss = _token_sum(logits, prepared, prepared.batch, None, self.label_smoothing)
        if not self.z_loss:
            return loss
        counted = prepared.wanted != IGNORED
        return loss + self.z_loss * logits[counted].logsumexp(-1).square().sum()


@dataclass(frozen=True)
class SequenceToSequence:
    """Every token of `examples.targets` from the source and the target before it (Sutskever et al. 2014)."""

    label_smoothing: float = 0.0
    head: HeadKind = "language-model"

    def prepare(self, examples: Encoded, labels: Any, rows: np.ndarray, epoch: int, device: torch.device) -> Prepared:
        """Sources and targets as a micro-batch; `loss`, which knows the model's start token, shifts the targets."""
        assert examples.targets is not None
        sources = [examples.ids.row(int(i)) for i in rows]
        targets = [examples.targets.row(int(i)) for i in rows]
        order = by_length([len(row) for row in sources], [len(row) for row in targets])
        batch = Batch.from_lists(sources, order=order, device=device)
        target = Batch.from_lists(targets, order=order, device=device)
        shares = _shares(examples, rows, order, device)
        weight = _token_weight(target.tokens, None, target, shares)
        return Prepared(batch, target.tokens, weight, target, shares)

    def loss(self, model: Model, prepared: Prepared) -> Tensor:
        """The sum over target tokens."""
        assert prepared.target is not None
        start = None if model.spec.target_start == "last" else model.spec.decoder_start_id
        if start is None and model.spec.target_start != "last":
            raise TrainingError("this model's spec has no decoder_start_id to begin a target with")
        target = prepared.target.shift_right(start)
        logits = model.run(prepared.batch, target, wanted=self.head).heads[self.head].float()
        return _token_sum(logits, prepared, target, None, self.label_smoothing)


def _batch(examples: Encoded, rows: np.ndarray, device: torch.device) -> tuple[Batch, Tensor | None]:
    segments = examples.segments
    batch = Batch.from_lists(
        [examples.ids.row(int(i)) for i in rows],
        None if segments is None else [segments.row(int(i)) for i in rows],
        device=device,
    )
    return batch, _shares(examples, rows, batch.order, device)


def _shares(examples: Encoded, rows: np.ndarray, order: Sequence[int], device: torch.device) -> Tensor | None:
    if examples.weights is None:
        return None
    return torch.tensor(examples.weights[rows[list(order)]], dtype=torch.float64, device=device)


def _rows(
    examples: Encoded, labels: Any, rows: np.ndarray, device: torch.device, dtype: torch.dtype
) -> tuple[Batch, Tensor, Tensor | None]:
    batch, shares = _batch(examples, rows, device)
    return batch, torch.as_tensor(np.asarray(labels)[rows[list(batch.order)]]).to(device, dtype), shares


def _weighted(losses: Tensor, prepared: Prepared) -> Tensor:
    if prepared.row_weights is not None:
        losses = losses * prepared.row_weights.to(losses.dtype)
    return losses.sum()


def _token_weight(
    wanted: Tensor, class_weights: tuple[float, ...] | None, batch: Batch, shares: Tensor | None
) -> float:
    real = wanted != IGNORED
    if class_weights is None and shares is None:
        return float(real.sum())
    counted = real.double()
    if class_weights is not None:
        counted = counted * counted.new_tensor(class_weights)[wanted.clamp(min=0)]
    if shares is not None:
        counted = counted * shares[batch.rows.row_of]
    return float(counted.sum())


def _token_sum(
    logits: Tensor, prepared: Prepared, batch: Batch, class_weights: tuple[float, ...] | None, smoothing: float
) -> Tensor:
    weights = None if class_weights is None else logits.new_tensor(class_weights)
    kept = "sum" if prepared.row_weights is None else "none"
    losses = F.cross_entropy(
        logits, prepared.wanted, weights, ignore_index=IGNORED, reduction=kept, label_smoothing=smoothing
    )
    if prepared.row_weights is None:
        return losses
    return (losses * prepared.row_weights[batch.rows.row_of].to(losses.dtype)).sum()
