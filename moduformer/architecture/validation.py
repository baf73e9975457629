"""What no model can be built from is refused, field by field, before any memory is taken."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any, Literal

from moduformer.architecture.parts import (
    Attention,
    Disentangled,
    DistanceVectors,
    Head,
    Llama3Scaling,
    MixtureOfExperts,
    RelativeBuckets,
    RelativeSinusoids,
    Rotary,
    Stack,
)
from moduformer.architecture.plain_data import hints_of
from moduformer.architecture.recurrent import (
    Recurrent,
    RecurrentDecoder,
    check_recurrent,
    check_recurrent_decoder,
)
from moduformer.architecture.vision import Projector, QFormer, Resampler, Vision
from moduformer.errors import SpecError


def validate(spec: Any) -> None:
    """Refuses a spec that no model can be built from, or one with a field that would have no effect.

    Raises `SpecError` naming the field and its value.
    """
    _check_fields(spec, "")
    if spec.encoder is None and spec.decoder is None and spec.vision is None:
        raise SpecError("a Spec needs an encoder, a decoder or both")
    if spec.sees_only and spec.vocab:
        raise SpecError(f"vocab is {spec.vocab:,}, but a spec with nothing beside its vision reads no words: make it 0")
    both = spec.encoder is not None and spec.decoder is not None
    sees = spec.vision is not None and spec.vision.injection == "cross"
    if isinstance(spec.encoder, Stack):
        _check_stack(spec.encoder, "encoder", crossing=sees)
    if isinstance(spec.decoder, Stack):
        _check_stack(spec.decoder, "decoder", crossing=both or sees)
    _check_recurrence(spec)
    if spec.vision is not None:
        _check_vision(spec.vision)
        if spec.sees_only and spec.vision.dim != spec.dim:
            raise SpecError(f"dim is {spec.dim}, but there is nothing beside a vision of {spec.vision.dim}")
    for embedding in (spec.embedding, spec.target_embedding):
        if embedding and embedding.words_normed and (embedding.norm is None or embedding.width != spec.dim):
            raise SpecError("embedding.words_normed is for a norm of vectors that are as wide as the model")
    if spec.target_embedding is not None and not both:
        raise SpecError("target_embedding is for a decoder beside an encoder")
    if spec.target_start != "id" and not both:
        raise SpecError("target_start is for a decoder beside an encoder")
    if spec.target_vocab is not None and spec.target_embedding is None:
        raise SpecError("target_vocab is the size of a target_embedding, which this Spec does not have")
    if spec.target_embedding and not spec.target_vocab and spec.target_embedding.width != spec.embedding.width:
        raise SpecError("target_embedding shares the token table without a target_vocab, so its width must be equal")
    if spec.target_embedding and (spec.target_embedding.segments or spec.target_embedding.task_types):
        raise SpecError("target_embedding: a decoder beside an encoder gets no segments and no task types")
    if spec.infilling is not None:
        if both or spec.decoder is None or not spec.decoder.causal:
            raise SpecError("infilling is for a causal decoder without an encoder")
        if not spec.infilling.blanks:
            raise SpecError("infilling.blanks is empty; it names the tokens that mark a blank")
        if not set(spec.infilling.running) <= set(spec.infilling.blanks):
            raise SpecError("infilling.running must be some of infilling.blanks")
    _check_heads(spec)


MAX_SIZE = 2**24
"""No published Transformer has a dimension near this; larger numbers in a config are damage or an attack."""

MAX_LAYERS = 10_000

_DROPOUTS = ("dropout", "final_dropout", "input_dropout", "weight_dropout", "token_dropout")
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("segments", "task_types", "block_positions", "offset", "uncounted", "depth"), (0, MAX_SIZE)),
    **dict.fromkeys(("start", "blanks", "running"), (0, MAX_SIZE)),
    **dict.fromkeys(_DROPOUTS, (0.0, 1.0)),
    **dict.fromkeys(("pad_id", "bos_id", "eos_id", "decoder_start_id", "image_token"), (-MAX_SIZE, MAX_SIZE)),
}
"""What the numbers of a field may be; other whole numbers are sizes, from 1 on, and other floats are above 0."""


def _check_fields(part: Any, path: str) -> None:
    """Every value has the type its field is declared with, and lies in its range."""
    cls: Any = type(part)
    for name, kind in hints_of(cls).items():
        if name == "vocab" and getattr(part, name) == 0 and getattr(part, "sees_only", False):
            continue
        _check_value(getattr(part, name), kind, name, f"{path}.{name}".lstrip("."))


def _check_value(value: Any, kind: Any, name: str, path: str) -> None:
    options = typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)
    if value is None and types.NoneType in options:
        return
    for option in options:
        origin = typing.get_origin(option)
        if origin is tuple and isinstance(value, tuple):
            for i, item in enumerate(value):
                _check_value(item, typing.get_args(option)[0], name, f"{path}.{i}")
            return
        if origin is Literal and isinstance(value, str):
            if value not in typing.get_args(option):
                raise SpecError(f"{path} must be one of {', '.join(typing.get_args(option))}, but is {value!r:.80}")
            return
        if dataclasses.is_dataclass(option) and type(value) is option:
            _check_fields(value, path)
            return
        if option is bool and isinstance(value, bool):
            return
        if option in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
            _check_number(value, option, name, path)
            return
    wanted = " or ".join(getattr(option, "__name__", str(option)) for option in options)
    raise SpecError(f"{path} must be {wanted}, but is {value!r:.80}")


def _check_number(value: float, kind: type, name: str, path: str) -> None:
    if kind is int:
        low, high = _RANGES.get(name, (1, MAX_SIZE))
        if not isinstance(value, int) or not low <= value <= high:
            raise SpecError(f"{path} must be a whole number between {low:,} and {high:,}, but is {value!r:.80}")
    elif name in _RANGES:
        low, high = _RANGES[name]
        if not low <= value < high:
            raise SpecError(f"{path} must be at least {low} and below {high}, but is {value!r:.80}")
    elif not (value > 0 and math.isfinite(value)):
        raise SpecError(f"{path} must be a number above 0, but is {value!r:.80}")


def _check_stack(stack: Stack, name: str, crossing: bool) -> None:
    if stack.layers > MAX_LAYERS or len(stack.pattern) > MAX_LAYERS:
        raise SpecError(
            f"{name}.layers is {stack.layers:,}; more than {MAX_LAYERS:,} layers is not a model anyone published"
        )
    if not stack.pattern:
        raise SpecError(f"{name}.pattern is empty; it needs at least one Block")
    if stack.top_query is not None and crossing:
        raise SpecError(f"{name}.top_query is for a stack without cross_attention")
    period = len(stack.pattern)
    if stack.groups is not None and (stack.layers % period or stack.groups * period > stack.layers):
        raise SpecError(f"{name}.groups={stack.groups} does not divide {stack.layers} layers of {period} blocks")
    if stack.distances is not None:
        _check_distances(stack.distances, f"{name}.distances")
    if (stack.distances is None) is any(_disentangled(block.attention) for block in stack.pattern):
        raise SpecError(f"{name}: distances are for attention with Disentangled positions, which needs them")
    if stack.convolution is not None and (stack.causal or not stack.convolution.width % 2):
        raise SpecError(f"{name}.convolution: its width must be odd, and it sees tokens on both sides, so not causal")
    if stack.position_bias is not None:
        _check_buckets(stack, stack.position_bias, f"{name}.position_bias")
    if crossing and not any(block.crosses for block in stack.pattern):
        raise SpecError(f"{name}.pattern: a {name} beside an encoder needs cross_attention in its blocks")
    for block in stack.pattern:
        if block.crosses and not crossing:
            raise SpecError(f"{name}.pattern: a {name} without an encoder before it cannot have cross_attention")
        if block.flow != "sequential" and ("res" in block.norm_at or crossing):
            raise SpecError(f"{name}: the flow {block.flow!r} has no place for a norm at 'res' or for cross_attention")
        if block.residual == "normed" and (block.flow != "sequential" or "in" not in block.norm_at):
            raise SpecError(f"{name}: a residual taken 'normed' needs a sequential flow and a norm at 'in'")
        if block.residual_scale != 1.0 and block.flow != "sequential":
            raise SpecError(f"{name}: the flow {block.flow!r} has no residual_scale")
        feed_forward = block.feed_forward
        if isinstance(feed_forward, MixtureOfExperts) and feed_forward.active > feed_forward.experts:
            raise SpecError(f"{name}: {feed_forward.active} active experts of {feed_forward.experts}")
        gated = block.gated_cross_attention
        if gated and (block.cross_attention or block.entities or stack.two_streams):
            raise SpecError(f"{name}: gated_cross_attention is for layers without cross_attention, entities or streams")
        crossed = gated.attention if gated else block.cross_attention
        if isinstance(block.attention.position, Disentangled) and not block.attention.position.terms:
            raise SpecError(f"{name}: Disentangled positions without terms have no effect")
        plain = block.flow == "sequential" and block.norm_at == ("res",) and not crossing
        if block.entities is not None and not (plain and getattr(block.feed_forward, "gated", True) is False):
            raise SpecError(f"{name}: a layer with entities is sequential and post-norm, its feed-forward not gated")
        if stack.two_streams and not isinstance(block.attention.position, RelativeSinusoids):
            raise SpecError(f"{name}: two_streams need RelativeSinusoids in every block, which place their queries")
        if crossing and crossed and (crossed.position or crossed.window or crossed.clip):
            raise SpecError(f"{name}: cross_attention has no positions, so it takes no position, no window and no clip")
        for part in filter(None, (block.attention, crossed)):
            _check_attention(part, name)


def _check_attention(part: Attention, name: str) -> None:
    if not (part.key_bias or part.bias):
        raise SpecError(f"{name}: attention without a bias has no key_bias to leave out")
    if not part.key_bias and isinstance(part.position, Disentangled | RelativeSinusoids):
        raise SpecError(f"{name}: attention whose positions have scores of their own has a key_bias")
    if part.heads % part.kv_heads:
        raise SpecError(f"{name}: {part.heads} heads cannot share {part.kv_heads} key-value heads evenly")
    if part.heads * part.head_dim > MAX_SIZE:
        raise SpecError(f"{name}: {part.heads:,} heads of {part.head_dim:,} are more than any published model has")
    if not isinstance(part.position, Rotary):
        return
    if part.position.axes > 2:
        raise SpecError(f"{name}: a token has two coordinates, so rotary axes is 1 or 2, not {part.position.axes}")
    pairs = 2 * part.position.axes
    if part.position.dim % pairs or part.position.dim > part.head_dim:
        even = "even" if pairs == 2 else f"a multiple of {pairs}"
        raise SpecError(f"{name}: rotary dim {part.position.dim} must be {even} and at most head_dim {part.head_dim}")
    if part.position.base <= 1:
        raise SpecError(f"{name}: rotary base {part.position.base} must be above 1")
    scaling = part.position.scaling
    if isinstance(scaling, Llama3Scaling) and scaling.high_freq_factor <= scaling.low_freq_factor:
        raise SpecError(f"{name}: rotary high_freq_factor must be above low_freq_factor")


def _disentangled(part: Attention) -> bool:
    relative = isinstance(part.position, Disentangled | RelativeSinusoids)
    if relative and part.kv_heads != part.heads:
        raise SpecError("attention whose positions have scores of their own has as many kv_heads as heads")
    return isinstance(part.position, Disentangled)


def _check_distances(part: DistanceVectors, path: str) -> None:
    # Distances beyond half of the buckets are counted by log(distance / half) / log((max_distance - 1) / half).
    if part.buckets is not None and (part.buckets < 2 or part.max_distance - 1 <= part.buckets // 2):
        raise SpecError(f"{path}: {part.buckets} buckets cannot be spread up to a max_distance of {part.max_distance}")


def _check_buckets(stack: Stack, bias: RelativeBuckets, path: str) -> None:
    exact = bias.buckets // (2 if stack.causal else 4)
    # Distances beyond the exact ones are counted by log(distance / exact) / log(max_distance / exact).
    if not exact or bias.max_distance == exact:
        raise SpecError(f"{path}: {bias.buckets} buckets cannot be spread up to a max_distance of {bias.max_distance}")
    if len({block.attention.heads for block in stack.pattern}) > 1:
        raise SpecError(f"{path}: blocks that share a table of biases need the same number of heads")


def _check_recurrence(spec: Any) -> None:
    encoder, decoder = spec.encoder, spec.decoder
    if isinstance(encoder, Recurrent):
        check_recurrent(encoder, "encoder", writes=False)
    if isinstance(decoder, Recurrent):
        check_recurrent(decoder, "decoder", writes=True)
    if isinstance(decoder, RecurrentDecoder) and isinstance(encoder, Recurrent):
        check_recurrent_decoder(decoder, encoder, spec.dim)
    elif isinstance(decoder, RecurrentDecoder) or (encoder and decoder and type(encoder) is not type(decoder)):
        raise SpecError("a RecurrentDecoder stands beside a Recurrent encoder, a Stack beside a Stack")
    elif isinstance(decoder, Recurrent) and encoder is not None:
        raise SpecError("a recurrent decoder beside an encoder is a RecurrentDecoder, which says how it reads it")


def _check_heads(spec: Any) -> None:
    kinds: list[str] = []
    for head in spec.heads:
        where = f"heads.{head.kind}"
        if head.kind in kinds:
            raise SpecError(f"{where} is there twice")
        if head.reads == "pool" and "pool" not in kinds:
            raise SpecError(f"{where} reads the pooled vector, but there is no head of kind 'pool' before it")
        if head.module is not None:
            _check_module(head, spec, where)
        if (head.kind in _ONE_A_ROW) is (head.reads == "tokens"):
            raise SpecError(f"{where} cannot read {head.reads!r}")
        if head.kind in _OUTPUTS and head.outputs != _OUTPUTS[head.kind]:
            raise SpecError(f"{where} has {_OUTPUTS[head.kind]} outputs, but {head.outputs!r} are asked for")
        pool = spec.head("pool") if head.reads == "pool" else None
        width = spec.out_dim if pool is None else _made_width(pool, spec.out_dim)
        if width != spec.out_dim:
            raise SpecError(f"{where} reads a pooled vector of width {width}, but heads read {spec.out_dim}")
        table = (spec.target_embedding or spec.embedding).width
        if head.tied and _made_width(head, spec.out_dim) != table:
            raise SpecError(f"{where} is tied to an embedding of width {table}, but projects another width")
        if head.tied and head.outputs is not None:
            raise SpecError(f"{where} is tied to the embedding, so its outputs are the vocabulary")
        kinds.append(head.kind)


def _made_width(head: Head, dim: int) -> int:
    """The width of what a head's last projection is given."""
    return head.transform.width if head.transform else head.state_dim(dim)


def _check_module(head: Head, spec: Any, where: str) -> None:
    assert head.module is not None
    stack, last = head.module.stack, spec.decoder or spec.encoder
    if head.reads == "pool":
        raise SpecError(f"{where}.module has no effect on a head that reads the pooled vector; give it to 'pool'")
    if not isinstance(last, Stack) or last.two_streams:
        raise SpecError(f"{where}.module reads the states of every token in turn: those of a Stack without two_streams")
    _check_stack(stack, f"{where}.module.stack", crossing=False)
    if stack.two_streams or any(block.entities for block in stack.pattern):
        raise SpecError(f"{where}.module.stack reads states alone, so it has no two_streams and no entities")
    if head.kind == "language-model" and not stack.causal:
        raise SpecError(f"{where}.module.stack must be causal: a head that tells the next token must not see it")


def _check_vision(vision: Vision) -> None:
    if named := next((head.kind for head in vision.heads if head.module is not None), None):
        raise SpecError(f"vision.heads.{named}.module: a module stands between a text's states and a head")
    patches = vision.patches
    if patches.patch > patches.image:
        raise SpecError(f"vision.patches: a patch of {patches.patch} pixels in an image of {patches.image}")
    if patches.tokens > MAX_SIZE:
        raise SpecError(f"vision.patches: {patches.tokens:,} patches are more than any published model has")
    _check_stack(vision.stack, "vision.stack", crossing=False)
    if vision.stack.projection is not None:
        raise SpecError("vision.stack has no projection; a bridge changes the width")
    if vision.depth is not None and vision.depth > vision.stack.layers:
        raise SpecError(f"vision.depth is {vision.depth}, but the stack has {vision.stack.layers} layers")
    if not vision.class_kept and not patches.class_token:
        raise SpecError("vision.class_kept is for images with a class_token")
    if vision.injection == "tokens" and vision.image_token is None:
        raise SpecError("vision.image_token is the token that images stand in for: injection 'tokens' needs it")
    if vision.visible != "last" and not vision.one_image_a_token:
        raise SpecError("vision.visible is for a text that attends to images and has an image_token for each")
    if isinstance(vision.bridge, Projector):
        held = patches.tokens - (patches.class_token and not vision.class_kept)
        if held % vision.bridge.joined:
            raise SpecError(
                f"vision.bridge: {held} vectors of an image cannot be joined {vision.bridge.joined} by each"
            )
    if isinstance(vision.bridge, Resampler):
        _check_resampler(vision.bridge, vision)
    if isinstance(vision.bridge, QFormer):
        _check_stack(vision.bridge.stack, "vision.bridge.stack", crossing=True)
        if any(block.norm_at != ("res",) or block.flow != "sequential" for block in vision.bridge.stack.pattern):
            raise SpecError("vision.bridge.stack: the blocks of a QFormer are sequential, with norms at 'res'")
        if vision.bridge.text is not None and vision.bridge.vocab is None:
            raise SpecError("vision.bridge: the text of an instruction needs a vocab")


def _check_resampler(bridge: Resampler, vision: Vision) -> None:
    part = bridge.attention
    _check_attention(part, "vision.bridge")
    if part.position or part.window or part.clip or part.scale_by_depth:
        raise SpecError("vision.bridge: a Resampler's attention has no position, window, clip or scale_by_depth")
    if bridge.dim != vision.dim:
        raise SpecError(f"vision.bridge: queries of {bridge.dim} attend to an image of {vision.dim} and themselves")
    if bridge.layers > MAX_LAYERS:
        raise SpecError(f"vision.bridge.layers is {bridge.layers:,}, which is not a model anyone published")


_ONE_A_ROW = ("pool", "embed", "next-sentence", "match", "classify")
_OUTPUTS = {"span": 2, "replaced-token": 1}
