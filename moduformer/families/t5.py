"""T5 (Raffel et al. 2020, arXiv 1910.10683), T5 1.1, T0, FLAN-T5: an encoder-decoder with bucketed distances."""

from dataclasses import dataclass
from typing import Any

from moduformer.architecture import (
    Attention,
    Block,
    Embedding,
    FeedForward,
    Head,
    Norm,
    RelativeBuckets,
    Spec,
    Stack,
    Transform,
)
from moduformer.errors import CheckpointError
from moduformer.families.family import Architecture, Family
from moduformer.weights.config import ACTIVATIONS, Config, Get, Key, Rule, TokenIds, key
from moduformer.weights.plan import Row

SIDES = ("encoder", "decoder")
BLOCKS = ("encoder.pattern.*", "decoder.pattern.*")
LAYERS = tuple(f"{block}.feed_forward{expert}" for expert in ("", ".expert") for block in BLOCKS)
ATTENTIONS = (*(f"{block}.attention" for block in BLOCKS), "decoder.pattern.*.cross_attention")
LANGUAGE_MODEL = Head("language-model", tied=True, bias=False, scale=512**-0.5)
CLASSIFY = Head("classify", reads="eos", transform=Transform(512, "tanh"), outputs=2)


@dataclass(frozen=True)
class Activation:
    """`feed_forward_proj`: an activation, or "gated-" and one; "gated-gelu" means the tanh form."""

    default: str = "relu"
    name: str = "feed_forward_proj"

    def read(self, config: Config) -> dict[str, Any]:
        """One word to activation and gate."""
        word = config.get(self.name, self.default)
        kind, _, name = word.rpartition("-") if isinstance(word, str) else ("?", "", "")
        name = "gelu_new" if word == "gated-gelu" else name
        if kind not in ("", "gated") or name not in ACTIVATIONS:
            raise CheckpointError(f"config.json: {self.name} is {word!r:.80}, which is not supported")
        found = {f"{layer}.activation": ACTIVATIONS[name] for layer in LAYERS}
        return {**found, **{f"{layer}.gated": kind == "gated" for layer in LAYERS}}

    def write(self, get: Get) -> dict[str, Any]:
        """Activation and gate to one word."""
        words: dict[str, Any] = {}
        for part in ("activation", "gated"):
            words |= Key(part, tuple(f"{layer}.{part}" for layer in LAYERS)).write(get)
        activation, gated = words.get("activation"), words.get("gated")
        if activation is None:
            return {}
        if gated and activation == "gelu_tanh":
            return {self.name: "gated-gelu"}
        name = "gelu_new" if activation == "gelu_tanh" else next(w for w, v in ACTIVATIONS.items() if v == activation)
        return {self.name: f"gated-{name}" if gated else name}


@dataclass(frozen=True)
class Sizes:
    """The model's width, the decoder's own depth, and the output: tied and scaled in T5, neither in T5 1.1.

    A family whose output is never scaled has no `scaled`; `default` are its width and its depth."""

    scaled: bool = True
    default: tuple[int, int] = (512, 6)

    def read(self, config: Config) -> dict[str, Any]:
        """`d_model`, `num_decoder_layers`, `tie_word_embeddings` and `scale_decoder_outputs`."""
        dim, tied = config.get("d_model", self.default[0]), config.get("tie_word_embeddings", True)
        decoder = config.get("num_decoder_layers")
        scaled = self.scaled and config.get("scale_decoder_outputs", tied) and tied
        return {
            "dim": dim,
            "embedding.width": dim,
            "heads.classify.transform.width": dim,
            "decoder.layers": config.get("num_layers", self.default[1]) if decoder is None else decoder,
            "heads.language-model.tied": tied,
            "heads.language-model.scale": dim**-0.5 if scaled else 1.0,
        }

    def write(self, get: Get) -> dict[str, Any]:
        """The same keys back."""
        found = {"d_model": get("dim")}
        try:
            found["num_decoder_layers"] = get("decoder.layers")
            found["tie_word_embeddings"] = get("heads.language-model.tied")
            if self.scaled:
                found["scale_decoder_outputs"] = get("heads.language-model.scale") != 1.0
        except KeyError:
            pass
        return found


def rows(stack: str) -> tuple[Row, ...]:
    """The rows of one stack but for its feed-forward layers; the decoder's has a cross-attention before them."""
    block, last = f"{stack}.block.{{i}}.layer", 1 if stack == "encoder" else 2
    attentions = [("0.SelfAttention", "0.layer_norm", "attention")]
    if stack == "decoder":
        attentions.append(("1.EncDecAttention", "1.layer_norm", "cross_attention"))
    found = []
    for file, norm, part in attentions:
        for letter, name in (("q", "q"), ("k", "k"), ("v", "v"), ("o", "out")):
            found.append(Row(f"{block}.{file}.{letter}", f"{stack}.{{i}}.{part}.{name}"))
        found.append(Row(f"{block}.{norm}", f"{stack}.{{i}}.{part}_norm_in"))
    return (
        *found,
        Row(f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias", f"{stack}.position_bias"),
        Row(f"{block}.{last}.layer_norm", f"{stack}.{{i}}.feed_forward_norm_in"),
        Row(f"{stack}.final_layer_norm", f"{stack}.norm"),
    )


def feed_forward(stack: str, name: str) -> tuple[Row, ...]:
    """The rows of one stack's feed-forward layers, which files call `name`."""
    file, inner = f"{stack}.block.{{i}}.layer.{1 if stack == 'encoder' else 2}.{name}", f"{stack}.{{i}}.feed_forward"
    return (
        Row(f"{file}.wi", f"{inner}.up"),
        Row(f"{file}.wi_0", f"{inner}.gate"),
        Row(f"{file}.wi_1", f"{inner}.value"),
        Row(f"{file}.wo", f"{inner}.down"),
    )


def stack(causal: bool) -> Stack:
    """T5-small's encoder or decoder."""
    attention = Attention(8, 64, 8, bias=False, out_bias=False, scale=1.0)
    block = Block(
        attention,
        FeedForward(2048, "relu", bias=False),
        Norm("rms", 1e-6),
        norm_at=("in",),
        cross_attention=attention if causal else None,
    )
    return Stack(6, (block,), causal=causal, position_bias=RelativeBuckets(), final_norm=Norm("rms", 1e-6))


def rules(vocab: int, dim: int, layers: int, heads: int, width: int) -> tuple[Rule, ...]:
    """What all members have in common, with their defaults."""
    return (
        key("vocab_size", "vocab", default=vocab),
        key("num_layers", "encoder.layers", default=layers),
        key("num_heads", *(f"{part}.{n}" for part in ATTENTIONS for n in ("heads", "kv_heads")), default=heads),
        key("d_kv", *(f"{part}.head_dim" for part in ATTENTIONS), default=64),
        key("d_ff", *(f"{layer}.width" for layer in LAYERS), default=width),
        *(
            key(f"relative_attention_{name}", *(f"{side}.position_bias.{field}" for side in SIDES), default=default)
            for name, field, default in (("num_buckets", "buckets", 32), ("max_distance", "max_distance", 128))
        ),
        key(
            "layer_norm_epsilon",
            *(f"{block}.norm.eps" for block in BLOCKS),
            *(f"{side}.final_norm.eps" for side in SIDES),
            default=1e-6,
        ),
        key(
            "dropout_rate",
            *(f"{part}.dropout" for part in (*BLOCKS, *LAYERS)),
            *(f"{part}.dropout" for part in ATTENTIONS),
            "embedding.dropout",
            *(f"{side}.final_dropout" for side in SIDES),
            default=0.1,
        ),
        key("classifier_dropout", "heads.classify.dropout", "heads.tag.dropout", default=0.0),
        TokenIds(pad=0, eos=1, decoder_start=0),
    )


EMBEDDINGS = Row("shared", "embedding.tokens", also=("encoder.embed_tokens", "decoder.embed_tokens", "lm_head"))
OUTPUT = Row("lm_head.weight", "heads.language-model.weight", head=True)
UNUSED = (r"(transformer\.)?decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",)


def member(model_type: str, name: str, its_rules: tuple[Rule, ...]) -> Family:
    """T5 or mT5, which differ in defaults and in the scale of the output."""
    return Family(
        model_type=model_type,
        template=Spec(vocab=32128, dim=512, embedding=Embedding(512), encoder=stack(False), decoder=stack(True)),
        rules=its_rules,
        rows=(
            EMBEDDINGS,
            *(row for side in SIDES for row in (*rows(side), *feed_forward(side, "DenseReluDense"))),
            OUTPUT,
            Row("classification_head.dense", "heads.classify.transform.dense", head=True),
            Row("classification_head.out_proj", "heads.classify", head=True),
            Row("classifier", "heads.tag", head=True),
            Row("qa_outputs", "heads.span", head=True),
        ),
        architectures={
            f"{name}Model": Architecture(prefix=""),
            f"{name}ForConditionalGeneration": Architecture((LANGUAGE_MODEL,), prefix=""),
            f"{name}EncoderModel": Architecture(prefix="", without=("decoder",)),
            f"{name}ForSequenceClassification": Architecture((CLASSIFY,)),
            f"{name}ForTokenClassification": Architecture((Head("tag", outputs=2),), without=("decoder",)),
            f"{name}ForQuestionAnswering": Architecture((Head("span", outputs=2),), prefix=""),
        },
        prefix="transformer.",
        unused=UNUSED,
    )


FAMILY = member("t5", "T5", (Sizes(), *rules(32128, 512, 6, 8, 2048), Activation()))
