"""`Model.generate`: padded prompts in, padded results out, as Hugging Face returns them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from moduformer.batch import Batch
from moduformer.errors import TextError
from moduformer.generate.decoding import check_writes
from moduformer.generate.processors import Processor
from moduformer.generate.sampling import positions_of
from moduformer.generate.settings import GenerationSettings
from moduformer.generate.strategies import Request, run
from moduformer.generate.text import Streamer, Watching, tokenizer_of

if TYPE_CHECKING:
    from moduformer.generate.prefixes import Prefixes
    from moduformer.model import Model


def generate_padded(
    model: Model,
    input_ids: Tensor | None,
    attention_mask: Tensor | None = None,
    decoder_input_ids: Tensor | None = None,
    streamer: Streamer | Sequence[Streamer] | None = None,
    processors: Sequence[Processor] = (),
    assistant_model: Model | None = None,
    *,
    pixel_values: Tensor | None = None,
    qformer_input_ids: Tensor | None = None,
    qformer_attention_mask: Tensor | None = None,
    prefixes: Prefixes | None = None,
    **settings: Any,
) -> Tensor:
    """Ids `[rows * num_return_sequences, tokens]`; see `Model.generate`."""
    check_writes(model)
    chosen = GenerationSettings.of(model, **settings)
    ends, pad = chosen.eos_token_id, chosen.pad_token_id
    if attention_mask is None and input_ids is not None and pad is not None and pad not in ends:
        attention_mask = input_ids != pad
    if model.encoder is None and model.spec.has_source:
        batch, input_ids, decoder_input_ids = _about_images(
            model, pixel_values, input_ids, decoder_input_ids, attention_mask
        )
    elif input_ids is None:
        raise TextError("give input_ids to continue")
    else:
        batch = Batch.from_padded(input_ids, attention_mask)
        if pixel_values is not None:
            batch = model.with_pixels(batch, pixel_values, qformer_input_ids, qformer_attention_mask)
    start = _decoder_start(model, chosen, decoder_input_ids, input_ids)
    begin = input_ids if start is None else start
    new = chosen.new_tokens(begin.shape[1])
    room = positions_of(model)
    if room is not None:
        new = _fitting(new, begin.shape[1], room, chosen)
    request = Request(
        chosen,
        new,
        processors,
        assistant=assistant_model,
        prefix=None if start is None else start.tolist(),
        tokenizer=model.tokenizer,
        prefixes=prefixes,
    )
    watch = None
    if streamer is not None or chosen.stop_strings:
        watch = Watching(tokenizer_of(model), chosen, len(input_ids), streamer)
        request.watch = watch.push
    made = [result for results in run(model, batch, request) for result in results]
    if watch is not None:
        for number, result in enumerate(made):
            watch.result(number, result, number)
    filler = pad if pad is not None else ends[0] if ends else 0
    width = max(len(result.ids) for result in made)
    written = input_ids.new_tensor([result.ids + [filler] * (width - len(result.ids)) for result in made])
    begin = begin.repeat_interleave(chosen.num_return_sequences, dim=0)
    return torch.cat((begin, written), dim=1)


def _about_images(
    model: Model,
    pixel_values: Tensor | None,
    input_ids: Tensor | None,
    decoder_input_ids: Tensor | None,
    attention_mask: Tensor | None,
) -> tuple[Batch, Tensor, Tensor | None]:
    """The source of a model that writes about an image alone, whose `input_ids` are how the text begins."""
    if pixel_values is None:
        raise TextError("this model writes about an image: give it pixel_values")
    begin = input_ids if decoder_input_ids is None else decoder_input_ids
    if begin is not None and model.spec.vision is not None and model.spec.vision.one_image_a_token:
        if attention_mask is not None and not bool(attention_mask.all()):
            raise TextError("texts that this model goes on with must be equally long: give them one by one")
        return model.images_of(Batch.from_padded(begin), pixel_values), begin, begin
    count = len(pixel_values) if begin is None else len(begin)
    images = [len(pixel_values) // count] * count
    blank = torch.zeros(count, 1, dtype=torch.long, device=pixel_values.device)
    return Batch.from_pixels(pixel_values, model.spec.image_tokens, images), blank if begin is None else begin, begin


def _decoder_start(
    model: Model, settings: GenerationSettings, decoder_input_ids: Tensor | None, input_ids: Tensor
) -> Tensor | None:
    if not model.spec.has_source:
        if decoder_input_ids is not None:
            raise TextError("decoder_input_ids are for models with an encoder; put them into input_ids")
        return None
    if decoder_input_ids is not None:
        if decoder_input_ids.dim() != 2 or len(decoder_input_ids) != len(input_ids) or not decoder_input_ids.numel():
            raise TextError(
                f"decoder_input_ids must be [{len(input_ids)}, tokens], but is {tuple(decoder_input_ids.shape)}"
            )
        return decoder_input_ids
    start = settings.decoder_start_token_id
    start = settings.bos_token_id if start is None else start
    if start is None:
        raise TextError("this model's spec has no decoder_start_id to begin a text with; give decoder_input_ids")
    return input_ids.new_full((len(input_ids), 1), start)


def _fitting(new: int, given: int, room: int, settings: GenerationSettings) -> int:
    # The last token is only chosen, so it needs no position.
    if given + new - 1 <= room:
        return new
    if settings.max_new_tokens is None and settings.max_length is None and given <= room:
        return room - given + 1
    raise TextError(
        f"{given} tokens and {new} more are asked for, but this model has {room} positions; "
        f"set max_new_tokens to at most {max(room - given + 1, 0)} or shorten the prompt"
    )
