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
from moduformer.families.family import SPAN, TAG, Architecture, Family
from moduformer.weights.config import ACTIVATIONS, Config, Get, Rule, TokenIds, key
from moduformer.weights.plan import Row

BLOCKS = "[encoder decoder].pattern.*"
ATTENTIONS = f"{BLOCKS}.[attention cross_attention]"
LAYERS = f"{BLOCKS}.[feed_forward feed_forward.expert]"
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
        return {f"{LAYERS}.activation": ACTIVATIONS[name], f"{LAYERS}.gated": kind == "gated"}

    def write(self, get: Get) -> dict[str, Any]:
        """Activation and gate to one word."""
        activation, gated = get(f"{LAYERS}.activation"), get(f"{LAYERS}.gated")
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
        key("num_heads", f"{ATTENTIONS}.[heads kv_heads]", default=heads),
        key("d_kv", f"{ATTENTIONS}.head_dim", default=64),
        key("d_ff", f"{LAYERS}.width", default=width),
        key("relative_attention_num_buckets", "[encoder decoder].position_bias.buckets", default=32),
        key("relative_attention_max_distance", "[encoder decoder].position_bias.max_distance", default=128),
        key("layer_norm_epsilon", "[encoder decoder].[pattern.*.norm final_norm].eps", default=1e-6),
        key(
            "dropout_rate",
            "embedding.dropout",
            f"{BLOCKS}.dropout",
            f"{LAYERS}.dropout",
            f"{ATTENTIONS}.dropout",
            "[encoder decoder].final_dropout",
            default=0.1,
        ),
        key("classifier_dropout", "heads.[classify tag].dropout", default=0.0),
        TokenIds(pad=0, eos=1, decoder_start=0),
    )


INNER = "[encoder.block.{i}.layer.1 decoder.block.{i}.layer.2]"
ROWS = (
    Row("shared", "embedding.tokens", also=("encoder.embed_tokens", "decoder.embed_tokens", "lm_head")),
    Row("[encoder decoder].block.{i}.layer.0.SelfAttention.[q k v o]", "[encoder decoder].{i}.attention.[q k v out]"),
    Row("[encoder decoder].block.{i}.layer.0.layer_norm", "[encoder decoder].{i}.attention_norm_in"),
    Row("[encoder decoder].block.0.layer.0.SelfAttention.relative_attention_bias", "[encoder decoder].position_bias"),
    Row("decoder.block.{i}.layer.1.EncDecAttention.[q k v o]", "decoder.{i}.cross_attention.[q k v out]"),
    Row("decoder.block.{i}.layer.1.layer_norm", "decoder.{i}.cross_attention_norm_in"),
    Row(f"{INNER}.layer_norm", "[encoder decoder].{i}.feed_forward_norm_in"),
    Row("[encoder decoder].final_layer_norm", "[encoder decoder].norm"),
    Row("lm_head.weight", "heads.language-model.weight", head=True),
)
"""The rows of all members but for the feed-forward layers."""


def feed_forward(name: str, part: str = "feed_forward") -> Row:
    """The rows of feed-forward layers that files call `name`."""
    return Row(f"{INNER}.{name}.[wi wi_0 wi_1 wo]", f"[encoder decoder].{{i}}.{part}.[up gate value down]")


UNUSED = (r"(transformer\.)?decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",)


def member(model_type: str, name: str, its_rules: tuple[Rule, ...]) -> Family:
    """T5 or mT5, which differ in defaults and in the scale of the output."""
    return Family(
        model_type=model_type,
        template=Spec(vocab=32128, dim=512, embedding=Embedding(512), encoder=stack(False), decoder=stack(True)),
        rules=its_rules,
        rows=(
            *ROWS,
            feed_forward("DenseReluDense"),
            Row("classification_head.[dense out_proj]", "heads.[classify.transform.dense classify]", head=True),
            Row("[classifier qa_outputs]", "heads.[tag span]", head=True),
        ),
        architectures={
            f"{name}Model": Architecture(prefix=""),
            f"{name}ForConditionalGeneration": Architecture((LANGUAGE_MODEL,), prefix=""),
            f"{name}EncoderModel": Architecture(prefix="", without=("decoder",)),
            f"{name}ForSequenceClassification": Architecture((CLASSIFY,)),
            f"{name}ForTokenClassification": Architecture((TAG,), without=("decoder",)),
            f"{name}ForQuestionAnswering": Architecture((SPAN,), prefix=""),
        },
        prefix="transformer.",
        unused=UNUSED,
    )


FAMILY = member("t5", "T5", (Sizes(), *rules(32128, 512, 6, 8, 2048), Activation()))
