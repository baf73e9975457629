"""ChatGLM2 and CodeGeeX2 (GLM team 2024, arXiv 2406.12793): RMS norm, SwiGLU, few key-value heads, rotary pairs on
half of each head. Its configs have ChatGLM's model type."""

from typing import Any

from moduformer.architecture import Attention, Block, Embedding, FeedForward, Head, Norm, Rotary, Spec
from moduformer.families.family import LANGUAGE_MODEL, Architecture, Family, decoder
from moduformer.weights.config import Key, Only, TokenIds, key
from moduformer.weights.plan import Row

BLOCK, NORMS = "decoder.pattern.*", "decoder.[pattern.*.norm final_norm]"
LAYER = Block(
    Attention(32, 128, 2, out_bias=False, position=Rotary(64, pairing="pairs")),
    FeedForward(13696, "silu", gated=True, bias=False),
    Norm("rms", 1e-5),
    norm_at=("in",),
)
WRITER = Architecture((LANGUAGE_MODEL,))


def half(size: Any) -> Any:
    """Rotary positions turn the first half of a head."""
    return size // 2


FAMILY = Family(
    model_type="chatglm",
    name="chatglm2",
    template=Spec(
        vocab=65024,
        dim=4096,
        embedding=Embedding(4096),
        decoder=decoder(28, LAYER),
    ),
    rules=(
        key("padded_vocab_size", "vocab", default=65024),
        key("hidden_size", "dim", "embedding.width", default=4096),
        key("num_layers", "decoder.layers", default=28),
        key("num_attention_heads", f"{BLOCK}.attention.heads", default=32),
        key("kv_channels", f"{BLOCK}.attention.head_dim", default=128),
        Key("kv_channels", (f"{BLOCK}.attention.position.dim",), 128, half, lambda size: 2 * size),
        key("multi_query_group_num", f"{BLOCK}.attention.kv_heads", default=1),
        key("ffn_hidden_size", f"{BLOCK}.feed_forward.width", default=13696),
        key("layernorm_epsilon", f"{NORMS}.eps", default=1e-5),
        key("rmsnorm", f"{NORMS}.kind", default=True, table={True: "rms", False: "layer"}),
        key("add_qkv_bias", f"{BLOCK}.attention.bias", default=False),
        key("hidden_dropout", f"{BLOCK}.dropout", default=0.0),
        key("attention_dropout", f"{BLOCK}.attention.dropout", default=0.0),
        key("classifier_dropout", "heads.classify.dropout", default=0.0),
        key("tie_word_embeddings", "heads.language-model.tied", default=False),
        Only("multi_query_attention", (True,)),
        Only("add_bias_linear", (False,)),
        Only("apply_residual_connection_post_layernorm", (False,)),
        Only("post_layer_norm", (True,)),
        Only("rope_ratio", (1, None)),
        Only("quantization_bit", (0, None)),
        Only("pre_seq_len", (None,)),
        TokenIds(pad=0, eos=2),
    ),
    rows=(
        Row("embedding.word_embeddings", "embedding.tokens", also=("transformer.output_layer",)),
        Row("encoder.layers.{i}.[input post_attention]_layernorm", "decoder.{i}.[attention feed_forward]_norm_in"),
        Row("encoder.layers.{i}.self_attention.[query_key_value dense]", "decoder.{i}.attention.[qkv out]"),
        Row("encoder.layers.{i}.mlp.dense_[h_to_4h 4h_to_h]", "decoder.{i}.feed_forward.[inner down]"),
        Row("encoder.final_layernorm", "decoder.norm"),
        Row("output_layer.weight", "heads.language-model.weight"),
        Row("classifier_head", "heads.classify", head=True),
    ),
    # The published config names the body's class, and means the model that its auto_map loads.
    architectures={
        "ChatGLMForConditionalGeneration": WRITER,
        "ChatGLMModel": WRITER,
        "ChatGLMForSequenceClassification": Architecture((Head("classify", reads="last", outputs=2),)),
    },
    prefix="transformer.",
    unused=(r"transformer\.rotary_pos_emb\.inv_freq",),
)
