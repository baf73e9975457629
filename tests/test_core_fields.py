"""Every field of every spec changes what a model computes, or says here why not."""

import dataclasses
import itertools
from dataclasses import dataclass, field, replace
from typing import Any, get_args, get_type_hints

import pytest
import torch
from core_models import SEEING, SPECS, randomise
from recurrent_models import CASES as RECURRENT_CASES
from recurrent_models import RECURRENT

from moduformer import architecture
from moduformer.architecture import (
    ALiBi,
    Attention,
    Block,
    Convolution,
    Disentangled,
    DistanceVectors,
    DynamicScaling,
    Embedding,
    EntityStream,
    FeedForward,
    GatedCrossAttention,
    Head,
    Infilling,
    LearnedPositions,
    LinearScaling,
    Llama3Scaling,
    MixtureOfExperts,
    Norm,
    Patches,
    Projector,
    QFormer,
    RelativeBuckets,
    RelativeSinusoids,
    Rotary,
    Sinusoids,
    Spec,
    Stack,
    TaskModule,
    Transform,
    YarnScaling,
)
from moduformer.batch import Batch
from moduformer.model import Model, build

PARTS = [
    part
    for part in vars(architecture).values()
    if dataclasses.is_dataclass(part) and part not in (architecture.Change, architecture.Difference)
]
FIELDS = [(part.__name__, f.name) for part in PARTS for f in dataclasses.fields(part)]

# Four texts; 5 stands inside some of them, 3 and 4 each end some row.
TEXTS = [[7, 5, 9, 21, 5, 30, 8, 11, 12, 13, 4, 3, 14, 6, 26], [3, 4, 22, 17, 18, 19, 20], [4, 3, 15, 16], [10, 4, 3]]


def put(part: Any, path: str, value: Any) -> Any:
    """A copy of a spec with another value at a path; `*` is every block, a number one item."""
    name, _, rest = path.partition(".")
    if isinstance(part, tuple):
        return tuple(put(item, rest, value) if name in ("*", str(i)) else item for i, item in enumerate(part))
    return replace(part, **{name: put(getattr(part, name), rest, value) if rest else value})


def without_dropout(part: Any) -> Any:
    if isinstance(part, tuple):
        return tuple(without_dropout(item) for item in part)
    if not dataclasses.is_dataclass(part):
        return part
    changed = {f.name: without_dropout(getattr(part, f.name)) for f in dataclasses.fields(part)}
    return replace(part, **{name: 0.0 if "dropout" in name else value for name, value in changed.items()})


@dataclass(frozen=True)
class Case:
    """A base model (with changes of its own), the field's path and other value, and what must change along with it."""

    base: str
    path: str
    value: Any
    first: dict[str, Any] = field(default_factory=dict)
    along: dict[str, Any] = field(default_factory=dict)

    def specs(self) -> tuple[Spec, Spec]:
        before = without_dropout({**SPECS, **RECURRENT, **SEEING}[self.base])
        for path, value in self.first.items():
            before = put(before, path, value)
        after = before
        for path, value in {**self.along, self.path: self.value}.items():
            after = put(after, path, value)
        return before, after


ENC, DEC = "encoder.pattern.*", "decoder.pattern.*"
ROTARY = f"{DEC}.attention.position"
LINEAR = {f"{ROTARY}.scaling": LinearScaling(2.0)}
DYNAMIC = {f"{ROTARY}.scaling": DynamicScaling(2.0, 12)}
BLANKS = {"infilling": Infilling(11, (9, 5))}
LLAMA3 = {f"{ROTARY}.scaling": Llama3Scaling(4.0, 1.0, 4.0, 16)}
YARN = {f"{ROTARY}.base": 100.0, f"{ROTARY}.scaling": YarnScaling(4.0, 64, 2.0, 1.0)}
POOLED = {"heads.1.reads": "first"}
SLOPES = {f"{ENC}.attention.position": ALiBi()}
STEEP = {f"{DEC}.attention": Attention(3, 8, 3, position=ALiBi(0.01))}
EXPERTS = {f"{ENC}.feed_forward": MixtureOfExperts(FeedForward(24), 4, 2)}
DISENTANGLED = Block(Attention(2, 8, 2, position=Disentangled()), FeedForward(24))
DISTANCES = {"encoder": Stack(2, (DISENTANGLED,), distances=DistanceVectors(8, 4, Norm(eps=0.1)))}
BY_DISTANCE = Block(Attention(2, 8, 2, position=RelativeSinusoids()), FeedForward(24))
WAVES = {"encoder": Stack(2, (BY_DISTANCE,))}
KNOWING = Block(Attention(2, 8, 2), FeedForward(24), entities=EntityStream(6, Attention(2, 3, 2)))
KNOWLEDGE = {"encoder": Stack(2, (KNOWING,))}
CONVOLVED = {"encoder.convolution": Convolution()}
SINGLE = {"encoder.convolution": Convolution(1, norm=Norm(weight=False, bias=False)), "encoder.layers": 1}
SHORTER = {"embedding.positions.max": 46}
SINES = {"embedding.positions": Sinusoids()}
ALTERNATING = tuple(Block(Attention(2, 8, 2, window=window), FeedForward(24)) for window in (None, 1))
CLASSIFY = Head("classify", reads="first", transform=Transform(16, "tanh"), outputs=3)

ASKED = SEEING["asked"].vision.bridge
_SEEN = SEEING["resampled"].vision
WIDER = replace(_SEEN, dim=20, bridge=replace(_SEEN.bridge, dim=20))
GATE = "decoder.pattern.*.gated_cross_attention"
GATED = GatedCrossAttention(Attention(2, 4, 2), FeedForward(12))
SMALL = TaskModule(8, Stack(1, (Block(Attention(2, 4, 2), FeedForward(12)),), causal=True))
UNTIED = {"heads": (Head("language-model"),)}
MODULE = {"heads": (Head("language-model", module=SMALL),)}
EYE = Head("embed", reads="first", outputs=10)

CASES: dict[tuple[str, str], Case] = {
    ("Norm", "kind"): Case("bert", f"{ENC}.norm.kind", "rms", {f"{ENC}.norm.bias": False}),
    ("Norm", "eps"): Case("bert", f"{ENC}.norm.eps", 0.5),
    ("Norm", "bias"): Case("bert", f"{ENC}.norm.bias", False),
    ("Norm", "weight"): Case("bert", f"{ENC}.norm.weight", False),
    ("Norm", "unit_offset"): Case("llama", f"{DEC}.norm.unit_offset", True),
    ("ALiBi", "max_bias"): Case("bert", f"{ENC}.attention.position.max_bias", 4.0, SLOPES),
    ("ALiBi", "scaled"): Case("bert", f"{ENC}.attention.position.scaled", True, SLOPES),
    ("ALiBi", "rounding"): Case("gpt2", f"{DEC}.attention.position.rounding", "bfloat16", STEEP),
    ("Disentangled", "terms"): Case("bert", f"{ENC}.attention.position.terms", ("p2c",), DISTANCES),
    ("Disentangled", "shared"): Case("bert", f"{ENC}.attention.position.shared", True, DISTANCES),
    ("Disentangled", "dropout"): Case("bert", f"{ENC}.attention.position.dropout", 0.5, DISTANCES),
    ("RelativeSinusoids", "segments"): Case("bert", f"{ENC}.attention.position.segments", True, WAVES),
    ("RelativeSinusoids", "reach"): Case("bert", f"{ENC}.attention.position.reach", 3, WAVES),
    ("RelativeSinusoids", "base"): Case("bert", f"{ENC}.attention.position.base", 50.0, WAVES),
    ("RelativeSinusoids", "dropout"): Case("bert", f"{ENC}.attention.position.dropout", 0.5, WAVES),
    ("DistanceVectors", "max_distance"): Case("bert", "encoder.distances.max_distance", 16, DISTANCES),
    ("DistanceVectors", "buckets"): Case("bert", "encoder.distances.buckets", 6, DISTANCES),
    ("DistanceVectors", "norm"): Case("bert", "encoder.distances.norm", None, DISTANCES),
    ("EntityStream", "width"): Case("bert", f"{ENC}.entities.width", 8, KNOWLEDGE),
    ("EntityStream", "attention"): Case("bert", f"{ENC}.entities.attention", None, KNOWLEDGE),
    ("Convolution", "width"): Case("bert", "encoder.convolution.width", 5, CONVOLVED),
    ("Convolution", "groups"): Case("bert", "encoder.convolution.groups", 2, CONVOLVED),
    ("Convolution", "activation"): Case("bert", "encoder.convolution.activation", "relu", SINGLE),
    ("Convolution", "norm"): Case("bert", "encoder.convolution.norm", Norm("rms"), CONVOLVED),
    ("Convolution", "dropout"): Case("bert", "encoder.convolution.dropout", 0.5, CONVOLVED),
    ("LinearScaling", "factor"): Case("llama", f"{ROTARY}.scaling.factor", 3.0, LINEAR),
    ("DynamicScaling", "factor"): Case("llama", f"{ROTARY}.scaling.factor", 4.0, DYNAMIC),
    ("DynamicScaling", "original_context"): Case("llama", f"{ROTARY}.scaling.original_context", 8, DYNAMIC),
    ("Llama3Scaling", "factor"): Case("llama", f"{ROTARY}.scaling.factor", 8.0, LLAMA3),
    ("Llama3Scaling", "low_freq_factor"): Case("llama", f"{ROTARY}.scaling.low_freq_factor", 2.0, LLAMA3),
    ("Llama3Scaling", "high_freq_factor"): Case("llama", f"{ROTARY}.scaling.high_freq_factor", 8.0, LLAMA3),
    ("Llama3Scaling", "original_context"): Case("llama", f"{ROTARY}.scaling.original_context", 12, LLAMA3),
    ("YarnScaling", "factor"): Case("llama", f"{ROTARY}.scaling.factor", 8.0, YARN),
    ("YarnScaling", "original_context"): Case("llama", f"{ROTARY}.scaling.original_context", 640, YARN),
    ("YarnScaling", "beta_fast"): Case("llama", f"{ROTARY}.scaling.beta_fast", 8.0, YARN),
    ("YarnScaling", "beta_slow"): Case("llama", f"{ROTARY}.scaling.beta_slow", 4.0, YARN),
    ("Rotary", "dim"): Case("llama", f"{ROTARY}.dim", 4),
    ("Rotary", "base"): Case("llama", f"{ROTARY}.base", 100.0),
    ("Rotary", "pairing"): Case("llama", f"{ROTARY}.pairing", "pairs"),
    ("Rotary", "scaling"): Case("llama", f"{ROTARY}.scaling", LinearScaling(2.0)),
    ("Rotary", "axes"): Case("llama", f"{ROTARY}.axes", 2),
    ("RelativeBuckets", "buckets"): Case("t5", "encoder.position_bias.buckets", 12),
    ("RelativeBuckets", "max_distance"): Case("t5", "encoder.position_bias.max_distance", 6),
    ("LearnedPositions", "max"): Case("bert", "embedding.positions.max", 20),
    ("LearnedPositions", "offset"): Case("bert", "embedding.positions.offset", 2, along=SHORTER),
    ("LearnedPositions", "uncounted"): Case("bert", "embedding.positions.uncounted", 5),
    ("Sinusoids", "layout"): Case("bert", "embedding.positions.layout", "halves", SINES),
    ("Sinusoids", "base"): Case("bert", "embedding.positions.base", 50.0, SINES),
    ("Attention", "heads"): Case("bert", f"{ENC}.attention.heads", 4, along={f"{ENC}.attention": Attention(4, 4, 4)}),
    ("Attention", "head_dim"): Case("bert", f"{ENC}.attention.head_dim", 5),
    ("Attention", "kv_heads"): Case("llama", f"{DEC}.attention.kv_heads", 1),
    ("Attention", "bias"): Case("bert", f"{ENC}.attention.bias", False),
    ("Attention", "out_bias"): Case("bert", f"{ENC}.attention.out_bias", False),
    ("Attention", "scale"): Case("bert", f"{ENC}.attention.scale", 1.0),
    ("Attention", "scale_by_depth"): Case("bert", f"{ENC}.attention.scale_by_depth", True),
    ("Attention", "position"): Case("bert", f"{ENC}.attention.position", Rotary(4)),
    ("Attention", "window"): Case("bert", f"{ENC}.attention.window", 2),
    ("Attention", "softcap"): Case("bert", f"{ENC}.attention.softcap", 0.3),
    ("Attention", "clip"): Case("bert", f"{ENC}.attention.clip", 0.3),
    ("Attention", "dropout"): Case("bert", f"{ENC}.attention.dropout", 0.5),
    ("FeedForward", "width"): Case("bert", f"{ENC}.feed_forward.width", 20),
    ("FeedForward", "activation"): Case("bert", f"{ENC}.feed_forward.activation", "silu"),
    ("FeedForward", "gated"): Case("bert", f"{ENC}.feed_forward.gated", True),
    ("FeedForward", "bias"): Case("bert", f"{ENC}.feed_forward.bias", False),
    ("Attention", "key_bias"): Case("bert", f"{ENC}.attention.key_bias", False),
    ("FeedForward", "norm"): Case("bert", f"{ENC}.feed_forward.norm", Norm()),
    ("FeedForward", "dropout"): Case("bert", f"{ENC}.feed_forward.dropout", 0.5),
    ("MixtureOfExperts", "expert"): Case("bert", f"{ENC}.feed_forward.expert", FeedForward(20), EXPERTS),
    ("MixtureOfExperts", "experts"): Case("bert", f"{ENC}.feed_forward.experts", 3, EXPERTS),
    ("MixtureOfExperts", "active"): Case("bert", f"{ENC}.feed_forward.active", 1, EXPERTS),
    ("MixtureOfExperts", "normalised"): Case("bert", f"{ENC}.feed_forward.normalised", False, EXPERTS),
    ("MixtureOfExperts", "router_bias"): Case("bert", f"{ENC}.feed_forward.router_bias", True, EXPERTS),
    ("MixtureOfExperts", "capacity"): Case("bert", f"{ENC}.feed_forward.capacity", 3, EXPERTS),
    ("Block", "attention"): Case("bert", f"{ENC}.attention", Attention(2, 8, 1)),
    ("Block", "feed_forward"): Case("bert", f"{ENC}.feed_forward", FeedForward(24, "relu")),
    ("Block", "norm"): Case("bert", f"{ENC}.norm", Norm(eps=0.3)),
    ("Block", "norm_at"): Case("bert", f"{ENC}.norm_at", ("in",)),
    ("Block", "flow"): Case("gpt2", f"{DEC}.flow", "parallel"),
    ("Block", "cross_attention"): Case("t5", f"{DEC}.cross_attention", Attention(2, 6, 2, False, False, scale=0.2)),
    ("Block", "residual"): Case("gpt2", f"{DEC}.residual", "normed"),
    ("Block", "residual_scale"): Case("bert", f"{ENC}.residual_scale", 2.0),
    ("Block", "entities"): Case("bert", f"{ENC}.entities", EntityStream(6)),
    ("Block", "dropout"): Case("bert", f"{ENC}.dropout", 0.5),
    ("Block", "gated_cross_attention"): Case("gated", "decoder.pattern.*.gated_cross_attention", GATED),
    ("GatedCrossAttention", "attention"): Case("gated", f"{GATE}.attention", Attention(2, 8, 1)),
    ("GatedCrossAttention", "feed_forward"): Case("gated", f"{GATE}.feed_forward", FeedForward(20, "relu")),
    ("GatedCrossAttention", "norm"): Case("gated", f"{GATE}.norm", Norm(eps=0.5)),
    ("Stack", "layers"): Case("bert", "encoder.layers", 3),
    ("Stack", "pattern"): Case("bert", "encoder.pattern", ALTERNATING),
    ("Stack", "causal"): Case("bert", "encoder.causal", True),
    ("Stack", "groups"): Case("bert", "encoder.groups", 1),
    ("Stack", "position_bias"): Case("t5", "encoder.position_bias", None),
    ("Stack", "distances"): Case("bert", "encoder.distances", DistanceVectors(8, 4), DISTANCES),
    ("Stack", "convolution"): Case("bert", "encoder.convolution", Convolution()),
    ("Stack", "two_streams"): Case("bert", "encoder.two_streams", True, WAVES),
    ("Stack", "final_norm"): Case("gpt2", "decoder.final_norm", None),
    ("Stack", "projection"): Case("llama", "decoder.projection", 20),
    ("Stack", "top_query"): Case("gpt2", "decoder.top_query", 48),
    ("Stack", "final_dropout"): Case("t5", "decoder.final_dropout", 0.5),
    ("Embedding", "width"): Case("bert", "embedding.width", 8),
    ("Embedding", "positions"): Case("gpt2", "embedding.positions", Sinusoids()),
    ("Embedding", "segments"): Case("bert", "embedding.segments", 0),
    ("Embedding", "task_types"): Case("bert", "embedding.task_types", 2),
    ("Embedding", "block_positions"): Case("gpt2", "embedding.block_positions", 4),
    ("Embedding", "scale"): Case("llama", "embedding.scale", 3.0),
    ("Embedding", "norm"): Case("bert", "embedding.norm", None),
    ("Embedding", "words_normed"): Case("bert", "embedding.words_normed", True),
    ("Embedding", "projection_bias"): Case("bert", "embedding.projection_bias", False, {"embedding.width": 8}),
    ("Embedding", "projected"): Case("bert", "embedding.projected", "tokens", {"embedding.width": 8}),
    ("Embedding", "dropout"): Case("bert", "embedding.dropout", 0.5),
    ("Transform", "width"): Case("bert", "heads.0.transform.width", 12, {"heads": (CLASSIFY,)}),
    ("Transform", "activation"): Case("bert", "heads.0.transform.activation", "relu", {"heads": (CLASSIFY,)}),
    ("Transform", "norm"): Case("bert", "heads.0.transform.norm", Norm(), {"heads": (CLASSIFY,)}),
    ("Head", "kind"): Case("bert", "heads.0.kind", "next-sentence", {"heads": (CLASSIFY,)}),
    ("Head", "reads"): Case("bert", "heads.0.reads", "last", {"heads": (CLASSIFY,)}),
    ("Head", "transform"): Case("bert", "heads.0.transform", None, {"heads": (CLASSIFY,)}),
    ("Head", "outputs"): Case("bert", "heads.0.outputs", 4, {"heads": (CLASSIFY,)}),
    ("Head", "tied"): Case("gpt2", "heads.0.tied", False),
    ("Head", "bias"): Case("bert", "heads.0.bias", False, {"heads": (CLASSIFY,)}),
    ("Head", "scale"): Case("gpt2", "heads.0.scale", 0.5),
    ("Head", "norm"): Case("bert", "heads.0.norm", Norm(), {"heads": (CLASSIFY,)}),
    ("Head", "normalised"): Case("llama", "heads.0.normalised", True),
    ("Head", "softcap"): Case("llama", "heads.0.softcap", 0.5),
    ("Head", "dropout"): Case("bert", "heads.0.dropout", 0.5, {"heads": (CLASSIFY,)}),
    ("Head", "module"): Case("gpt2", "heads.0.module", SMALL, UNTIED),
    ("TaskModule", "dim"): Case("gpt2", "heads.0.module.dim", 12, MODULE),
    ("TaskModule", "stack"): Case("gpt2", "heads.0.module.stack", replace(SMALL.stack, layers=2), MODULE),
    ("TaskModule", "bias"): Case("gpt2", "heads.0.module.bias", False, MODULE),
    ("Patches", "image"): Case("vit", "vision.patches.image", 12),
    ("Patches", "patch"): Case("vit", "vision.patches.patch", 2),
    ("Patches", "channels"): Case("vit", "vision.patches.channels", 1),
    ("Patches", "bias"): Case("vit", "vision.patches.bias", False),
    ("Patches", "class_token"): Case("vit", "vision.patches.class_token", False),
    ("Patches", "norm"): Case("vit", "vision.patches.norm", Norm()),
    ("Patches", "dropout"): Case("vit", "vision.patches.dropout", 0.5),
    ("Projector", "activation"): Case("projected", "vision.bridge.activation", "gelu"),
    ("Projector", "bias"): Case("projected", "vision.bridge.bias", False),
    ("Projector", "joined"): Case("projected", "vision.bridge.joined", 2),
    ("QFormer", "queries"): Case("asked", "vision.bridge.queries", 2),
    ("QFormer", "dim"): Case("asked", "vision.bridge.dim", 16, along={"vision.bridge.text.width": 16}),
    ("QFormer", "stack"): Case("asked", "vision.bridge.stack", replace(ASKED.stack, layers=4)),
    ("QFormer", "norm"): Case("asked", "vision.bridge.norm", Norm(eps=0.5)),
    ("QFormer", "text"): Case("asked", "vision.bridge.text", ASKED.text, {"vision.bridge.text": None}),
    ("QFormer", "vocab"): Case("asked", "vision.bridge.vocab", 41),
    ("Resampler", "queries"): Case("resampled", "vision.bridge.queries", 2),
    ("Resampler", "dim"): Case("resampled", "vision.bridge.dim", 20, along={"vision": WIDER}),
    ("Resampler", "layers"): Case("resampled", "vision.bridge.layers", 1),
    ("Resampler", "attention"): Case("resampled", "vision.bridge.attention", Attention(2, 8, 1)),
    ("Resampler", "feed_forward"): Case("resampled", "vision.bridge.feed_forward", FeedForward(24, "relu")),
    ("Resampler", "norm"): Case("resampled", "vision.bridge.norm", Norm(eps=0.5)),
    ("Resampler", "residual"): Case("resampled", "vision.bridge.residual", "normed"),
    ("Resampler", "final_norm"): Case("resampled", "vision.bridge.final_norm", None),
    ("Resampler", "projected"): Case("gated", "vision.bridge.projected", True),
    ("Resampler", "end"): Case("resampled", "vision.bridge.end", True),
    ("Vision", "dim"): Case("projected", "vision.dim", 20),
    ("Vision", "patches"): Case("vit", "vision.patches", Patches(8, 8)),
    ("Vision", "stack"): Case("vit", "vision.stack", replace(SEEING["vit"].vision.stack, layers=1)),
    ("Vision", "heads"): Case("clip", "vision.heads", (Head("embed", reads="first", outputs=10),)),
    ("Vision", "depth"): Case("projected", "vision.depth", 1),
    ("Vision", "class_kept"): Case("projected", "vision.class_kept", True),
    ("Vision", "bridge"): Case("projected", "vision.bridge", Projector("gelu")),
    ("Vision", "injection"): Case("projected", "vision.injection", "beside", {"vision.heads": (EYE,)}),
    ("Vision", "image_token"): Case("projected", "vision.image_token", 37),
    ("Vision", "temperature"): Case("clip", "vision.temperature", False),
    ("Vision", "visible"): Case("gated", "vision.visible", "next"),
    ("Spec", "vision"): Case("clip", "vision", None),
    ("Spec", "vocab"): Case("gpt2", "vocab", 41),
    ("Spec", "dim"): Case("llama", "dim", 16, along={"embedding.width": 16}),
    ("Spec", "embedding"): Case("llama", "embedding", Embedding(24, scale=2.0)),
    ("Spec", "encoder"): Case("t5", "encoder", replace(SPECS["t5"].encoder, layers=1)),
    ("Spec", "decoder"): Case("gpt2", "decoder", replace(SPECS["gpt2"].decoder, causal=False)),
    ("Spec", "heads"): Case("bert", "heads", (CLASSIFY,)),
    ("Spec", "target_embedding"): Case("t5", "target_embedding", Embedding(16, Sinusoids())),
    ("Spec", "target_vocab"): Case("t5", "target_vocab", 41, {"target_embedding": Embedding(16)}),
    ("Spec", "infilling"): Case("gpt2", "infilling", Infilling(11, (5,))),
    ("Infilling", "start"): Case("gpt2", "infilling.start", 8, BLANKS),
    ("Infilling", "blanks"): Case("gpt2", "infilling.blanks", (5,), BLANKS),
    ("Infilling", "first"): Case("gpt2", "infilling.first", "in-text", BLANKS),
    ("Infilling", "running"): Case("gpt2", "infilling.running", (9,), BLANKS),
    ("Spec", "eos_id"): Case("bert", "eos_id", 4, {"eos_id": 3, "heads": (replace(CLASSIFY, reads="eos"),)}),
    ("Spec", "pad_id"): Case("t5", "pad_id", 5),
    ("Spec", "decoder_start_id"): Case("t5", "decoder_start_id", 6),
    ("Spec", "target_start"): Case("t5", "target_start", "last"),
}  # fmt: skip
CASES |= {name: Case(*case) for name, case in RECURRENT_CASES.items()}
NO_EFFECT = {
    ("Spec", "bos_id"): Case("gpt2", "bos_id", 7),  # only a tokenizer and the start of a generated text use it
    ("Recurrent", "variational"): Case("awd_lstm", "decoder.variational", True),  # a way of dropout while training
}


def results(model: Model, seed: int = 0) -> dict[str, torch.Tensor]:
    """Every head's logits; an encoder-decoder makes its input from labels, one of which is ignored."""
    torch.manual_seed(seed)
    if model.vision is not None or model.spec == replace(SEEING["clip"], vision=None):
        return seen(model)
    batch = Batch.from_lists(TEXTS, order=range(len(TEXTS)))
    with torch.no_grad():
        if model.encoder is None or model.decoder is None:
            states = model.run(batch)
        else:
            labels = torch.tensor([[8, -100, 9, 7, 11]] * len(TEXTS))
            states = model.run(batch, Batch.from_padded(model.shift_right(labels), order=range(len(TEXTS))))
    return states.heads


def seen(model: Model) -> dict[str, torch.Tensor]:
    """Everything a model that sees gives back for four images, with texts of tokens that may stand for them."""
    spec, generator = model.spec, torch.Generator().manual_seed(3)
    patches = (spec.vision or SEEING["clip"].vision).patches
    given: dict[str, Any] = {}
    if spec.vision is not None:
        given["pixel_values"] = torch.randn(4, patches.channels, patches.image, patches.image, generator=generator)
    if spec.vision is not None and spec.vision.one_image_a_token:
        given["input_ids"] = torch.tensor([[9, 38, *TEXTS[0]]] * 4)
    elif spec.vocab:
        given["input_ids"] = torch.tensor([[38] * spec.image_tokens + [37] * spec.image_tokens + TEXTS[0]] * 4)
    if spec.vision is not None and isinstance(spec.vision.bridge, QFormer) and spec.vision.bridge.text:
        given["qformer_input_ids"] = torch.tensor([TEXTS[0]] * 4)
    with torch.no_grad():
        out = model(**given)
    return {name: out[name] for name in out.keys()}  # noqa: SIM118


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        a[kind].shape == b[kind].shape and float((a[kind] - b[kind]).abs().max()) <= 1e-4 * float(a[kind].abs().max())
        for kind in a
    )


def test_every_field_has_a_case() -> None:
    assert len(PARTS) >= 15
    assert set(FIELDS) == set(CASES) | set(NO_EFFECT)
    assert not set(CASES) & set(NO_EFFECT)
    for (part, name), case in CASES.items():
        assert case.path.rpartition(".")[2] == name
        owner: Any = case.specs()[0]
        for step in case.path.split(".")[:-1]:
            owner = owner[0 if step == "*" else int(step)] if isinstance(owner, tuple) else getattr(owner, step)
        assert type(owner).__name__ == part


@pytest.mark.parametrize(("part", "name"), FIELDS)
def test_a_field_changes_the_numbers(part: str, name: str) -> None:
    if (part, name) in NO_EFFECT:
        model, other = (build(spec, seed=1) for spec in NO_EFFECT[part, name].specs())
        assert same(results(model), results(other)), "it has an effect now: give it a case"
        return
    before, after = CASES[part, name].specs()
    assert before != after
    model, other = randomise(build(before), 1), randomise(build(after), 1)
    shapes = [{key: tuple(value.shape) for key, value in m.state_dict().items()} for m in (model, other)]
    common = {key: value for key, value in model.state_dict().items() if shapes[1].get(key) == shapes[0][key]}
    other.load_state_dict(common, strict=False)
    if "dropout" in name:
        assert same(results(model), results(other)), "dropout while evaluating"
        assert not same(results(model.train()), results(other.train()))
        assert not same(results(other), results(other, seed=1))
        return
    assert same(results(model), results(model))
    assert shapes[0] != shapes[1] or not same(results(model), results(other))


CHOICES = [
    (part, f)
    for part in PARTS
    for f in dataclasses.fields(part)
    if get_type_hints(part)[f.name] in (architecture.Activation,) or (part.__name__, f.name) in (("Block", "flow"),)
]


@pytest.mark.parametrize(("part", "choice"), CHOICES, ids=lambda x: getattr(x, "name", getattr(x, "__name__", "")))
def test_every_choice_differs_from_every_other(part: type, choice: dataclasses.Field[Any]) -> None:
    case = CASES[part.__name__, choice.name]
    before, _ = case.specs()
    found = []
    for value in get_args(get_type_hints(part)[choice.name]):
        model = randomise(build(put(before, case.path, value)), 1)
        found.append(results(model))
    for a, b in itertools.combinations(found, 2):
        assert not same(a, b)


def test_every_set_of_norm_slots_differs() -> None:
    spec, found = SPECS["gpt2"], []
    slots = [s for n in range(4) for s in itertools.combinations(("in", "out", "res"), n)]
    for norm_at in slots:
        model = build(put(spec, f"{DEC}.norm_at", norm_at), seed=4)
        generator = torch.Generator().manual_seed(1)
        for name, parameter in model.named_parameters():
            if "norm" in name:
                with torch.no_grad():
                    parameter.copy_(torch.randn(parameter.shape, generator=generator))
        found.append(results(model))
    for a, b in itertools.combinations(found, 2):
        assert not same(a, b)


@pytest.mark.parametrize("reads", ["first", "last", "mean", "eos"])
def test_a_head_reads_what_it_says(reads: Any) -> None:
    spec = replace(SPECS["bert"], heads=(replace(CLASSIFY, reads=reads),), eos_id=(3, 4))
    model = randomise(build(spec), 2)
    batch = Batch.from_lists(TEXTS)
    states = model.run(batch)
    hidden = batch.pad(states.hidden)
    for row, text in enumerate(TEXTS):
        real = hidden[row, : len(text)]
        place = {"first": 0, "last": len(text) - 1, "eos": max(i for i, t in enumerate(text) if t in (3, 4))}
        wanted = real.mean(0) if reads == "mean" else real[place[reads]]
        expected = model.heads["classify"](wanted, model.embedding.tokens.weight)
        assert (batch.restore(states.heads["classify"])[row] - expected).abs().max() <= 1e-5


def test_groups_share_and_patterns_alternate() -> None:
    a, b = Block(Attention(2, 8, 2), FeedForward(24)), Block(Attention(2, 8, 2), FeedForward(20, "relu"))
    stack = Stack(8, (a, b), groups=2)
    assert [stack.weights_of(i) for i in range(8)] == [0, 1, 0, 1, 2, 3, 2, 3]
    assert stack.weight_sets == 4
    assert [stack.block(i).feed_forward.width for i in range(4)] == [24, 20, 24, 20]
    model = build(replace(SPECS["bert"], encoder=stack))
    layers = [model.encoder.layer(i) for i in range(8)]
    assert layers[0] is layers[2] is not layers[4]
    assert [layer.settings.feed_forward.width for layer in layers[:2]] == [24, 20]
    assert RelativeBuckets() == RelativeBuckets(32, 128)
    assert LearnedPositions(5).offset == 0
