"""What a model is given to read: a text, a pair, a target, a picture; and the pass over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moduformer.architecture import Recurrent, RecurrentDecoder
from moduformer.batch import Batch
from moduformer.errors import TextError
from moduformer.generate.text import encode_prompt, generate_text, tokenizer_of
from moduformer.images import ImageProcessor
from moduformer.model import Model, States
from moduformer.trace import Trace
from moduformer.view.pictures import pixels_of, png_address
from moduformer.view.tokens import Reading, Token, of_encoding, of_ids

MOST_TOKENS = 16_384
"""Tokens of one text; a map of more would not be looked at."""

WRITTEN = 40
"""Tokens that an encoder-decoder writes where no target is given."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """One text (or picture) as a model takes it, and how a person reads it.

    `readings` are the sequences by name: `source`, `target`, `image`. `written_from` is the first token that the model
    wrote itself.
    """

    readings: dict[str, Reading]
    ids: tuple[int, ...] = ()
    types: tuple[int, ...] | None = None
    target: tuple[int, ...] | None = None
    pixels: Tensor | None = None
    written_from: int | None = None
    stacks: dict[str, str] = field(default_factory=dict)

    def run(self, model: Model, trace: Trace | None = None, copies: int = 1, at: Sequence[int] | None = None) -> States:
        """A pass over `copies` rows of these inputs; `at` are the tokens of a row that heads shall read."""
        pixels = None if self.pixels is None else self.pixels.expand(copies, -1, -1, -1)
        if not self.ids:
            assert pixels is not None
            return _seen(model, pixels, trace)
        device = model.device
        rows = [list(self.ids)] * copies
        types = None if self.types is None else [list(self.types)] * copies
        batch = Batch.from_lists(rows, types, device=device)
        target = None
        if self.target is not None:
            target = Batch.from_lists([list(self.target)] * copies, device=device)
        elif model.encoder is not None and model.decoder is not None:
            target = model.source_again(batch)
        if pixels is not None and model.spec.has_source and model.encoder is None:
            batch, target = model.images_of(batch, pixels), batch
        elif pixels is not None:
            batch = model.with_pixels(batch, pixels)
        read = target or batch
        places = None
        if at is not None:
            starts = read.rows.starts
            places = (starts[:, None] + torch.tensor(list(at), device=starts.device)).flatten()
        return model.run(batch, target, trace=trace, logits_at=places)


def _seen(model: Model, pixels: Tensor, trace: Trace | None) -> States:
    """A pass over pictures alone."""
    assert model.vision is not None
    seen = Batch.from_pixels(pixels, model.vision.settings.patches.tokens)
    if model.spec.sees_only:
        return model.run(seen, trace=trace)
    # The image side of a model that compares texts with images, by itself.
    if trace is not None:
        trace.begin(vision=seen)
    states = States(model.vision(pixels, trace).flatten(0, 1), seen)
    if trace is not None:
        trace.end()
    return states


def kind_of(model: Model) -> str:
    """`encoder`, `decoder`, `encoder-decoder`, `vision` or `recurrent`."""
    spec = model.spec
    if spec.sees_only:
        return "vision"
    if any(isinstance(stack, Recurrent | RecurrentDecoder) for stack in (spec.encoder, spec.decoder)):
        return "recurrent"
    if spec.encoder is not None and spec.decoder is not None:
        return "encoder-decoder"
    return "encoder" if spec.encoder is not None else "decoder"


def inputs_of(
    model: Model,
    text: str | None,
    pair: str | None = None,
    target: str | None = None,
    image: Any = None,
    generate: int = 0,
    processor: ImageProcessor | None = None,
) -> Inputs:
    """A text, a pair of texts, a target or a picture, prepared for a model.

    Raises `TextError` for what the model cannot take.
    """
    for name, given in (("text", text), ("pair", pair), ("target", target)):
        if given is not None and not isinstance(given, str):
            raise TextError(f"{name} is a {type(given).__name__}, but must be a text")
    readings: dict[str, Reading] = {}
    stacks = {"encoder": "source", "decoder": "source", "vision": "image"}
    pixels = None
    if image is not None:
        if model.vision is None:
            raise TextError("this model reads text only, so it takes no image")
        pixels, readings["image"] = _picture(model, image, processor)
    alone = model.spec.sees_only or (pixels is not None and model.vision.settings.injection == "beside")  # type: ignore[union-attr]
    if alone:
        if pixels is None:
            raise TextError("this model sees and reads no text: give it an image")
        if text:
            raise TextError("this model looks at an image by itself: give the image or the text, one at a time")
        return Inputs(readings, pixels=pixels.to(model.device), stacks=stacks)
    if pixels is None and model.spec.has_source and model.encoder is None:
        raise TextError("this model writes about an image: give it one")
    if text is None:
        raise TextError("there is no text to look at")
    if pixels is None and not text.strip():
        raise TextError('the text is empty; give a sentence, such as "The movie was not bad at all."')
    found = _text(model, text, pair, generate, pixels is not None)
    found = replace(found, readings=readings | found.readings, stacks=stacks, pixels=pixels)
    if pixels is not None:
        found = replace(found, pixels=pixels.to(model.device))
    if model.encoder is not None and model.decoder is not None:
        found = _with_target(model, found, text, target, generate)
    elif target is not None:
        raise TextError("a target is for a model with an encoder and a decoder; put it into the text")
    longest = max(len(reading) for reading in found.readings.values())
    if longest > MOST_TOKENS:
        raise TextError(f"{longest:,} tokens are more than the {MOST_TOKENS:,} that are looked at; shorten the text")
    return found


def _text(model: Model, text: str, pair: str | None, generate: int, pictured: bool) -> Inputs:
    tokenizer = tokenizer_of(model)
    encoding = tokenizer.encode(text, pair)
    reading = of_encoding(tokenizer, encoding, text, pair)
    types = tuple(encoding.type_ids) if model.spec.embedding.segments > 1 else None
    if model.encoder is not None or model.spec.head("language-model") is None or pair is not None:
        if not reading.ids:
            raise TextError("the text has no tokens; write a word")
        return Inputs({"source": reading}, reading.ids, types)
    ids = encode_prompt(model, tokenizer, text)
    seen = model.spec.vision
    if pictured and seen is not None and seen.image_token is not None:
        # A person writes one token for an image, or none; a model may want one for each of its vectors.
        wanted = model.spec.image_tokens if seen.injection == "tokens" else 1
        places = [place for place, token in enumerate(ids) if token == seen.image_token]
        first = places[0] if places else 0
        kept = [token for token in ids if token != seen.image_token]
        ids = [*kept[:first], *[seen.image_token] * wanted, *kept[first:]]
        return Inputs({"source": of_ids(tokenizer, ids)}, tuple(ids))
    shared = next((i for i, (a, b) in enumerate(zip(ids, reading.ids)) if a != b), min(len(ids), len(reading.ids)))
    given = replace(
        reading, tokens=reading.tokens[:shared], ids=reading.ids[:shared], separators=reading.separators[:shared]
    )
    if len(ids) > shared:
        given = of_ids(tokenizer, ids[shared:], given)
    if not generate or pictured:
        return Inputs({"source": given}, given.ids)
    made = generate_text(model, text, max_new_tokens=generate, do_sample=False)[0]
    whole = of_ids(tokenizer, made.tokens, given)
    return Inputs({"source": whole}, whole.ids, written_from=len(given.ids))


def _with_target(model: Model, found: Inputs, text: str, target: str | None, generate: int) -> Inputs:
    """An encoder-decoder's second sequence: given, written by the model, or its source again for a label."""
    stacks = found.stacks | {"decoder": "target"}
    tokenizer = tokenizer_of(model).of_targets()
    if model.spec.head("language-model") is None:
        again = model.source_again(Batch.from_lists([list(found.ids)]))
        if again is None:
            raise TextError("this model has no head that writes or labels, so it has nothing to decode")
        seen = tuple(again.tokens.tolist())
        return replace(found, readings=found.readings | {"target": of_ids(tokenizer, seen)}, stacks=stacks)
    start = model.spec.decoder_start_id
    if target is None:
        made = generate_text(model, text, max_new_tokens=generate or WRITTEN, do_sample=False, num_beams=1)[0]
        ids, first = made.tokens, 1
        begin = model.generation_config.get("decoder_start_token_id") if model.generation_config else None
        start = begin if isinstance(begin, int) else start
        reading = of_ids(tokenizer, ids)
    else:
        encoding = tokenizer.encode(target)
        reading, first = of_encoding(tokenizer, encoding, target), None
        if start is None:  # the target's own last token comes first
            start, last = reading.ids[-1], len(reading.ids) - 1
            reading = replace(
                reading, tokens=reading.tokens[:last], ids=reading.ids[:last], separators=reading.separators[:last]
            )
    if start is None:
        raise TextError("this model's spec says not what a target begins with; give the target")
    opening = Token(tokenizer.id_to_token(start) or "⟨start⟩", 0, 0, 0, True)
    after = tuple(replace(token, word=token.word + 1) for token in reading.tokens)
    reading = Reading(reading.text, (opening, *after), (start, *reading.ids), (False, *reading.separators))
    readings = found.readings | {"target": reading}
    return replace(found, readings=readings, target=reading.ids, stacks=stacks, written_from=first)


def _picture(model: Model, image: Any, processor: ImageProcessor | None) -> tuple[Tensor, Reading]:
    """Pixel values `[1, channels, height, width]` and the patches as tokens, row by row."""
    assert model.spec.vision is not None
    patches = model.spec.vision.patches
    pixels, shown = pixels_of(model, image, processor)
    side = patches.image // patches.patch
    tokens = [Token("⟨class⟩", 0, 0, 0, True)] if patches.class_token else []
    tokens += [Token(f"{y + 1},{x + 1}", 0, 0, y * side + x + 1) for y in range(side) for x in range(side)]
    reading = Reading("", tuple(tokens), grid=(side, side), picture=png_address(shown))
    return torch.from_numpy(np.ascontiguousarray(pixels)).float(), reading
