"""The Transformer of 2017 (Vaswani et al., arXiv 1706.03762): post-norm encoder-decoder, sinusoidal positions, one
matrix for source, target and output. No checkpoint was published, so its files use the model's own tensor names."""

from dataclasses import dataclass
from typing import Any

from moduformer.architecture import Attention, Block, Embedding, FeedForward, Norm, Sinusoids, Spec, Stack
from moduformer.families.family import TIED, Architecture, Family
from moduformer.weights.config import Config, Get, HeadSize, TokenIds, key
from moduformer.weights.plan import NATIVE_ROWS

BLOCKS = "[encoder decoder].pattern.*"
ATTENTIONS = f"{BLOCKS}.[attention cross_attention]"


@dataclass(frozen=True)
class Width:
    """`d_model`, and the factor sqrt(d_model) on the embeddings (section 3.4)."""

    def read(self, config: Config) -> dict[str, Any]:
        """The width and its square root."""
        dim = config.get("d_model", 512)
        return {"dim": dim, "embedding.width": dim, "embedding.scale": dim**0.5}

    def write(self, get: Get) -> dict[str, Any]:
        """The width."""
        return {"d_model": get("dim")}


def stack(causal: bool) -> Stack:
    """The base model's encoder or decoder; attention projections have no biases (section 3.2.2)."""
    attention = Attention(8, 64, 8, bias=False, out_bias=False)
    block = Block(attention, FeedForward(2048, "relu"), Norm(eps=1e-6), cross_attention=attention if causal else None)
    return Stack(6, (block,), causal=causal)


FAMILY = Family(
    model_type="transformer",
    template=Spec(
        vocab=37000,
        dim=512,
        embedding=Embedding(512, Sinusoids()),
        encoder=stack(False),
        decoder=stack(True),
        heads=(TIED,),
    ),
    rules=(
        key("vocab_size", "vocab", default=37000),
        Width(),
        key("encoder_layers", "encoder.layers", default=6),
        key("decoder_layers", "decoder.layers", default=6),
        key("num_heads", f"{ATTENTIONS}.[heads kv_heads]", default=8),
        key("d_ff", f"{BLOCKS}.feed_forward.width", default=2048),
        key("layer_norm_eps", f"{BLOCKS}.norm.eps", default=1e-6),
        key("dropout", f"{BLOCKS}.dropout", "embedding.dropout", default=0.1),
        HeadSize("d_model", "num_heads", (f"{ATTENTIONS}.head_dim",), (512, 8), "d_k"),
        TokenIds(pad=0, bos=1, eos=2, decoder_start=1),
    ),
    rows=NATIVE_ROWS,
    architectures={
        "TransformerForConditionalGeneration": Architecture((TIED,), prefix=""),
        "TransformerModel": Architecture(prefix=""),
    },
)
