"""GPT-2 (Radford et al. 2019): a pre-norm decoder with learned positions and the output tied to the embedding."""

from moduformer.architecture import Attention, Block, Embedding, FeedForward, LearnedPositions, Norm, Spec
from moduformer.families.family import DECODER_HEADS, TIED, Family, decoder, decoder_architectures
from moduformer.families.gguf import FUSED_ROWS, PRE_NORMS, dialect
from moduformer.weights.config import ACTIVATIONS, HeadSize, Multiple, Only, TokenIds, key
from moduformer.weights.plan import Row
from moduformer.weights.views import Axes

BLOCK = "decoder.pattern.*"
TRANSPOSED = Axes("in out", "out in")
GGUF = {
    "n_layer": "block_count",
    "n_embd": "embedding_length",
    "n_inner": "feed_forward_length",
    "n_head": "attention.head_count",
    "n_positions": "context_length",
    "layer_norm_epsilon": "attention.layer_norm_epsilon",
}
LAYER = Block(Attention(12, 64, 12), FeedForward(3072, "gelu_tanh"), Norm(eps=1e-5), norm_at=("in",))


FAMILY = Family(
    model_type="gpt2",
    template=Spec(
        vocab=50257,
        dim=768,
        embedding=Embedding(768, LearnedPositions(1024)),
        decoder=decoder(12, LAYER),
    ),
    rules=(
        key("vocab_size", "vocab", default=50257),
        key("n_embd", "dim", "embedding.width", default=768),
        key("n_layer", "decoder.layers", default=12),
        key("n_head", f"{BLOCK}.attention.[heads kv_heads]", default=12),
        key("n_positions", "embedding.positions.max", default=1024),
        key("activation_function", f"{BLOCK}.feed_forward.activation", default="gelu_new", table=ACTIVATIONS),
        key("layer_norm_epsilon", f"{BLOCK}.norm.eps", "decoder.final_norm.eps", default=1e-5),
        key("scale_attn_by_inverse_layer_idx", f"{BLOCK}.attention.scale_by_depth", default=False),
        key("resid_pdrop", f"{BLOCK}.dropout", default=0.1),
        key("embd_pdrop", "embedding.dropout", default=0.1),
        key("attn_pdrop", f"{BLOCK}.attention.dropout", default=0.1),
        key("tie_word_embeddings", "heads.language-model.tied", default=True),
        HeadSize("n_embd", "n_head", (f"{BLOCK}.attention.head_dim",), (768, 12)),
        Multiple("n_inner", "n_embd", (f"{BLOCK}.feed_forward.width",), 768),
        key("scale_attn_weights", f"{BLOCK}.attention.scale", default=True, table={True: None, False: 1.0}),
        TokenIds(bos=50256, eos=50256),
        Only("add_cross_attention", (False,)),
    ),
    rows=(
        Row("wte", "embedding.tokens", also=("lm_head",)),
        Row("wpe", "embedding.positions"),
        Row("h.{i}.ln_[1 2]", "decoder.{i}.[attention feed_forward]_norm_in"),
        Row("h.{i}.attn.c_[attn proj]", "decoder.{i}.attention.[qkv out]", TRANSPOSED),
        Row("h.{i}.mlp.c_[fc proj]", "decoder.{i}.feed_forward.[up down]", TRANSPOSED),
        Row("ln_f", "decoder.norm"),
        *DECODER_HEADS,
    ),
    architectures=decoder_architectures("GPT2", writer="LMHeadModel", language_model=TIED),
    prefix="transformer.",
    unused=(r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)",),
    dialects=dialect("gpt2", "GPT2LMHeadModel", (*FUSED_ROWS, *PRE_NORMS), GGUF),
)
