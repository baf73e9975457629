"""GPT-NeoX and Pythia (Black et al. 2022, arXiv 2204.06745; Biderman et al. 2023): parallel layers, partial rotary."""

from moduformer.architecture import Attention, Block, Embedding, FeedForward, Norm, Rotary, Spec
from moduformer.families.family import Family, decoder, decoder_architectures
from moduformer.weights.config import ACTIVATIONS, HeadSize, Rotation, TokenIds, key
from moduformer.weights.plan import Row
from moduformer.weights.views import Axes

BLOCK = "decoder.pattern.*"
HEAD_SIZE = HeadSize("hidden_size", "num_attention_heads", (f"{BLOCK}.attention.head_dim",), (6144, 64))

LAYER = Block(
    Attention(64, 96, 64, position=Rotary(24)), FeedForward(24576), Norm(eps=1e-5), norm_at=("in",), flow="parallel"
)

FAMILY = Family(
    model_type="gpt_neox",
    template=Spec(
        vocab=50432,
        dim=6144,
        embedding=Embedding(6144),
        decoder=decoder(44, LAYER),
    ),
    rules=(
        key("vocab_size", "vocab", default=50432),
        key("hidden_size", "dim", "embedding.width", default=6144),
        key("num_hidden_layers", "decoder.layers", default=44),
        key("num_attention_heads", f"{BLOCK}.attention.[heads kv_heads]", default=64),
        key("intermediate_size", f"{BLOCK}.feed_forward.width", default=24576),
        key("hidden_act", f"{BLOCK}.feed_forward.activation", default="gelu", table=ACTIVATIONS),
        key("layer_norm_eps", f"{BLOCK}.norm.eps", "decoder.final_norm.eps", default=1e-5),
        key("use_parallel_residual", f"{BLOCK}.flow", default=True, table={True: "parallel", False: "sequential"}),
        key("attention_bias", f"{BLOCK}.attention.[bias out_bias]", default=True),
        key("hidden_dropout", f"{BLOCK}.dropout", "embedding.dropout", default=0.0),
        key("attention_dropout", f"{BLOCK}.attention.dropout", default=0.0),
        key("classifier_dropout", "heads.tag.dropout", default=0.1),
        key("tie_word_embeddings", "heads.language-model.tied", default=False),
        HEAD_SIZE,
        Rotation(
            f"{BLOCK}.attention.position",
            share="rotary_pct",
            share_default=0.25,
            base="rotary_emb_base",
            head_size=HEAD_SIZE,
        ),
        TokenIds(bos=0, eos=2),
    ),
    rows=(
        Row("embed_in", "embedding.tokens", also=("embed_out",)),
        Row("layers.{i}.[input post_attention]_layernorm", "decoder.{i}.[attention feed_forward]_norm_in"),
        Row("layers.{i}.attention.query_key_value", "decoder.{i}.attention.qkv", Axes("(h n d) in", "(n h d) in")),
        Row("layers.{i}.attention.dense", "decoder.{i}.attention.out"),
        Row("layers.{i}.mlp.dense_[h_to_4h 4h_to_h]", "decoder.{i}.feed_forward.[up down]"),
        Row("final_layer_norm", "decoder.norm"),
        Row("[embed_out score classifier qa_outputs]", "heads.[language-model classify tag span]", head=True),
    ),
    architectures=decoder_architectures("GPTNeoX"),
    prefix="gpt_neox.",
    unused=(
        r"(gpt_neox\.)?layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)",
        r"(gpt_neox\.)?rotary_emb\.inv_freq",
    ),
)
