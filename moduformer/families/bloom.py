"""BLOOM and BLOOMZ (Le Scao et al. 2022, arXiv 2211.05100): ALiBi, and a norm on the token vectors."""

from moduformer.architecture import ALiBi, Attention, Block, Embedding, FeedForward, Norm, Spec
from moduformer.families.family import DECODER_HEADS, TIED, Family, decoder, decoder_architectures
from moduformer.families.gguf import FUSED_ROWS, PRE_NORMS, SIZES, dialect
from moduformer.weights.config import HeadSize, Multiple, TokenIds, key
from moduformer.weights.plan import Row
from moduformer.weights.views import Axes

BLOCK = "decoder.pattern.*"
NORM = Norm(eps=1e-5)
LAYER = Block(Attention(8, 8, 8, position=ALiBi()), FeedForward(256, "gelu_tanh"), NORM, norm_at=("in",))

FAMILY = Family(
    model_type="bloom",
    template=Spec(
        vocab=250880,
        dim=64,
        embedding=Embedding(64, norm=NORM),
        decoder=decoder(2, LAYER),
    ),
    rules=(
        key("vocab_size", "vocab", default=250880),
        key("hidden_size", "dim", "embedding.width", default=64),
        key("n_layer", "decoder.layers", default=2),
        key("n_head", f"{BLOCK}.attention.[heads kv_heads]", default=8),
        key("layer_norm_epsilon", f"{BLOCK}.norm.eps", "embedding.norm.eps", "decoder.final_norm.eps", default=1e-5),
        key(
            "apply_residual_connection_post_layernorm",
            f"{BLOCK}.residual",
            default=False,
            table={False: "input", True: "normed"},
        ),
        key("hidden_dropout", f"{BLOCK}.dropout", "heads.tag.dropout", default=0.0),
        key("attention_dropout", f"{BLOCK}.attention.dropout", default=0.0),
        key("tie_word_embeddings", "heads.language-model.tied", default=True),
        Multiple(None, "hidden_size", (f"{BLOCK}.feed_forward.width",), 64),
        HeadSize("hidden_size", "n_head", (f"{BLOCK}.attention.head_dim",), (64, 8)),
        TokenIds(bos=1, eos=2),
    ),
    rows=(
        Row("word_embeddings", "embedding.tokens", also=("lm_head",)),
        Row("word_embeddings_layernorm", "embedding.norm"),
        Row("h.{i}.[input post_attention]_layernorm", "decoder.{i}.[attention feed_forward]_norm_in"),
        Row("h.{i}.self_attention.query_key_value", "decoder.{i}.attention.qkv", Axes("(h n d) in", "(n h d) in")),
        Row("h.{i}.self_attention.dense", "decoder.{i}.attention.out"),
        Row("h.{i}.mlp.dense_[h_to_4h 4h_to_h]", "decoder.{i}.feed_forward.[up down]"),
        Row("ln_f", "decoder.norm"),
        *DECODER_HEADS,
    ),
    architectures=decoder_architectures("Bloom", language_model=TIED),
    prefix="transformer.",
    dialects=dialect(
        "bloom",
        "BloomForCausalLM",
        (*FUSED_ROWS, *PRE_NORMS),
        {**SIZES, "layer_norm_epsilon": "attention.layer_norm_epsilon"},
    ),
    older_keys={"n_embed": "hidden_size", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"},
)
