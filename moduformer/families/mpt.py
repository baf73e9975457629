"""MPT (MosaicML 2023): GPT-2's order of layers with ALiBi, q, k and v that may be clipped, and no biases anywhere."""

from moduformer.architecture import ALiBi, Attention, Block, Embedding, FeedForward, Norm, Spec
from moduformer.families.family import DECODER_HEADS, TIED, Architecture, Family, decoder, decoder_architectures
from moduformer.weights.config import HeadSize, Key, Multiple, Nested, Only, Rule, TokenIds, key
from moduformer.weights.plan import Row

BLOCK = "decoder.pattern.*"
LAYER = Block(
    Attention(16, 128, 16, bias=False, out_bias=False, position=ALiBi()),
    FeedForward(8192, bias=False),
    Norm(eps=1e-5, bias=False),
    norm_at=("in",),
)


ATTENTION_RULES: tuple[Rule, ...] = (
    # Read as MosaicML's code reads it; transformers ignores it.
    Key("alibi_bias_max", (f"{BLOCK}.attention.position.max_bias",), 8, float, int),
    key("softmax_scale", f"{BLOCK}.attention.scale"),
    Key("clip_qkv", (f"{BLOCK}.attention.clip",), decode=lambda bound: bound or None),
    key("attn_pdrop", f"{BLOCK}.attention.dropout", default=0.0),
    Only("attn_type", ("multihead_attention",), written=True),
    Only("alibi", (True,), written=True),
    Only("prefix_lm", (False,)),
    Only("qk_ln", (False,)),
    Only("attn_uses_sequence_id", (False,)),
)

FAMILY = Family(
    model_type="mpt",
    template=Spec(
        vocab=50368,
        dim=2048,
        embedding=Embedding(2048),
        decoder=decoder(24, LAYER),
    ),
    rules=(
        key("vocab_size", "vocab", default=50368),
        key("d_model", "dim", "embedding.width", default=2048),
        key("n_layers", "decoder.layers", default=24),
        key("n_heads", f"{BLOCK}.attention.[heads kv_heads]", default=16),
        key("layer_norm_epsilon", f"{BLOCK}.norm.eps", "decoder.final_norm.eps", default=1e-5),
        key("resid_pdrop", f"{BLOCK}.dropout", default=0.0),
        key("emb_pdrop", "embedding.dropout", default=0.0),
        key("tie_word_embeddings", "heads.language-model.tied", default=True),
        Multiple(None, "d_model", (f"{BLOCK}.feed_forward.width",), 2048),
        HeadSize("d_model", "n_heads", (f"{BLOCK}.attention.head_dim",), (2048, 16)),
        Nested("attn_config", ATTENTION_RULES),
        TokenIds(),
        Only("expansion_ratio", (4,)),
        Only("no_bias", (True,)),
        Only("logit_scale", (None,)),
        Only("norm_type", ("low_precision_layernorm", "layernorm")),
    ),
    rows=(
        Row("wte", "embedding.tokens", also=("lm_head",)),
        Row("blocks.{i}.norm_[1 2]", "decoder.{i}.[attention feed_forward]_norm_in"),
        Row("blocks.{i}.attn.[Wqkv out_proj]", "decoder.{i}.attention.[qkv out]"),
        Row("blocks.{i}.ffn.[up down]_proj", "decoder.{i}.feed_forward.[up down]"),
        Row("norm_f", "decoder.norm"),
        *DECODER_HEADS,
    ),
    architectures={
        **decoder_architectures("Mpt", language_model=TIED),
        "MPTForCausalLM": Architecture((TIED,)),  # as MosaicML's own files say
    },
    prefix="transformer.",
)
