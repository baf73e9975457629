"""Spec to model: the only builder, and the front door where padded tensors come in and go out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from moduformer import architecture
from moduformer.architecture import HeadKind, LearnedPositions, QFormer, Resampler, Rotary, Spec
from moduformer.batch import Batch, Beside, Given, by_length
from moduformer.blocks.attention import Memory
from moduformer.blocks.embedding import Embedding
from moduformer.blocks.gated_cross_attention import one_image_each
from moduformer.blocks.head import (
    Head,
    classify_loss,
    next_token_loss,
    places_read,
    read,
    replaced_token_loss,
    shift_left,
    token_loss,
)
from moduformer.blocks.infilling import arrange
from moduformer.blocks.linear import FusedLinear
from moduformer.blocks.recurrent import Recurrent
from moduformer.blocks.recurrent_decoder import RecurrentDecoder
from moduformer.blocks.stack import Stack
from moduformer.blocks.vision import Vision
from moduformer.cache import Cache
from moduformer.errors import CheckpointError, TextError, TrainingError
from moduformer.kernels import Layout
from moduformer.trace import Trace

if TYPE_CHECKING:
    from moduformer.quantize.quantization import Quantization
    from moduformer.weights.checkpoint import Origin

Wanted = HeadKind | Literal["hidden"]
"""What of a forward pass is asked for: the result of one kind of head, or the last hidden states."""


@dataclass
class Output:
    """What a forward pass returns, on the caller's padded grid; fields a model does not have are None."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    prediction_logits: Tensor | None = None
    seq_relationship_logits: Tensor | None = None
    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    encoder_last_hidden_state: Tensor | None = None
    text_embeds: Tensor | None = None
    image_embeds: Tensor | None = None
    logits_per_image: Tensor | None = None
    logits_per_text: Tensor | None = None
    itm_score: Tensor | None = None
    image_hidden_states: Tensor | None = None
    entity_states: Tensor | None = None
    entity_logits: Tensor | None = None

    def __getitem__(self, name: str) -> Tensor:
        value = getattr(self, name, None)
        if value is None:
            raise KeyError(name)
        return value

    def keys(self) -> list[str]:
        """The fields this model filled."""
        return [f.name for f in fields(self) if getattr(self, f.name) is not None]


@dataclass(eq=False)
class States:
    """What a forward pass over a ragged batch returns: flat hidden states `[tokens, dim]`, and each head's result.

    `batch` is the one `hidden` belongs to: the decoder's where there is one. `heads` maps a head's kind to its logits,
    flat `[tokens, outputs]` (of the tokens `logits_at` named, where it did) or one a row `[rows, outputs]`, rows in the
    batch's order. `images` are the vectors of all images as the text took them in, `[images, vectors, width]`. `hidden`
    is `narrow` where it holds one state a row, that which the wanted head reads (see `Model.run`).
    """

    hidden: Tensor
    batch: Batch
    heads: dict[str, Tensor] = field(default_factory=dict)
    encoder_hidden: Tensor | None = None
    source: Batch | None = None
    images: Tensor | None = None
    narrow: bool = False


class Model(nn.Module):
    """Any Transformer, built from its spec by `build`."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.tokenizer: Any = None
        self.labels: tuple[str, ...] | None = None
        self.origin: Origin | None = None
        self.notes: list[str] = []
        self.generation_config: dict[str, Any] | None = None
        self.quantization: Quantization | None = None
        self.embedding = Embedding(spec.embedding, nn.Embedding(spec.vocab, spec.embedding.width), spec.dim)
        self.target_embedding = _target_embedding(spec, self.embedding)
        seen = spec.memory_dim
        self.encoder = (
            STACKS[type(spec.encoder)](spec.encoder, spec.dim, "encoder", seen("encoder")) if spec.encoder else None
        )
        self.decoder = (
            STACKS[type(spec.decoder)](spec.decoder, spec.dim, "decoder", seen("decoder")) if spec.decoder else None
        )
        self.vision = Vision(spec.vision, spec.dim) if spec.vision else None
        self.heads = nn.ModuleDict(
            {head.kind: Head(head, spec.target_vocab or spec.vocab, spec.out_dim) for head in spec.heads}
        )

    # Running -----------------------------------------------------------------------------------------------------

    def run(
        self,
        batch: Batch,
        target: Batch | None = None,
        cache: Cache | None = None,
        trace: Trace | None = None,
        encoded: Tensor | None = None,
        logits_at: Tensor | None = None,
        wanted: Wanted | None = None,
    ) -> States:
        """A forward pass over a ragged batch; `target` is an encoder-decoder's second, with rows in the same order.

        A batch's `pixels` are looked at first. Where the decoder reads an image and no other text, `batch` is one of
        images alone (`Batch.from_pixels`), and `target` the text.

        With a `cache`, the decoder's batch holds the next tokens of every row (see `Batch.following`), and heads whose
        module sees both ways are left out. `encoded` is the `encoder_hidden` of an earlier pass over the same batch, to
        use again. `logits_at` `[places]` are the tokens of the (decoder's) flat run that heads which read every token
        shall read; their logits are `[places, outputs]`, and None reads all. With `batch.rows.ends`, a long prompt
        costs one row of vocabulary logits, not one a token.

        Where the result of one head is all that is `wanted`, other heads are not run; and where that one reads a single
        state a row, the last layer is computed of these states alone, and they are the `hidden` of what is returned.
        Where "hidden" is wanted, no head is run.
        """
        if cache is not None and (target or batch).order != tuple(range(cache.rows)):
            raise TextError(f"rows must come in the order of the cache's {cache.rows}; see Batch.following")
        if self.spec.infilling is not None:
            batch = arrange(self.spec.infilling, batch, cache)
        if trace is not None:
            stacks = {"encoder": batch, "decoder": target or batch, "embedding": batch}
            stacks |= {head.kind: target or batch for head in self.spec.heads if head.module is not None}
            if batch.permutation is not None and batch.permutation.targets is not None:
                stacks["query_stream"] = batch.permutation.targets
            trace.begin(**stacks, **self._images_of(batch))
        images = None
        if batch.pixels is not None and encoded is None:
            images, batch = self._look(batch, trace)
        stack, beside = self.encoder or self.decoder, self._beside(batch)
        seen: dict[str, Any] = {} if beside is None else {"memory": beside}
        if stack is None:
            if images is None:
                raise TextError("this model sees and reads no text: give it pixel_values")
            states = States(images.flatten(0, 1), batch)
        elif not self.spec.has_source:
            at = None if wanted is None or cache is not None or trace is not None else self._places(wanted, batch)
            if at is not None:
                seen["at"] = at
            hidden = self._see(trace, self.embedding(batch))
            hidden = stack(hidden, batch.rows, cache=cache, trace=trace, batch=batch, **seen)
            predicted = None if batch.permutation is None else batch.permutation.targets
            states = States(hidden, batch if predicted is None else predicted, narrow=at is not None)
        else:
            if target is None:
                raise TextError("an encoder-decoder needs decoder_input_ids (or labels to make them from)")
            readers = batch.readers
            if target.order != (batch.order if readers is None else tuple(range(sum(readers)))):
                raise TextError("the rows of the encoder's batch and the decoder's are not in the same order")
            assert self.decoder is not None
            last = None
            if encoded is None and self.encoder is not None:
                hidden = self._see(trace, self.embedding(batch))
                encoded, last = self.encoder.encode(hidden, batch.rows, trace=trace, **seen)
            elif encoded is None:
                if images is None:
                    raise TextError("this model writes about an image: give it pixel_values")
                encoded = images.flatten(0, 1)
            source = "vision" if self.encoder is None else "encoder"
            memory = self._one_image_each(encoded, batch, target, cache)
            readings = target.rows if readers is None else target.rows.joined(readers)
            memory = memory or Memory(encoded, Layout(readings, batch.rows), last, source)
            hidden = self.targets(target)
            if trace is not None:
                hidden = trace.see("decoder.embedding", hidden)
            hidden = self.decoder(hidden, target.rows, memory=memory, cache=cache, trace=trace)
            states = States(hidden, target, encoder_hidden=encoded, source=batch)
        states.images = images
        self._run_heads(states, logits_at, cache, trace, wanted)
        if trace is not None:
            trace.end()
        return states

    def _images_of(self, batch: Batch) -> dict[str, Batch]:
        """The batches that a trace needs to put the values of images on a grid: one row an image."""
        if batch.pixels is None or self.vision is None:
            return {}
        found = {"vision": Batch.from_pixels(batch.pixels, self.vision.settings.patches.tokens)}
        bridge = self.vision.settings.bridge
        if isinstance(bridge, QFormer):
            found["bridge"] = Batch.from_pixels(batch.pixels, bridge.queries)
        if isinstance(bridge, Resampler):
            found["bridge"] = Batch.from_pixels(batch.pixels, bridge.tokens, batch.images)
        return found

    def _one_image_each(self, images: Tensor, source: Batch, text: Batch, cache: Cache | None) -> Memory | None:
        """Images as a text sees them of whose tokens each looks at one; None for other texts."""
        seen = self.spec.vision
        if seen is None or self.encoder is not None or not seen.one_image_a_token or seen.image_token is None:
            return None
        whose = "bridge" if isinstance(seen.bridge, Resampler) else "vision"
        return one_image_each(
            images, source.rows, text, seen.image_token, seen.out_tokens, seen.visible, cache, source=whose
        )

    def _look(self, batch: Batch, trace: Trace | None) -> tuple[Tensor, Batch]:
        """The vectors of a batch's images `[images, vectors, width]`, and the batch that takes them in."""
        assert batch.pixels is not None
        if self.vision is None:
            raise TextError("this model reads text only, so it takes no pixel_values")
        settings = self.vision.settings
        if self.encoder is None and self.decoder is None:
            return self.vision(batch.pixels, trace), batch
        vectors = self.vision.vectors(batch.pixels, batch.instruction, trace)
        if settings.injection == "tokens" and settings.image_token is not None:
            places = batch.tokens == settings.image_token
            wanted, given = int(places.sum()), vectors.shape[0] * vectors.shape[1]
            if wanted != given:
                raise TextError(
                    f"the text has {wanted} image tokens (id {settings.image_token}), but its {len(vectors)} images "
                    f"are {given} vectors: repeat the token {vectors.shape[1]} times for every image"
                )
            return vectors, replace(batch, given=Given(places, vectors.flatten(0, 1)))
        if settings.injection == "cross" and self.encoder is not None:
            seen = Batch.from_pixels(batch.pixels, vectors.shape[1], batch.images).rows
            return vectors, replace(batch, beside=Beside(vectors.flatten(0, 1), seen))
        return vectors, batch

    @staticmethod
    def _beside(batch: Batch) -> Memory | None:
        beside = batch.beside
        return None if beside is None else Memory(beside.hidden, Layout(batch.rows, beside.rows), source="vision")

    def _heads_for(self, wanted: Wanted | None) -> list[architecture.Head]:
        """The heads that make what is wanted, in order; all of them for None."""
        if wanted is None:
            return list(self.spec.heads)
        if wanted == "hidden":
            return []
        last = self.spec.head(wanted)
        if last is None:
            has = ", ".join(self.heads) or "none"
            raise TextError(f"this model has no {wanted} head; it has {has}")
        return [head for head in self.spec.heads if head is last or (last.reads == "pool" and head.kind == "pool")]

    def _places(self, wanted: Wanted, batch: Batch) -> Tensor | None:
        """The places `[rows]` of the states that the wanted head reads, if the last layer can do with these alone."""
        if wanted == "hidden":
            return None
        stack, head = self.encoder or self.decoder, self._heads_for(wanted)[0]
        if not isinstance(stack, Stack) or not stack.narrows or head.module is not None:
            return None
        return places_read(head, batch.rows, batch.tokens, self._ends(), self.spec.reads_backward)

    def _ends(self) -> tuple[int, ...]:
        eos = self.spec.eos_id
        return eos if isinstance(eos, tuple) else () if eos is None else (eos,)

    def _run_heads(
        self,
        states: States,
        logits_at: Tensor | None = None,
        cache: Cache | None = None,
        trace: Trace | None = None,
        wanted: Wanted | None = None,
    ) -> None:
        ends = self._ends()
        pooled = None
        for head in self._heads_for(wanted):
            kept = None if cache is None else cache.modules.get(head.kind)
            if cache is not None and head.module is not None and kept is None:
                # It sees both ways: with every token to come, all it has said of earlier ones would change.
                continue
            if head.reads == "pool":
                if pooled is None:
                    continue
                seen = pooled
            elif states.narrow:
                seen = states.hidden
            else:
                own = self.heads[head.kind]
                assert isinstance(own, Head)
                hidden = own.states(states.hidden, states.batch.rows, kept, trace)
                # A decoder that reads the source shifted ends where the source does.
                shifted = states.source is not None and states.source.rows is states.batch.rows
                tokens = states.source.tokens if shifted and states.source else states.batch.tokens
                seen = read(head, hidden, states.batch.rows, tokens, ends, self.spec.reads_backward)
                if logits_at is not None and head.reads == "tokens":
                    seen = seen[logits_at]
            result = self.heads[head.kind](seen, self.targets.tokens.weight)
            if head.kind == "pool":
                pooled = result
            states.heads[head.kind] = result

    @staticmethod
    def _see(trace: Trace | None, hidden: Tensor) -> Tensor:
        return hidden if trace is None else trace.see("embedding", hidden)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        task_type_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        qformer_input_ids: Tensor | None = None,
        qformer_attention_mask: Tensor | None = None,
        use_itm_head: bool = True,
        labels: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        next_sentence_label: Tensor | None = None,
        position_ids: Tensor | None = None,
        block_position_ids: Tensor | None = None,
        prefix_lengths: Tensor | None = None,
        perm_mask: Tensor | None = None,
        target_mapping: Tensor | None = None,
        entity_vectors: Tensor | None = None,
        entity_mask: Tensor | None = None,
        entity_candidates: Tensor | None = None,
        trace: Trace | None = None,
    ) -> Output:
        """Padded tensors `[rows, tokens]` in, padded tensors out, with the field names of Hugging Face.

        Padding may stand on either side; positions count from a row's first real token, and results at padding are
        zero. `labels` (or `start_positions` and `end_positions`) add a loss. `pixel_values` `[images, channels, height,
        width]` are the images of all rows, row after row; `qformer_input_ids` the text a Q-Former reads with them.
        Without `use_itm_head` a model that can match image and text in two ways compares their embeddings instead.

        A decoder takes `position_ids` `[rows, tokens]`, or `[rows, 2, tokens]` with `block_position_ids` as the second
        plane, and `prefix_lengths` `[rows]`: how many tokens of each row all of its tokens see. A spec with `infilling`
        finds both from its special tokens. An encoder with two streams takes `perm_mask` and `target_mapping` (see
        `Batch.permuted`); its results are then those of the tokens to predict, `[rows, predicted]`. Layers of entities
        take `entity_vectors` `[rows, tokens, width]` where `entity_mask` is 1, and an entity head `entity_candidates`
        `[candidates, width]` to choose from. Beside a language-model head, a masked-lm head gives `prediction_logits`,
        and `labels` are the former's.
        """
        if input_ids is None or (self.encoder is None and self.spec.has_source):
            return self._about_images(input_ids, attention_mask, pixel_values, labels, trace)
        target = None
        if self.encoder is not None and self.decoder is not None:
            if decoder_input_ids is None and self.spec.head("language-model") is not None and labels is not None:
                decoder_input_ids = self.shift_right(labels)
            if decoder_input_ids is not None:
                if len(decoder_input_ids) != len(input_ids):
                    raise TextError(f"{len(input_ids)} rows of input_ids, but {len(decoder_input_ids)} for the decoder")
                order = by_length(
                    _lengths(input_ids, attention_mask), _lengths(decoder_input_ids, decoder_attention_mask)
                )
                batch = Batch.from_padded(input_ids, attention_mask, token_type_ids, task_type_ids, order)
                target = Batch.from_padded(decoder_input_ids, decoder_attention_mask, order=order)
            else:
                batch = Batch.from_padded(input_ids, attention_mask, token_type_ids, task_type_ids)
                target = self.source_again(batch)
        else:
            batch = Batch.from_padded(input_ids, attention_mask, token_type_ids, task_type_ids)
        beside = self.vision is not None and (self.vision.settings.injection == "beside" or not use_itm_head)
        if pixel_values is not None and not beside:
            batch = self.with_pixels(batch, pixel_values, qformer_input_ids, qformer_attention_mask)
        batch = self._located(batch, position_ids, block_position_ids, prefix_lengths)
        if perm_mask is not None or target_mapping is not None:
            if self.encoder is None or not self.encoder.settings.two_streams:
                raise TextError("perm_mask and target_mapping are for a stack with two streams")
            batch = batch.permuted(perm_mask, target_mapping)
        if entity_vectors is not None or entity_mask is not None:
            batch = self._linked(batch, entity_vectors, entity_mask)
        states = self.run(batch, target, trace=trace)
        out = self._output(states, labels, start_positions, end_positions, next_sentence_label)
        if entity_candidates is not None:
            if out.entity_states is None:
                raise TextError("entity_candidates are for an entity head, which this model does not have")
            out.entity_logits = out.entity_states @ entity_candidates.T
        if beside and pixel_values is not None:
            self._compare(out, pixel_values)
        return out

    def with_pixels(
        self,
        batch: Batch,
        pixel_values: Tensor,
        qformer_input_ids: Tensor | None = None,
        qformer_attention_mask: Tensor | None = None,
    ) -> Batch:
        """A batch of text with its images: as many a row as it has image tokens for, or as many for every row.

        Raises `TextError` where images and text do not fit.
        """
        if self.vision is None:
            raise TextError("this model reads text only, so it takes no pixel_values")
        settings, count = self.vision.settings, len(batch.order)
        if settings.injection == "tokens" and settings.image_token is not None:
            places = (batch.tokens == settings.image_token).to(batch.tokens.dtype)
            held = places.new_zeros(count).index_add(0, batch.rows.row_of, places)
            images = batch.restore(torch.div(held, self.spec.image_tokens, rounding_mode="floor")).tolist()
        else:
            images = [len(pixel_values) // count] * count
        batch = batch.with_pixels(pixel_values, images)
        if qformer_input_ids is not None:
            order = list(batch.order)
            mask = None if qformer_attention_mask is None else qformer_attention_mask[order]
            batch = replace(batch, instruction=Batch.from_padded(qformer_input_ids[order], mask))
        return batch

    def images_of(self, text: Batch, pixel_values: Tensor) -> Batch:
        """The images that a text attends to, as its source: one for each of a row's image tokens, or as many for every
        row. Raises `TextError` where images and text do not fit."""
        count, seen = len(text.order), self.spec.vision
        images = [len(pixel_values) // count] * count
        if seen is not None and seen.one_image_a_token:
            held = torch.bincount(text.rows.row_of[text.tokens == seen.image_token], minlength=count)
            images = text.restore(held).tolist()
            if not all(images):
                raise TextError(f"row {images.index(0)} has no image token (id {seen.image_token}), so no image to see")
        return Batch.from_pixels(pixel_values, self.spec.image_tokens, images, text.order)

    def _about_images(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        pixel_values: Tensor | None,
        labels: Tensor | None,
        trace: Trace | None,
    ) -> Output:
        """A pass without a text, or of a decoder that reads nothing but an image."""
        if self.vision is None or pixel_values is None:
            needs = "input_ids" if self.vision is None else "pixel_values"
            raise TextError(f"this model needs {needs}")
        if input_ids is None:
            if self.encoder is not None or self.decoder is not None:
                raise TextError("this model reads a text beside an image: give input_ids")
            seen = Batch.from_pixels(pixel_values, self.vision.settings.patches.tokens)
            return self._output(self.run(seen, trace=trace), labels, None, None, None)
        text = Batch.from_padded(input_ids, attention_mask)
        source = self.images_of(text, pixel_values)
        return self._output(self.run(source, text, trace=trace), labels, None, None, None)

    def _compare(self, out: Output, pixel_values: Tensor) -> None:
        """Image and text in one space (Radford et al. 2021, figure 3): vectors of length one and their products."""
        assert self.vision is not None
        embeds = self.vision.embeds(self.vision(pixel_values))
        out.image_embeds = embeds["embed"]
        if out.text_embeds is None:
            return
        out.image_embeds, out.text_embeds = F.normalize(out.image_embeds, dim=-1), F.normalize(out.text_embeds, dim=-1)
        scale = self.vision.logit_scale.exp() if self.vision.logit_scale is not None else 1.0
        out.logits_per_text = out.text_embeds @ out.image_embeds.T * scale
        out.logits_per_image = out.logits_per_text.T
        if out.itm_score is not None:
            out.itm_score = out.logits_per_image

    def _linked(self, batch: Batch, vectors: Tensor | None, mask: Tensor | None) -> Batch:
        blocks = self.encoder.settings.pattern if self.encoder else ()
        streams = {block.entities for block in blocks if block.entities}
        if not streams or vectors is None or mask is None:
            raise TextError("entity_vectors and entity_mask are for layers with entities, which need both")
        width = next(iter(streams)).width
        if vectors.shape[-1] != width:
            raise TextError(f"entity_vectors have {vectors.shape[-1]} numbers each, but this model's entities {width}")
        return batch.linked(vectors, mask)

    def _located(self, batch: Batch, positions: Tensor | None, blocks: Tensor | None, prefixes: Tensor | None) -> Batch:
        if positions is None and blocks is None and prefixes is None:
            return batch
        decoder, table = self.spec.decoder, self.spec.embedding.positions
        if not isinstance(decoder, architecture.Stack) or self.encoder is not None or not decoder.causal:
            raise TextError("position_ids, block_position_ids and prefix_lengths are for a causal decoder alone")
        if positions is None:
            return batch.located(None, prefixes) if blocks is None else batch.located(_beside(batch, blocks), prefixes)
        plain = isinstance(table, LearnedPositions) and table.offset == 0 and table.uncounted is None
        if not plain and not any(isinstance(block.attention.position, Rotary) for block in decoder.pattern):
            raise TextError("position_ids are for rotary positions and learned ones that begin at row 0")
        if positions.dim() == 2 and positions.shape[0] == 1:
            positions = positions.expand(len(batch.order), -1)
        planes = positions if positions.dim() == 3 else positions.unsqueeze(1)
        if blocks is not None:
            planes = torch.cat((planes, blocks.unsqueeze(1)), dim=1)
        return batch.located(planes.transpose(1, 2), prefixes)

    def shift_right(self, ids: Tensor) -> Tensor:
        """Decoder inputs for a target `[rows, tokens]`: the start token, then all but the last; -100 is padding."""
        pad = self.spec.pad_id or 0
        ids, start = ids.masked_fill(ids == -100, pad), self._decoder_start()
        if start is None:
            first = ids.gather(1, (ids != pad).sum(1, keepdim=True).sub(1).clamp(min=0))
        else:
            first = ids.new_full((ids.shape[0], 1), start)
        return torch.cat((first, ids[:, :-1]), dim=1)

    def source_again(self, batch: Batch) -> Batch | None:
        """The source shifted, as the decoder of an encoder-decoder reads it for a label or a span; None of others."""
        if self.encoder is None or self.decoder is None:
            return None
        if self.spec.head("classify") is None and self.spec.head("span") is None:
            return None
        return batch.shift_right(self._decoder_start())

    def _decoder_start(self) -> int | None:
        """What a target begins with; None is its own last token."""
        if self.spec.target_start == "last":
            return None
        if self.spec.decoder_start_id is None:
            raise TextError("this model's spec has no decoder_start_id to begin a target with")
        return self.spec.decoder_start_id

    def _output(
        self,
        states: States,
        labels: Tensor | None,
        starts: Tensor | None,
        ends: Tensor | None,
        next_sentence: Tensor | None,
    ) -> Output:
        batch, out = states.batch, Output(last_hidden_state=states.batch.pad(states.hidden))
        if states.images is not None and (self.encoder is not None or self.decoder is not None):
            out.image_hidden_states = states.images
        if self.encoder is not None and states.source is not None and states.encoder_hidden is not None:
            out.encoder_last_hidden_state = states.source.pad(states.encoder_hidden)
        losses = []
        pretraining = {"masked-lm", "next-sentence"} <= set(states.heads)
        for kind, logits in states.heads.items():
            if kind == "pool":
                out.pooler_output = batch.restore(logits)
            elif kind == "embed":
                out.text_embeds = batch.restore(logits)
                if self.spec.vocab == 0:
                    out.text_embeds, out.image_embeds = None, out.text_embeds
            elif kind == "match":
                out.itm_score = batch.restore(logits)
            elif kind == "span":
                padded = batch.pad(logits)
                out.start_logits, out.end_logits = padded[..., 0], padded[..., 1]
                if starts is not None and ends is not None:
                    losses.append((_span_loss(batch, logits[:, 0], starts) + _span_loss(batch, logits[:, 1], ends)) / 2)
            elif kind == "entity":
                out.entity_states = batch.pad(logits)
            elif kind == "next-sentence":
                out.seq_relationship_logits = batch.restore(logits)
                if not pretraining:
                    out.logits = out.seq_relationship_logits
                wanted = next_sentence if pretraining else labels
                if wanted is not None:
                    losses.append(classify_loss(logits, batch.sort(wanted.view(-1))))
            elif kind == "classify":
                out.logits = batch.restore(logits)
                if labels is not None:
                    losses.append(classify_loss(logits, batch.sort(labels)))
            else:
                out.logits = batch.pad(logits)
                if kind == "replaced-token":
                    logits, out.logits = logits.squeeze(-1), out.logits.squeeze(-1)
                if pretraining:
                    out.prediction_logits, out.logits = out.logits, None
                if kind == "masked-lm" and "language-model" in states.heads:
                    out.prediction_logits, out.logits = out.logits, None
                elif labels is not None:
                    losses.append(self._token_loss(kind, logits, batch.gather(labels), batch))
        if losses:
            out.loss = torch.stack(losses).sum()
        return out

    def _token_loss(self, kind: str, logits: Tensor, labels: Tensor, batch: Batch) -> Tensor:
        if kind == "replaced-token":
            return replaced_token_loss(logits, labels)
        if kind == "language-model" and self.encoder is None:
            return next_token_loss(logits, labels, batch.rows, self.spec.reads_backward)
        return token_loss(logits, labels)

    # What it is --------------------------------------------------------------------------------------------------

    def cache(self, rows: int) -> Cache:
        """An empty cache for `rows` rows of the decoder (or of the only stack)."""
        stack = self.decoder or self.encoder
        if stack is None:
            raise TextError("a model without a text has nothing to keep in a cache")
        cache: Cache = stack.cache(rows, self.device)
        for head in self.spec.heads:
            if head.module is not None and head.module.stack.causal:
                cache.modules[head.kind] = Cache.of(head.module.stack, rows, self.device)
        return cache

    def both_ways(self, batch: Batch) -> Batch:
        """The same rows, every token of which sees all of its row: those of a causal decoder with their whole length as
        prefix, as what guesses hidden words of a text must read it; those of an encoder as they are."""
        decoder = self.spec.decoder
        if self.encoder is not None or not isinstance(decoder, architecture.Stack) or not decoder.causal:
            return batch
        return replace(batch, rows=replace(batch.rows, prefixes=batch.rows.positions[batch.rows.ends] + 1))

    def generate(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        pixel_values: Tensor | None = None,
        qformer_input_ids: Tensor | None = None,
        qformer_attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        streamer: Callable[[str], object] | Sequence[Callable[[str], object]] | None = None,
        processors: Sequence[Any] = (),
        assistant_model: Model | None = None,
        prefixes: Any = None,
        **settings: Any,
    ) -> Tensor:
        """Continuations of padded prompts `[rows, tokens]`, as Hugging Face returns them.

        A decoder's result begins with its prompt, an encoder-decoder's with the start token (or `decoder_input_ids`);
        rows that ended early are padded on the right. Without `attention_mask`, cells that hold the pad id are padding.

        Arguments:
            pixel_values: the images of all rows, as in `forward`. A model that writes about an image and reads no other
                text takes `input_ids` as the beginning of what it writes.
            streamer: called with pieces of text as they are written; one callable for each result where there are more.
            processors: `(rows, logits) -> logits`, after those of the settings (see `generate.processors`).
            assistant_model: a smaller model that drafts for this one (speculative decoding).
            prefixes: a `generate.prefixes.Prefixes`, by which what prompts begin with is read once for several calls.
            settings: `max_new_tokens`, `do_sample`, `temperature`, `top_k`, `top_p`, `num_beams`, `seed`, ... as in
                Hugging Face; all are fields of `generate.settings.GenerationSettings`. What is not given comes from
                the checkpoint's generation_config.json (`generation_config`), then from Hugging Face's defaults.

        Returns ids `[rows * num_return_sequences, tokens]`. Raises `TextError` for a setting that is unknown or out of
        range, or a text that is longer than the model has positions.
        """
        # The door up to the decoding code, which stands on this module.
        from moduformer.generate.padded import generate_padded

        return generate_padded(
            self,
            input_ids,
            attention_mask,
            decoder_input_ids,
            streamer,
            processors,
            assistant_model,
            pixel_values=pixel_values,
            qformer_input_ids=qformer_input_ids,
            qformer_attention_mask=qformer_attention_mask,
            prefixes=prefixes,
            **settings,
        )

    def num_parameters(self) -> int:
        """How many numbers this model has, ties counted once."""
        coded = sum(getattr(module, "coded_numbers", 0) for module in self.modules())
        return coded + sum(parameter.numel() for parameter in self.parameters())

    def train(self, mode: bool = True) -> Self:
        """Training mode, or evaluation mode. Raises `TrainingError` for training a quantised model."""
        if mode and self.quantization is not None:
            raise TrainingError(
                f"this model's weights are packed as {self.quantization.scheme}, which cannot be trained; "
                "train the float model (or its LoRA adapters, merged) and pack the result"
            )
        return super().train(mode)

    @property
    def targets(self) -> Embedding:
        """The embedding of what the model writes: a decoder's own beside an encoder, or the only one."""
        return self.embedding if self.target_embedding is None else self.target_embedding

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.embedding.tokens.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights."""
        return self.embedding.tokens.weight.dtype

    def views(self) -> dict[str, Tensor]:
        """Every parameter by name, and every part of a fused one by the part's name, as views of the same memory.

        `encoder.0.attention.qkv.weight` is there, and so is `encoder.0.attention.q.weight`.
        """
        found: dict[str, Tensor] = dict(self.named_parameters())
        for path, module in self.named_modules():
            if isinstance(module, FusedLinear):
                parent = path.rpartition(".")[0]
                for name, parameter in list(module.named_parameters()):
                    for part in module.parts if name == "weight" else module.biased:
                        found[f"{parent}.{part}.{name}"] = module.part(part, parameter.data)
        return found

    def layer_groups(self) -> list[tuple[str, list[nn.Parameter]]]:
        """Parameters in groups from the input up: the embedding, each layer, the head; for discriminative rates and
        gradual unfreezing (Howard & Ruder 2018, section 3.3). Every parameter is in exactly one group."""
        return list(self._layer_groups())

    def _layer_groups(self) -> Iterator[tuple[str, list[nn.Parameter]]]:
        tables = [self.embedding] if self.target_embedding is None else [self.embedding, self.target_embedding]
        yield "embedding", list(dict.fromkeys(p for table in tables for p in table.parameters()))
        if self.vision is not None:
            yield "vision", list(self.vision.parameters())
        for stack in filter(None, (self.encoder, self.decoder)):
            yield from stack.layer_groups()
        if len(self.heads):
            yield "head", list(self.heads.parameters())

    def save(self, folder: str | Path) -> Path:
        """Writes the model in Hugging Face layout: config, safetensors, tokenizer. Returns the folder.

        A quantised model is written in this library's own layout, which only `moduformer.load` reads.

        Raises `CheckpointError` if the folder cannot be written.
        """
        place = Path(folder)
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"{place} cannot be made: {error.strerror or error}; choose another folder") from None
        if self.quantization is not None:
            return self.quantization.save(self, place)
        # The door down to the checkpoint code; imported when used, since `weights` stands on this module.
        from moduformer.weights.checkpoint import save

        return save(self, place)


STACKS: dict[type, Any] = {
    architecture.Stack: Stack,
    architecture.Recurrent: Recurrent,
    architecture.RecurrentDecoder: RecurrentDecoder,
}
"""The block that builds each kind of encoder and decoder."""


def _target_embedding(spec: Spec, source: Embedding) -> Embedding | None:
    settings = spec.target_embedding
    if settings is None:
        return None
    tokens = source.tokens if spec.target_vocab is None else nn.Embedding(spec.target_vocab, settings.width)
    return Embedding(settings, tokens, spec.dim)


def build(spec: Spec, device: torch.device | str | None = None, seed: int | None = None) -> Model:
    """A new model with random weights, in evaluation mode.

    On device "meta" it takes no memory: sizes and names only. `seed` makes the weights reproducible. Weights are drawn
    as in BERT and GPT-2 (Devlin et al. 2019, appendix A.2): normal with standard deviation 0.02, biases zero.
    """
    with torch.device("meta"), _Undrawn():
        model = Model(spec)
    if str(device) != "meta":
        materialise(model, device or "cpu")
        generator = None if seed is None else torch.Generator(device=device or "cpu").manual_seed(seed)
        for name, parameter in model.named_parameters():
            initialise(name, parameter, generator)
    return model.eval()


def materialise(module: nn.Module, device: torch.device | str = "cpu") -> None:
    """Gives parameters and buffers on "meta" memory on a device, what stands in it undefined.

    As `Module.to_empty`, which imports PyTorch's compiler for it."""
    for part in module.modules():
        for name, value in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            if value.is_meta:
                empty = torch.empty(value.shape, dtype=value.dtype, device=device)
                setattr(part, name, nn.Parameter(empty, value.requires_grad) if name in part._parameters else empty)


class _Undrawn(TorchFunctionMode):
    """New modules draw no numbers. Where nothing is stored there are none to draw, and for drawing them all the same
    PyTorch imports its compiler, which takes longer than all else that loading a small model does."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, arguments: Any = (), named: dict[str, Any] | None = None
    ) -> Any:
        named = named or {}
        if function in DRAWN:
            return named["tensor"] if "tensor" in named else arguments[0]
        return function(*arguments, **named)


DRAWN = (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_)


def initialise(name: str, parameter: Tensor, generator: torch.Generator | None = None, std: float = 0.02) -> None:
    """Draws a parameter's new value in place: biases zero, norms one, everything else normal."""
    with torch.no_grad():
        if name.endswith(("bias", "_gate")):
            parameter.zero_()
        elif "norm" in name:
            parameter.fill_(1.0)
        else:
            parameter.normal_(std=std, generator=generator)


def _beside(batch: Batch, blocks: Tensor) -> Tensor:
    """Block positions `[rows, width]` beside the positions the batch has, `[rows, width, 2]`."""
    return torch.stack((batch.pad(batch.rows.positions), blocks), dim=-1)


def _lengths(ids: Tensor, mask: Tensor | None) -> list[int]:
    return [ids.shape[1]] * ids.shape[0] if mask is None else mask.bool().sum(1).tolist()


def _span_loss(batch: Batch, logits: Tensor, positions: Tensor) -> Tensor:
    # Positions beyond the text (a window without the answer) are left out, as Hugging Face does.
    grid = batch.pad(logits).masked_fill(batch.pad(torch.ones_like(logits)) == 0, float("-inf"))
    wanted = positions.view(-1).clone()
    wanted[(wanted < 0) | (wanted >= grid.shape[1])] = -100
    return token_loss(grid, wanted)


__all__ = ["Model", "Output", "States", "build", "initialise", "shift_left"]
