"""ChatGLM-6B (Zeng et al. 2022, arXiv 2210.02414; GLM team 2024, arXiv 2406.12793): rotary positions of two
coordinates, a context that sees itself, residuals from the normed input.

A text ends in [gMASK] (or [MASK]) and <sop>; what follows fills that blank. ChatGLM2 is another architecture under the
same model type.
"""

from dataclasses import dataclass, replace
from typing import Any

from moduformer.architecture import Attention, Block, Embedding, FeedForward, Infilling, Norm, Rotary, Spec
from moduformer.families.blanks import Blanks
from moduformer.families.chatglm2 import FAMILY as CHATGLM2
from moduformer.families.family import TIED, Architecture, Family, decoder
from moduformer.weights.config import Config, Get, HeadSize, Only, TokenIds, key, layer_count
from moduformer.weights.plan import Row
from moduformer.weights.views import Axes

BLOCK = "decoder.pattern.*"
ATTENTION = f"{BLOCK}.attention"


@dataclass(frozen=True)
class Residual:
    """Residuals times (2 layers)^(1/2) (Zeng et al. 2022, section 2.1)."""

    default: int

    def read(self, config: Config) -> dict[str, Any]:
        """The factor, and the number of layers it comes from."""
        layers = layer_count(config, "num_layers", self.default)
        return {"decoder.layers": layers, f"{BLOCK}.residual_scale": (2 * layers) ** 0.5}

    def write(self, get: Get) -> dict[str, Any]:
        """The number of layers."""
        return {"num_layers": get("decoder.layers")}


LAYER = Block(
    Attention(32, 128, 32, position=Rotary(128, axes=2)),
    FeedForward(16384, "gelu_tanh"),
    Norm(eps=1e-5),
    norm_at=("in",),
    residual="normed",
    residual_scale=56**0.5,
)
TEMPLATE = Spec(
    vocab=130528,
    dim=4096,
    embedding=Embedding(4096),
    decoder=decoder(28, LAYER),
    infilling=Infilling(130004, (130001, 130000)),
)

RULES = (
    key("vocab_size", "vocab", default=130528),
    key("hidden_size", "dim", "embedding.width", default=4096),
    Residual(28),
    key("num_attention_heads", f"{ATTENTION}.[heads kv_heads]", default=32),
    key("inner_hidden_size", f"{BLOCK}.feed_forward.width", default=16384),
    key("layernorm_epsilon", f"{BLOCK}.norm.eps", "decoder.final_norm.eps", default=1e-5),
    key("tie_word_embeddings", "heads.language-model.tied", default=True),
    HeadSize("hidden_size", "num_attention_heads", (f"{ATTENTION}.[head_dim position.dim]",), (4096, 32)),
)


def rows(qkv: Axes | None, *feed_forward: Row, inside: str = "") -> tuple[Row, ...]:
    """The tensors of this shape; how q, k and v lie in theirs, and the rows of the feed-forward layer's first part.

    `inside` stands before all but the tokens' table."""
    body = (
        Row("layers.{i}.[input post_attention]_layernorm", "decoder.{i}.[attention feed_forward]_norm_in"),
        Row("layers.{i}.attention.query_key_value", "decoder.{i}.attention.qkv", qkv),
        Row("layers.{i}.attention.dense", "decoder.{i}.attention.out"),
        *feed_forward,
        Row("layers.{i}.mlp.dense_4h_to_h", "decoder.{i}.feed_forward.down"),
        Row("final_layernorm", "decoder.norm"),
    )
    return (
        Row("word_embeddings", "embedding.tokens", also=("lm_head",)),
        *(replace(row, file=inside + row.file) for row in body),
        Row("lm_head.weight", "heads.language-model.weight", head=True),
    )


def generation(config: Config) -> Family:
    """ChatGLM2 where a config has keys that only its configs have."""
    return CHATGLM2 if {"multi_query_attention", "padded_vocab_size"} & set(config) else FAMILY


UP = Row("layers.{i}.mlp.dense_h_to_4h", "decoder.{i}.feed_forward.up")
WRITER = Architecture((TIED,))

FAMILY = Family(
    model_type="chatglm",
    template=TEMPLATE,
    rules=(
        *RULES,
        Only("position_encoding_2d", (True,)),
        Only("quantization_bit", (0, None)),
        Only("pre_seq_len", (None,)),
        TokenIds(pad=3, bos=130004, eos=130005),
        Blanks(("bos_token_id", 130004), (("gmask_token_id", 130001), ("mask_token_id", 130000))),
    ),
    rows=rows(Axes("(h n d) in", "(n h d) in"), UP),
    # The published config names the body's class, and means the model that its auto_map loads.
    architectures={"ChatGLMForConditionalGeneration": WRITER, "ChatGLMModel": WRITER},
    prefix="transformer.",
    unused=(r"transformer\.layers\.\d+\.attention\.rotary_emb\.inv_freq",),
    variant=generation,
)
