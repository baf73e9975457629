"""Reference models of every family, written by `transformers`: random sizes, every parameter random."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

VOCAB = 61


@dataclass(frozen=True)
class Reference:
    """A family's classes, and a config for a random draw of its hyperparameters."""

    family: str
    classes: tuple[str, ...]
    draw: Callable[[random.Random], Any]
    positions: bool = True
    """Whether the class takes position_ids, which left padding needs to mean the same as none."""
    double: float = 1e-9
    """The error allowed in float64: larger where `transformers` computes statistics, softmax or angles in float32."""
    ends_with_eos: tuple[str, ...] = ()
    """Classes that read the last end-of-sequence token of every row."""
    attention: str = "eager"
    """Which of its implementations of attention `transformers` shall use: another where the plain one is wrong."""
    padded_double: bool = True
    """Whether the reference gives numbers for padded rows in float64 at all."""
    no_left: tuple[str, ...] = ()
    """Classes for which `transformers` itself reads left padding as text."""
    no_right: tuple[str, ...] = ()
    """Classes for which it reads right padding as text."""


def classes(name: str, *heads: str) -> tuple[str, ...]:
    """The classes most families have: the body, these heads, and the three that are trained on labels."""
    common = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
    return tuple(f"{name}{head}" for head in ("Model", *heads, *common))


def make(reference: Reference, name: str, seed: int, dtype: torch.dtype = torch.float32) -> Any:
    """A reference model in evaluation mode with every parameter drawn at random.

    Default initialisation hides swapped norms, dropped biases and swapped projections behind zeros and ones.
    """
    config = reference.draw(random.Random(f"{reference.family}-{seed}"))
    fixed = ("Model", "ForPreTraining", "MaskedLM", "CausalLM", "Generation", "Answering", "Simple", "Prediction")
    if not name.endswith(fixed):
        config.num_labels = 3
    config._attn_implementation = reference.attention
    model = getattr(transformers, name)(config).to(dtype).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        # What is not trained is computed (sinusoids), but for biases that were trained elsewhere (final_logits_bias).
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        buffers = {name: model.get_buffer(name) for name, _ in model.named_buffers() if name in model.state_dict()}
        learned += [buffer for name, buffer in buffers.items() if name.endswith("logits_bias")]
        for parameter in learned:
            scale = 0.5 if parameter.dim() == 1 else 0.8 / parameter.shape[-1] ** 0.5
            parameter.normal_(std=scale, generator=generator)
    return model


def save(model: Any, folder: Path) -> Path:
    """The reference model's own files."""
    model.save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Inputs:
    """Padded inputs for both sides, and which cells are real."""

    ours: dict[str, torch.Tensor]
    theirs: dict[str, torch.Tensor]
    real: torch.Tensor
    decoder_real: torch.Tensor | None


def inputs(reference: Reference, model: Any, padding: str, seed: int) -> Inputs:
    """Four texts of different lengths (or one length), padded on the right, the left or not at all."""
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    rows, width = 4, 11
    pad = config.pad_token_id if config.pad_token_id is not None else 0
    ids = torch.randint(5, VOCAB, (rows, width), generator=generator)
    lengths = torch.full((rows,), width) if padding == "equal" else torch.tensor([11, 4, 7, 4])
    columns = torch.arange(width)
    real = columns < lengths[:, None] if padding != "left" else columns >= width - lengths[:, None]
    if type(model).__name__ in reference.ends_with_eos:
        last = (real * columns).argmax(1)
        ids[torch.arange(rows), last] = config.eos_token_id
    ids = ids.masked_fill(~real, pad)
    common: dict[str, torch.Tensor] = {"input_ids": ids}
    if padding != "equal":
        common["attention_mask"] = real.long()
    if getattr(config, "type_vocab_size", 0) and reference.family != "distilbert":
        segments = torch.randint(0, config.type_vocab_size, (rows, width), generator=generator)
        common["token_type_ids"] = segments.masked_fill(~real, 0)
    if getattr(config, "use_task_id", False):
        tasks = torch.randint(0, config.task_type_vocab_size, (rows, width), generator=generator)
        common["task_type_ids"] = tasks.masked_fill(~real, 0)
    decoder_real = None
    if config.is_encoder_decoder and type(model).__name__.endswith(("Model", "ForConditionalGeneration", "MTModel")):
        common["decoder_input_ids"] = torch.randint(5, VOCAB, (rows, 6), generator=generator)
        decoder_real = torch.ones(rows, 6, dtype=torch.bool)
    theirs = dict(common)
    if reference.positions and padding == "left":
        theirs["position_ids"] = (columns - (width - lengths[:, None])).clamp(min=0)
    return Inputs(common, theirs, real, decoder_real)
