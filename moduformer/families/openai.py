"""GPT (Radford et al. 2018): a post-norm decoder with learned positions, the first that was trained alone."""

from moduformer.architecture import Attention, Block, Embedding, FeedForward, LearnedPositions, Norm, Spec, Stack
from moduformer.families.family import DECODER_HEADS, TIED, Family, decoder_architectures
from moduformer.families.gpt2 import TRANSPOSED
from moduformer.weights.config import HeadSize, Multiple, TokenIds, key
from moduformer.weights.plan import Row

BLOCK = "decoder.pattern.*"
# The format's own names: its "gelu" is the tanh approximation.
ACTIVATIONS = {"gelu": "gelu_tanh", "relu": "relu", "silu": "silu", "swish": "silu"}

FAMILY = Family(
    model_type="openai-gpt",
    template=Spec(
        vocab=40478,
        dim=768,
        embedding=Embedding(768, LearnedPositions(512)),
        decoder=Stack(
            12,
            (Block(Attention(12, 64, 12), FeedForward(3072, "gelu_tanh"), Norm(eps=1e-5)),),
            causal=True,
        ),
    ),
    rules=(
        key("vocab_size", "vocab", default=40478),
        key("n_embd", "dim", "embedding.width", default=768),
        key("n_layer", "decoder.layers", default=12),
        key("n_head", f"{BLOCK}.attention.[heads kv_heads]", default=12),
        key("n_positions", "embedding.positions.max", default=512),
        key("afn", f"{BLOCK}.feed_forward.activation", default="gelu", table=ACTIVATIONS),
        key("layer_norm_epsilon", f"{BLOCK}.norm.eps", default=1e-5),
        key("resid_pdrop", f"{BLOCK}.dropout", default=0.1),
        key("embd_pdrop", "embedding.dropout", default=0.1),
        key("attn_pdrop", f"{BLOCK}.attention.dropout", default=0.1),
        key("tie_word_embeddings", "heads.language-model.tied", default=True),
        Multiple(None, "n_embd", (f"{BLOCK}.feed_forward.width",), 768),
        HeadSize("n_embd", "n_head", (f"{BLOCK}.attention.head_dim",), (768, 12)),
        TokenIds(),
    ),
    rows=(
        Row("tokens_embed", "embedding.tokens", also=("lm_head",)),
        Row("positions_embed", "embedding.positions"),
        Row("h.{i}.attn.c_[attn proj]", "decoder.{i}.attention.[qkv out]", TRANSPOSED),
        Row("h.{i}.mlp.c_[fc proj]", "decoder.{i}.feed_forward.[up down]", TRANSPOSED),
        Row("h.{i}.ln_[1 2]", "decoder.{i}.[attention feed_forward]_norm_res"),
        *DECODER_HEADS,
    ),
    architectures=decoder_architectures(
        "OpenAIGPT", "ForSequenceClassification", writer="LMHeadModel", language_model=TIED
    ),
    prefix="transformer.",
    unused=(r"(transformer\.)?(h\.\d+\.attn\.bias|position_ids)",),
)
