"""OPT and Galactica (Zhang et al. 2022, arXiv 2205.01068; Taylor et al. 2022, arXiv 2211.09085).

A pre-norm decoder with learned positions; OPT-350m alone is post-norm and projects its tokens up and its states down.
"""

from dataclasses import dataclass
from typing import Any

from moduformer.architecture import Attention, Block, Embedding, FeedForward, LearnedPositions, Norm, Spec
from moduformer.families.family import DECODER_HEADS, TIED, Family, decoder, decoder_architectures
from moduformer.weights.config import ACTIVATIONS, Config, Get, HeadSize, Otherwise, TokenIds, key
from moduformer.weights.plan import Row

BLOCK = "decoder.pattern.*"
FINAL_NORM = "decoder.final_norm"


@dataclass(frozen=True)
class Norms:
    """Whether norms stand before the sub-layers, with one at the end, or after them; and whether they have weights."""

    def read(self, config: Config) -> dict[str, Any]:
        """The places of the norms."""
        before, affine = config.get("do_layer_norm_before", True), config.get("layer_norm_elementwise_affine", True)
        norm = Norm(eps=1e-5, weight=affine, bias=affine)
        last = norm if before and not config.get("_remove_final_layer_norm", False) else None
        return {f"{BLOCK}.norm": norm, f"{BLOCK}.norm_at": ("in",) if before else ("res",), FINAL_NORM: last}

    def write(self, get: Get) -> dict[str, Any]:
        """The same three keys."""
        before = get(f"{BLOCK}.norm_at") == ("in",)
        return {
            "do_layer_norm_before": before,
            "_remove_final_layer_norm": before and get(FINAL_NORM) is None,
            "layer_norm_elementwise_affine": get(f"{BLOCK}.norm.weight"),
        }


@dataclass(frozen=True)
class Projection:
    """States are projected down to the width of the tokens where that is smaller."""

    def read(self, config: Config) -> dict[str, Any]:
        """The width of the projection, or None."""
        dim, width = config.get("hidden_size", 768), config.get("word_embed_proj_dim")
        return {"decoder.projection": None if width == dim else width}

    def write(self, get: Get) -> dict[str, Any]:
        """Nothing: the width of the tokens says it."""
        return {}


FAMILY = Family(
    model_type="opt",
    template=Spec(
        vocab=50272,
        dim=768,
        embedding=Embedding(768, LearnedPositions(2048, offset=2), projected="tokens", projection_bias=False),
        decoder=decoder(12, Block(Attention(12, 64, 12), FeedForward(3072, "relu"), Norm(eps=1e-5), norm_at=("in",))),
    ),
    rules=(
        key("vocab_size", "vocab", default=50272),
        key("hidden_size", "dim", default=768),
        Otherwise("word_embed_proj_dim", "hidden_size", ("embedding.width",), 768),
        key("num_hidden_layers", "decoder.layers", default=12),
        key("num_attention_heads", f"{BLOCK}.attention.[heads kv_heads]", default=12),
        key("ffn_dim", f"{BLOCK}.feed_forward.width", default=3072),
        key("max_position_embeddings", "embedding.positions.max", default=2048),
        key("activation_function", f"{BLOCK}.feed_forward.activation", default="relu", table=ACTIVATIONS),
        key("enable_bias", f"{BLOCK}.[attention.bias attention.out_bias feed_forward.bias]", default=True),
        key("dropout", f"{BLOCK}.dropout", default=0.1),
        key("attention_dropout", f"{BLOCK}.attention.dropout", default=0.0),
        key("tie_word_embeddings", "heads.language-model.tied", default=True),
        HeadSize("hidden_size", "num_attention_heads", (f"{BLOCK}.attention.head_dim",), (768, 12)),
        Norms(),
        Projection(),
        TokenIds(pad=1, bos=2, eos=2),
    ),
    rows=(
        Row("decoder.embed_tokens", "embedding.tokens", also=("lm_head",)),
        Row("decoder.embed_positions", "embedding.positions"),
        Row("decoder.project_in", "embedding.projection"),
        Row("decoder.layers.{i}.self_attn.[q k v out]_proj", "decoder.{i}.attention.[q k v out]"),
        Row("decoder.layers.{i}.self_attn_layer_norm", "decoder.{i}.attention_norm_[in res]"),
        Row("decoder.layers.{i}.final_layer_norm", "decoder.{i}.feed_forward_norm_[in res]"),
        Row("decoder.layers.{i}.[fc1 fc2]", "decoder.{i}.feed_forward.[up down]"),
        Row("decoder.final_layer_norm", "decoder.norm"),
        Row("decoder.project_out", "decoder.projection"),
        *DECODER_HEADS,
    ),
    architectures=decoder_architectures(
        "OPT", "ForSequenceClassification", "ForQuestionAnswering", language_model=TIED
    ),
    prefix="model.",
    older_names=(("decoder.layer_norm.", "decoder.final_layer_norm."),),
)
