"""Language-model training on a task's own texts before the task (Howard & Ruder 2018; Gururangan et al. 2020).

The words alone teach the model the domain; labels are not needed, so texts without labels may join.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from moduformer.architecture import Head, HeadKind, Norm, Transform
from moduformer.errors import TrainingError
from moduformer.model import Model, build, materialise
from moduformer.train.callbacks import Callback, History
from moduformer.train.encoded import Encoded
from moduformer.train.loop import train
from moduformer.train.objectives import MaskedLanguage, NextToken, Objective
from moduformer.train.seeds import draw_head
from moduformer.train.settings import Settings

LARGE_VOCABULARY = 100_000
"""Guessing words trains the token table through the tied head, every row at each step; larger tables stay frozen."""


@dataclass(frozen=True)
class Adaptation:
    """How long and how fast to adapt; `probability` is the share of hidden tokens (encoders only)."""

    epochs: int = 1
    learning_rate: float = 1e-4
    probability: float = 0.15


def adapt(
    model: Model,
    examples: Encoded,
    adaptation: Adaptation | None = None,
    *,
    mask_id: int | None = None,
    special_ids: Sequence[int] = (),
    batch_size: int = 32,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
    folder: Path | None = None,
    resume: bool = False,
) -> History:
    """Trains the model's body in place as a language model; its own heads are left alone.

    Args:
        model: an encoder learns to guess hidden tokens, a decoder the next one. It uses its own language-model head if
            it has one, else a new one tied to its token table, which is dropped afterwards.
        examples: token ids of the texts.
        mask_id: the token that hides another; needed for encoders. `special_ids` are never hidden.
        callbacks, folder, resume: as in `train`.

    Raises:
        TrainingError: an encoder-decoder, or an encoder without a mask token.
    """
    adaptation = adaptation or Adaptation()
    shell = _language_model(model, seed)
    objective: Objective
    if model.encoder is None:
        objective = NextToken(backward=model.spec.reads_backward)
    elif mask_id is None:
        raise TrainingError("adapting an encoder hides words behind a mask token, and its tokenizer has none")
    else:
        objective = MaskedLanguage(mask_id, model.spec.vocab, tuple(special_ids), adaptation.probability, seed)
    settings = Settings(
        epochs=adaptation.epochs,
        learning_rate=adaptation.learning_rate,
        batch_size=batch_size,
        embedding="frozen" if model.spec.vocab > LARGE_VOCABULARY else "dense",
        seed=seed,
    )
    history = train(
        shell, examples, None, settings, objective=objective, callbacks=callbacks, folder=folder, resume=resume
    )
    model.eval()
    return history


def _language_model(model: Model, seed: int) -> Model:
    """A model with the same body (the same parameters, not copies) and a language-model head alone."""
    spec = model.spec
    if spec.encoder is not None and spec.decoder is not None:
        raise TrainingError("adaptation is for an encoder or a decoder alone, and this model has both")
    kind: HeadKind = "language-model" if spec.encoder is None else "masked-lm"
    own = spec.head(kind)
    head = own or Head(
        kind,
        tied=True,
        bias=kind == "masked-lm",
        transform=None if kind == "language-model" else Transform(spec.embedding.width, "gelu", Norm()),
    )
    shell = build(replace(spec, heads=(head,)), device="meta")
    shell.embedding, shell.encoder, shell.decoder = model.embedding, model.encoder, model.decoder
    if own is not None:
        shell.heads[kind] = model.heads[kind]
    else:
        materialise(shell.heads, model.device)
        draw_head(shell, kind, seed)
    return shell.eval()
