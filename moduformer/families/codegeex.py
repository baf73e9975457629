"""CodeGeeX-13B (Zheng et al. 2023, arXiv 2303.17568): GPT-2's layers, a norm, and a last layer of learned queries.

The names are those of the authors' PyTorch model (codegeex/torch/codegeex_model.py); CodeGeeX2 is a ChatGLM2.
"""

from moduformer.architecture import Attention, Block, Embedding, FeedForward, Head, LearnedPositions, Norm, Spec, Stack
from moduformer.families.family import Architecture, Family
from moduformer.weights.config import HeadSize, Multiple, TokenIds, key
from moduformer.weights.plan import Row

BLOCK = "decoder.pattern.*"
NORM = Norm(eps=1e-5)


def layer(file: str, name: str) -> tuple[Row, ...]:
    """The tensors of one layer."""
    return (
        Row(f"{file}.[input post_attention]_layernorm", f"{name}.[attention feed_forward]_norm_in"),
        Row(f"{file}.attention.[query key value dense]", f"{name}.attention.[q k v out]"),
        Row(f"{file}.mlp.dense_[h_to_4h 4h_to_h]", f"{name}.feed_forward.[up down]"),
    )


FAMILY = Family(
    model_type="codegeex",
    template=Spec(
        vocab=52224,
        dim=5120,
        embedding=Embedding(5120, LearnedPositions(2048)),
        decoder=Stack(
            39,
            (Block(Attention(40, 128, 40), FeedForward(20480, "gelu_sigmoid"), NORM, norm_at=("in",)),),
            causal=True,
            final_norm=NORM,
            top_query=2048,
        ),
    ),
    rules=(
        key("padded_vocab_size", "vocab", default=52224),
        key("hidden_size", "dim", "embedding.width", default=5120),
        key("num_layers", "decoder.layers", default=39),
        key("num_attention_heads", f"{BLOCK}.attention.[heads kv_heads]", default=40),
        key("max_position_embeddings", "embedding.positions.max", "decoder.top_query", default=2048),
        Multiple(None, "hidden_size", (f"{BLOCK}.feed_forward.width",), 5120),
        HeadSize("hidden_size", "num_attention_heads", (f"{BLOCK}.attention.head_dim",), (5120, 40)),
        TokenIds(eos=50256),
    ),
    rows=(
        Row("embedding.word_embeddings", "embedding.tokens"),
        Row("embedding.position_embeddings", "embedding.positions"),
        *layer("transformer.layers.{i}", "decoder.{i}"),
        Row("transformer.final_layernorm", "decoder.norm"),
        *layer("transformer.topQueryLayer", "decoder.top_query"),
        Row("topQueryEmbedding.top_query_embeddings", "decoder.top_query.attention.queries"),
    ),
    architectures={"CodeGeeXModel": Architecture((Head("language-model", tied=True, bias=False),))},
    prefix="language_model.",
)
