"""Translators from nothing but sentence pairs: the 2017 Transformer as its paper trains it, or any encoder-decoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from moduformer.architecture import Spec
from moduformer.errors import DataError, TrainingError
from moduformer.families import family
from moduformer.generate.greedy import greedy
from moduformer.model import Model, build
from moduformer.text.tokenizer import Tokenizer
from moduformer.train.callbacks import Callback, History
from moduformer.train.encoded import Encoded
from moduformer.train.loop import train
from moduformer.train.objectives import SequenceToSequence
from moduformer.train.schedule import InverseSquareRoot
from moduformer.train.settings import Settings

LEAST_RISE = 1000
"""Updates that the peak of the learning rate is reckoned from at least, where the rise itself is shorter."""


@dataclass(frozen=True)
class Size:
    """A Transformer's sizes in the paper's letters: N layers a stack, d_model, d_ff, h heads, and dropout."""

    layers: int = 3
    d_model: int = 256
    d_ff: int = 512
    heads: int = 4
    dropout: float = 0.1
    vocab: int = 8000

    def __post_init__(self) -> None:
        for name in ("layers", "d_model", "d_ff", "heads", "vocab"):
            if type(value := getattr(self, name)) is not int or value < 1:
                raise DataError(f"size: {name} is {value!r:.40}; it must be a whole number of at least 1")
        if self.d_model % self.heads:
            raise DataError(f"size: d_model {self.d_model} is not a multiple of heads {self.heads}")
        if not 0 <= self.dropout < 1:
            raise DataError(f"size: dropout is {self.dropout!r:.40}; it must be at least 0 and below 1")


def new_transformer(size: Size, tokenizer: Tokenizer, seed: int = 0) -> Model:
    """An untrained Transformer (Vaswani et al. 2017) for a tokenizer with padding, start and end tokens.

    Matrices are drawn as Glorot & Bengio (2010) propose and embeddings with a variance of 1 / d_model, as the authors'
    code does.
    """
    spec = family("transformer").read(
        {
            "vocab_size": tokenizer.vocab_size,
            "d_model": size.d_model,
            "d_ff": size.d_ff,
            "num_heads": size.heads,
            "encoder_layers": size.layers,
            "decoder_layers": size.layers,
            "dropout": size.dropout,
            "pad_token_id": tokenizer.pad_id,
            "bos_token_id": tokenizer.bos_id,
            "eos_token_id": tokenizer.eos_id,
            "decoder_start_token_id": tokenizer.bos_id,
        },
        "TransformerForConditionalGeneration",
    )
    model = build(spec, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    views = model.views()
    fused = {name for name in views if name.endswith((".qkv.weight", ".kv.weight"))}
    with torch.no_grad():
        for name, tensor in views.items():
            if name == "embedding.tokens.weight":
                tensor.normal_(std=size.d_model**-0.5, generator=generator)
            elif tensor.dim() == 2 and name not in fused:
                bound = math.sqrt(6 / (tensor.shape[0] + tensor.shape[1]))
                tensor.uniform_(-bound, bound, generator=generator)
    model.tokenizer = tokenizer
    return model


def new_translator(spec: Spec, tokenizer: Tokenizer, seed: int = 0) -> Model:
    """An untrained encoder-decoder for a tokenizer of both languages, whose vocabulary and special ids it takes.

    Numbers are drawn evenly between -1 / sqrt(n) and 1 / sqrt(n), where n is the width of what a matrix reads, as LeCun
    et al. (1998) propose; vectors begin at zero.
    """
    vocab = tokenizer.vocab_size
    spec = replace(
        spec,
        vocab=vocab,
        target_vocab=None if spec.target_vocab is None else vocab,
        pad_id=tokenizer.pad_id,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        decoder_start_id=tokenizer.bos_id,
    )
    model = build(spec, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                bound = parameter.shape[1] ** -0.5
                parameter.uniform_(-bound, bound, generator=generator)
            elif "norm" not in name:
                parameter.zero_()
    model.tokenizer = tokenizer
    return model


def train_translation(
    pairs: Sequence[tuple[str, str]],
    size: Size | Spec | None = None,
    *,
    steps: int = 8000,
    batch_tokens: int = 2048,
    warmup: int = 2000,
    batch_size: int | None = None,
    epochs: int | None = None,
    learning_rate: float | None = None,
    label_smoothing: float = 0.1,
    seed: int = 0,
    precision: Literal["float32", "bfloat16"] = "float32",
    evaluate: Callable[[Model], Mapping[str, float]] | None = None,
    evaluate_every: int | None = None,
    callbacks: Sequence[Callback] = (),
    folder: Path | None = None,
    resume: bool = False,
) -> tuple[Model, History]:
    """Trains an encoder-decoder on (source, target) texts with one shared subword vocabulary.

    The paper's recipe (sections 5.3 and 5.4): Adam with betas 0.9 and 0.98, a rate of d_model^-0.5 warmup^-0.5 at its
    peak that rises linearly and falls with the square root, label smoothing, batches by tokens.

    Arguments:
        pairs: the texts; both sides share the vocabulary.
        size: layers and widths of a Transformer, None takes a small one for small data; or the spec of another
            encoder-decoder, such as a recurrent one, with the wanted size of the vocabulary as its `vocab`.
        steps: updates; `batch_tokens` source tokens each.
        batch_size: pairs an update on average, in place of `batch_tokens`.
        epochs: passes over the pairs in place of `steps`; the rate then rises over a quarter of them at most.
        precision: of matrix products; weights and optimizer stay in float32.
        evaluate: called on the model every `evaluate_every` updates, in evaluation mode.
        folder: where to keep checkpoints, so that `resume` goes on after an interruption.

    Raises `DataError` when there are no pairs or a text is empty, `TrainingError` for a spec that does not translate.
    """
    size = size or Size()
    if isinstance(size, Spec) and not (size.encoder and size.decoder and size.head("language-model")):
        raise TrainingError("a translator needs an encoder, a decoder and a language-model head")
    for number, pair in enumerate(pairs, 1):
        if len(pair) != 2 or not all(isinstance(text, str) and text.strip() for text in pair):
            raise DataError(f"pair {number} is {pair!r:.80}; each must be two texts that are not empty")
    if not pairs:
        raise DataError("there are no sentence pairs to train on")
    tokenizer = pair_tokenizer([text for pair in pairs for text in pair], size.vocab)
    model = new_translator(size, tokenizer, seed) if isinstance(size, Spec) else new_transformer(size, tokenizer, seed)
    examples = Encoded.of(
        [encode(tokenizer, source) for source, _ in pairs], targets=[encode(tokenizer, target) for _, target in pairs]
    )
    if batch_size is not None:
        batch_tokens = max(1, round(batch_size * float(examples.lengths.mean())))
    if epochs is not None:
        steps = max(1, math.ceil(epochs * int(examples.lengths.sum()) / batch_tokens))
        warmup = max(1, min(warmup, steps // 4))
    # The paper's peak grows as the rise shortens; what a rise of a few updates would reach unlearns more than it
    # teaches.
    peak = (model.spec.dim * max(warmup, LEAST_RISE)) ** -0.5 if learning_rate is None else learning_rate
    settings = Settings(
        epochs=math.ceil(2 * steps * batch_tokens / int(examples.ids.lengths.sum())) + 1,
        max_steps=steps,
        batch_tokens=batch_tokens,
        learning_rate=peak,
        schedule=InverseSquareRoot(warmup),
        betas=(0.9, 0.98),
        eps=1e-9,
        weight_decay=0.0,
        embedding="dense",
        seed=seed,
        precision=precision,
        evaluate_every=evaluate_every,
        save_every=None if folder is None else max(steps // 20, 1),
    )
    history = train(
        model,
        examples,
        None,
        settings,
        objective=SequenceToSequence(label_smoothing=label_smoothing),
        evaluate=evaluate,
        callbacks=callbacks,
        folder=folder,
        resume=resume,
    )
    return model, history


def pair_tokenizer(texts: Sequence[str], vocab: int) -> Tokenizer:
    """A shared subword vocabulary of sources and targets; a text is closed by the end token, and nothing before it."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer.train(texts, kind="unigram", vocab_size=vocab)
    end = tokenizer.special_tokens["eos"]
    raw = tokenizer.to_tokenizers()
    raw.post_processor = TemplateProcessing(
        single=f"$A {end}", pair=f"$A $B {end}", special_tokens=[(end, raw.token_to_id(end))]
    )
    return Tokenizer.from_tokenizers(raw, **tokenizer.special_tokens)


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """A text's ids, closed by the end token."""
    assert tokenizer.eos_id is not None, "a tokenizer made here has an end token"
    return [*tokenizer.encode(text, add_special_tokens=False).ids, tokenizer.eos_id]


def translate(model: Model, texts: Sequence[str], max_new_tokens: int = 100) -> list[str]:
    """Greedy translations of texts by a model of `train_translation`, in order."""
    tokenizer: Any = model.tokenizer
    rows = greedy(model, [encode(tokenizer, text) for text in texts], max_new_tokens)
    return [tokenizer.decode(row) for row in rows]
