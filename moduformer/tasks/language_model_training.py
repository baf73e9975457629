"""How a language model learns from texts alone, and what it makes of texts it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from moduformer.architecture import HeadKind
from moduformer.blocks.head import IGNORED
from moduformer.errors import CheckpointError, TrainingError
from moduformer.families import family
from moduformer.loading import load
from moduformer.metrics.language_model import LanguageModelMetrics, language_model_metrics, scored_windows
from moduformer.model import Model, build
from moduformer.pipelines.windowing import LONGEST, longest_row, windower
from moduformer.tasks.fine_tuning import attach_lora
from moduformer.text.tokenizer import Tokenizer
from moduformer.train.adaptation import LARGE_VOCABULARY
from moduformer.train.batching import evaluation_batches
from moduformer.train.callbacks import Callback, History
from moduformer.train.encoded import Encoded, Ragged
from moduformer.train.groups import Only
from moduformer.train.loop import train
from moduformer.train.objectives import MaskedLanguage, NextToken, Objective
from moduformer.train.plain_texts import PlainTexts, split_texts
from moduformer.train.recipes import Recipe
from moduformer.train.scratch import Size

SCRATCH = ("gpt", "llama", "bert")
"""Architectures that are trained from nothing: GPT-2's, LLaMA's, and BERT's with masked words."""

SCRATCH_LENGTH, SCRATCH_EPOCHS, SCRATCH_RATE = 256, 5, 1e-3

_LOGITS = 2**25
"""Numbers a batch's logits hold at most when scoring."""


@dataclass
class Training:
    """One training run; `source` is a checkpoint's name, or one of `SCRATCH`.

    Attributes:
        size: of a model from scratch; see `Size`.
        max_length: tokens of a window; None takes what the model reads, at most 512 (256 from scratch).
        probability: share of hidden tokens (encoders).
        patience: stop after so many epochs without a lower loss on a tenth of the text set aside, and keep the best.
    """

    source: str | Path
    recipe: Recipe
    texts: PlainTexts
    evaluation: PlainTexts | None = None
    size: Size | None = None
    max_length: int | None = None
    probability: float = 0.15
    device: str | None = None
    callbacks: Sequence[Callback] = ()
    folder: Path | None = None
    resume: bool = False
    patience: int | None = None


@dataclass
class Trained:
    """A trained model, how its training went, the recipe as it was used, and what was read."""

    model: Model
    history: History
    recipe: Recipe
    report: dict[str, int]
    lora: Any = None


def train_language_model(job: Training) -> Trained:
    """Runs a job.

    Raises:
        DataError, TrainingError, CheckpointError, SourceError, TextError: what stands in its way.
    """
    choice = None
    if job.patience is not None:
        kept, choice = split_texts(job.texts, 0.1, job.recipe.settings.seed)
        settings = replace(job.recipe.settings, metric="choice_loss", greater_is_better=False, patience=job.patience)
        job = replace(job, texts=kept, recipe=replace(job.recipe, settings=settings))
    if job.source in SCRATCH:
        model = _untrained(str(job.source), job)
        # The recipes' rates are for models that have learned already.
        own = replace(job.recipe.settings, embedding="dense")
        recipe = replace(job.recipe, settings=own, rate_by_size=False)
    else:
        model = language_model(job.source, job.device)
        if model.quantization is not None:
            raise TrainingError(f"{job.source} is quantised and cannot be trained; start from its float checkpoint")
        recipe = _for_words(job.recipe.for_model(model.spec), model)
    if job.device is not None:
        model = model.to(device=job.device)
    job = replace(job, recipe=recipe)
    encoded, report = learned_windows(model, job.texts.texts, job.max_length)
    lora = attach_lora(model, job)
    history = train(
        model,
        encoded,
        None,
        recipe.settings,
        objective=objective(model, job.probability, recipe.settings.seed),
        adapters=lora,
        evaluate=_evaluator(job, choice),
        callbacks=job.callbacks,
        folder=job.folder,
        resume=job.resume,
    )
    return Trained(model, history, recipe, report, lora)


def language_model(source: str | Path, device: str | None = None) -> Model:
    """A checkpoint with its language-model head; an encoder published without one gets a new one, and says so.

    Raises:
        TrainingError: the model has an encoder and a decoder.
    """
    for task, new in (("text-generation", False), ("fill-mask", False), ("fill-mask", True)):
        try:
            model = load(source, task, device, new_head=new)
        except CheckpointError:
            if new:
                raise
            continue
        if model.encoder is not None and model.decoder is not None:
            raise TrainingError(f"{source} has an encoder and a decoder; train it on pairs with Seq2Seq")
        return model
    raise AssertionError("the last attempt returns or raises")


def is_causal(model: Model) -> bool:
    """Whether the model tells a token from those before it (or after it, if it reads backward)."""
    return model.spec.head("language-model") is not None


def objective(model: Model, probability: float = 0.15, seed: int = 0) -> Objective:
    """What the model learns. Raises `TrainingError` for an encoder whose tokenizer has no mask token."""
    if is_causal(model):
        return NextToken(backward=model.spec.reads_backward)
    tokenizer = model.tokenizer
    if tokenizer is None or tokenizer.mask_id is None:
        raise TrainingError("an encoder learns by guessing words behind a mask token, and its tokenizer has none")
    special = {tokenizer.token_to_id(token) for token in tokenizer.special_tokens.values()}
    ids = tuple(sorted(number for number in special if number is not None))
    return MaskedLanguage(tokenizer.mask_id, model.spec.vocab, ids, probability, seed)


def learned_windows(
    model: Model, texts: Sequence[str], max_length: int | None = None
) -> tuple[Encoded, dict[str, int]]:
    """Windows over texts in which every token is learned once, and how many there are."""
    if is_causal(model):
        rows = [row for text in texts for row, _ in _causal_windows(model, text, max_length, overlap=1, closed=True)]
        encoded = Encoded.of(rows)
    else:
        encoded = windower(model, max_length, 0)(texts).encoded
    tokens = int(encoded.ids.lengths.sum())
    report = {"texts": len(texts), "windows": len(encoded), "tokens": tokens, "tokens_dropped": 0}
    return encoded, report


def _causal_windows(
    model: Model, text: str, max_length: int | None, overlap: int, closed: bool
) -> list[tuple[list[int], int]]:
    """A text's windows and from which token on each is scored; begun, and where `closed` ended, by special tokens."""
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise TrainingError("this model's folder has no tokenizer; add its tokenizer.json, or choose another model")
    ids = tokenizer.encode(text, add_special_tokens=False, allow_special=False).ids
    start = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id
    row = [*([] if start is None else [start]), *ids]
    if closed and tokenizer.eos_id is not None:
        row.append(tokenizer.eos_id)
    size = window_of(model, max_length)
    found = scored_windows(len(row), size, min(overlap, size - 1))
    return [(row[window.start : window.end], window.first - window.start) for window in found]


def window_of(model: Model, max_length: int | None) -> int:
    """Tokens of a window. Raises `TrainingError` for more than the model reads."""
    limit = longest_row(model)
    if max_length is not None and limit is not None and max_length > limit:
        raise TrainingError(f"max_length is {max_length}, but this model reads at most {limit} tokens at once")
    return max_length or min(LONGEST, limit or LONGEST)


def score_texts(
    model: Model, texts: Sequence[str], max_length: int | None = None, probability: float = 0.15, seed: int = 0
) -> LanguageModelMetrics:
    """What texts cost a model.

    A decoder is asked for every token of every text, each once, with at least half a window before it where there is
    so much: its perplexity. An encoder is asked for the tokens that a fixed draw hides: the exponential of their mean
    loss, which is no perplexity of the text and compares only with the same draw and tokenizer.
    """
    causal = is_causal(model)
    if causal:
        size = window_of(model, max_length)
        windows = [
            w for text in texts for w in _causal_windows(model, text, max_length, max(1, size // 2), closed=False)
        ]
        encoded = Encoded.of([row for row, _ in windows])
        labels = Ragged.of([[*[IGNORED] * first, *row[first:]] for row, first in windows])
    else:
        encoded, labels = windower(model, max_length, 0)(texts).encoded, None
    asked = objective(model, probability, seed)
    losses, counts = _row_losses(model, encoded, labels, asked)
    return language_model_metrics(losses.tolist(), counts.tolist(), texts if causal else None)


@torch.inference_mode()
def _row_losses(
    model: Model, encoded: Encoded, labels: Ragged | None, asked: Objective
) -> tuple[np.ndarray, np.ndarray]:
    """The summed loss of each row and how many tokens it is of."""
    losses, counts = np.zeros(len(encoded)), np.zeros(len(encoded))
    head: HeadKind = asked.head
    for rows in evaluation_batches(encoded.lengths, max(128, _LOGITS // model.spec.vocab)):
        prepared = asked.prepare(encoded, labels, rows, 0, model.device)
        batch = prepared.batch
        logits = model.run(batch, wanted=head).heads[head].float()
        each = F.cross_entropy(logits, prepared.wanted, ignore_index=IGNORED, reduction="none").double()
        zeros = each.new_zeros(len(rows))
        summed = zeros.index_add(0, batch.rows.row_of, each)
        real = zeros.index_add(0, batch.rows.row_of, (prepared.wanted != IGNORED).double())
        places = rows[list(batch.order)]
        losses[places], counts[places] = summed.cpu().numpy(), real.cpu().numpy()
    return losses, counts


def _evaluator(job: Training, choice: PlainTexts | None) -> Callable[[Model], dict[str, float]] | None:
    parts = {"": job.evaluation, "choice_": choice}
    held = {name: part.texts for name, part in parts.items() if part is not None}
    if not held:
        return None

    def evaluate(model: Model) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, texts in held.items():
            scores = score_texts(model, texts, job.max_length, job.probability)
            found |= {f"{name}loss": scores.loss, f"{name}perplexity": scores.perplexity}
        return found

    return evaluate


def _for_words(recipe: Recipe, model: Model) -> Recipe:
    if recipe.linear_head or recipe.adaptation is not None:
        raise TrainingError(f"recipe {recipe.name!r} is for classifying; use plain, ulmfit or lora")
    if recipe.lora is not None:
        return replace(recipe, settings=replace(recipe.settings, policy=Only(("adapters",))))
    table: Literal["frozen", "dense"] = "frozen" if model.spec.vocab > LARGE_VOCABULARY else "dense"
    return replace(recipe, settings=replace(recipe.settings, embedding=table))


# From nothing ---------------------------------------------------------------------------------------------------------


def _untrained(name: str, job: Training) -> Model:
    """An untrained model with a vocabulary learned from the texts."""
    if job.recipe.lora is not None or job.recipe.linear_head:
        raise TrainingError(f"{name} is trained from scratch, where recipe {job.recipe.name!r} has no base to keep")
    size, length = job.size or Size(), job.max_length or SCRATCH_LENGTH
    tokenizer = Tokenizer.train(job.texts.texts, "wordpiece" if name == "bert" else "bpe", size.vocab)
    ids = {"pad_token_id": tokenizer.pad_id, "eos_token_id": tokenizer.eos_id, "bos_token_id": tokenizer.eos_id}
    shared = {"vocab_size": tokenizer.max_id + 1}
    wide = {"hidden_size": size.d_model, "num_hidden_layers": size.layers, "num_attention_heads": size.heads,
            "intermediate_size": size.d_ff, "max_position_embeddings": length}  # fmt: skip
    if name == "gpt":
        small = {"n_embd": size.d_model, "n_layer": size.layers, "n_head": size.heads, "n_inner": size.d_ff,
                 "n_positions": length, "resid_pdrop": size.dropout, "embd_pdrop": size.dropout}  # fmt: skip
        spec = family("gpt2").read(shared | small | ids, "GPT2LMHeadModel")
    elif name == "llama":
        spec = family("llama").read(shared | wide | ids | {"tie_word_embeddings": True}, "LlamaForCausalLM")
    else:
        drop = {"hidden_dropout_prob": size.dropout, "pad_token_id": tokenizer.pad_id}
        spec = family("bert").read(shared | wide | drop, "BertForMaskedLM")
    model = build(spec, seed=job.recipe.settings.seed)
    model.tokenizer = tokenizer
    return model
