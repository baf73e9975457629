"""PanGu-alpha (Zeng et al. 2021, arXiv 2104.12369): GPT-2's layers, a norm, and a last layer of learned queries.

The names are those of the conversions to PyTorch (`GPTPanguForCausalLM`), whose layer count includes that last one.
"""

from moduformer.architecture import Attention, Block, Embedding, FeedForward, LearnedPositions, Norm, Spec, Stack
from moduformer.families.family import TIED, Architecture, Family
from moduformer.weights.config import ACTIVATIONS, HeadSize, Key, Multiple, Only, TokenIds, key
from moduformer.weights.plan import Row

BLOCK = "decoder.pattern.*"
NORM = Norm(eps=1e-5)


def layer(file: str, name: str) -> tuple[Row, ...]:
    """The tensors of one layer."""
    return (
        Row(f"{file}.ln_[1 2]", f"{name}.[attention feed_forward]_norm_in"),
        Row(f"{file}.attn.[q k v c]_proj", f"{name}.attention.[q k v out]"),
        Row(f"{file}.mlp.c_[fc proj]", f"{name}.feed_forward.[up down]"),
    )


FAMILY = Family(
    model_type="gpt_pangu",
    template=Spec(
        vocab=40000,
        dim=2560,
        embedding=Embedding(2560, LearnedPositions(1024)),
        decoder=Stack(
            31,
            (Block(Attention(32, 80, 32), FeedForward(10240), NORM, norm_at=("in",)),),
            causal=True,
            final_norm=NORM,
            top_query=1024,
        ),
    ),
    rules=(
        key("vocab_size", "vocab", default=40000),
        key("hidden_size", "dim", "embedding.width", default=2560),
        Key("num_layers", ("decoder.layers",), 32, lambda layers: layers - 1, lambda layers: layers + 1),
        key("num_heads", f"{BLOCK}.attention.[heads kv_heads]", default=32),
        key("max_position_embeddings", "embedding.positions.max", "decoder.top_query", default=1024),
        Multiple("intermediate_size", "hidden_size", (f"{BLOCK}.feed_forward.width",), 2560),
        key("activation_function", f"{BLOCK}.feed_forward.activation", default="gelu", table=ACTIVATIONS),
        key("layer_norm_epsilon", f"{BLOCK}.norm.eps", "decoder.final_norm.eps", default=1e-5),
        key("embd_pdrop", "embedding.dropout", default=0.1),
        key("attn_pdrop", f"{BLOCK}.attention.dropout", default=0.1),
        key("resid_pdrop", f"{BLOCK}.dropout", default=0.1),
        key("tie_word_embeddings", "heads.language-model.tied", default=True),
        HeadSize("hidden_size", "num_heads", (f"{BLOCK}.attention.head_dim",), (2560, 32)),
        Only("scale_attn_weights", (True,)),
        TokenIds(bos=9, eos=9),
    ),
    rows=(
        Row("wte", "embedding.tokens", also=("lm_head",)),
        Row("wpe", "embedding.positions"),
        Row("wqe", "decoder.top_query.attention.queries"),
        *layer("h.{i}", "decoder.{i}"),
        Row("ln_f", "decoder.norm"),
        *layer("h.{layers}", "decoder.top_query"),
        Row("lm_head.weight", "heads.language-model.weight", head=True),
    ),
    architectures={
        "GPTPanguModel": Architecture(prefix=""),
        "GPTPanguForCausalLM": Architecture((TIED,)),
    },
    prefix="transformer.",
    unused=(r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)",),
)
