"""PLUG (Alibaba DAMO Academy 2021; github.com/alibaba/AliceMind, PLUG): StructBERT and a decoder that reads it.

Both are pre-norm and begin with one embedding, its segments and norm included. Released code norms the encoder's result
once where it trains (with activations checkpointed) and twice where it writes; here it is normed once.
"""

from dataclasses import replace

from moduformer.architecture import (
    Attention,
    Block,
    Embedding,
    FeedForward,
    Head,
    LearnedPositions,
    Norm,
    Spec,
    Stack,
    Transform,
)
from moduformer.families.family import TIED, Architecture, Family
from moduformer.weights.config import HeadSize, Only, TokenIds, key
from moduformer.weights.plan import Row

BLOCKS, LM = "[encoder decoder].pattern.*", "heads.masked-lm.transform"
ATTENTIONS = f"{BLOCKS}.[attention cross_attention]"
WORDS = {"gelu": "gelu", "relu": "relu", "swish": "silu"}
NORM = Norm()
LAYER = Block(Attention(128, 64, 128), FeedForward(32768), NORM, norm_at=("in",))

ENCODER, DECODER = "bert.encoder.layer.{i}", "decoder.decoder.layer.{i}"

FAMILY = Family(
    model_type="plugNLG",
    template=Spec(
        vocab=21504,
        dim=8192,
        embedding=Embedding(8192, LearnedPositions(2048), segments=3, norm=NORM),
        encoder=Stack(24, (LAYER,), final_norm=NORM),
        decoder=Stack(6, (replace(LAYER, cross_attention=LAYER.attention),), causal=True, final_norm=NORM),
    ),
    rules=(
        key("vocab_size", "vocab", default=21504),
        key("hidden_size", "dim", "embedding.width", "heads.masked-lm.transform.width", default=8192),
        key("num_hidden_layers", "encoder.layers", default=24),
        key("dec_hidden_layers", "decoder.layers", default=6),
        key("num_attention_heads", f"{ATTENTIONS}.[heads kv_heads]", default=128),
        HeadSize("hidden_size", "num_attention_heads", (f"{ATTENTIONS}.head_dim",), (8192, 128)),
        key("intermediate_size", f"{BLOCKS}.feed_forward.width", default=32768),
        key("hidden_act", f"{BLOCKS}.feed_forward.activation", f"{LM}.activation", default="gelu", table=WORDS),
        key("max_position_embeddings", "embedding.positions.max", default=2048),
        key("type_vocab_size", "embedding.segments", default=3),
        key(
            "layernorm_epsilon",
            f"{BLOCKS}.norm.eps",
            "[embedding.norm encoder.final_norm decoder.final_norm].eps",
            f"{LM}.norm.eps",
            default=1e-12,
        ),
        key("hidden_dropout_prob", f"{BLOCKS}.dropout", "embedding.dropout", default=0.1),
        key("attention_probs_dropout_prob", f"{ATTENTIONS}.dropout", default=0.1),
        Only("pre_ln", (True,)),
        Only("attn_separate", (False,)),
        TokenIds(pad=0, bos=101, eos=102, decoder_start=101),
    ),
    rows=(
        Row(
            "bert.embeddings.word_embeddings.weight",
            "embedding.tokens.weight",
            also=("cls.predictions.decoder_weight",),
        ),
        Row("bert.embeddings.[position token_type]_embeddings", "embedding.[positions segments]"),
        Row("bert.embeddings.LayerNorm", "embedding.norm"),
        Row(f"{ENCODER}.attention.[self.query_key_value output.dense]", "encoder.{i}.attention.[qkv out]"),
        Row(f"{ENCODER}.[attention.LayerNorm LayerNorm]", "encoder.{i}.[attention feed_forward]_norm_in"),
        Row(f"{ENCODER}.[intermediate output].dense", "encoder.{i}.feed_forward.[up down]"),
        Row("bert.encoder.LayerNorm", "encoder.norm"),
        Row(f"{DECODER}.attention.[query_key_value dense]", "decoder.{i}.attention.[qkv out]"),
        Row(f"{DECODER}.cross_attention.[query key_value dense]", "decoder.{i}.cross_attention.[q kv out]"),
        Row(f"{DECODER}.[intermediate output]", "decoder.{i}.feed_forward.[up down]"),
        Row(f"{DECODER}.[input post_attention]_layernorm", "decoder.{i}.[attention cross_attention]_norm_in"),
        Row(f"{DECODER}.post_cross_attention_layernorm", "decoder.{i}.feed_forward_norm_in"),
        Row("decoder.decoder.final_layernorm", "decoder.norm"),
        Row("cls.predictions.transform.[dense LayerNorm]", f"{LM}.[dense norm]"),
        Row("cls.[predictions.bias seq_relationship]", "heads.[masked-lm.bias next-sentence]"),
    ),
    architectures={
        "PlugModel": Architecture((TIED,)),
        "BertForPreTraining": Architecture(
            (
                Head("masked-lm", transform=Transform(8192, "gelu", NORM), tied=True),
                Head("next-sentence", reads="first", outputs=3),
            ),
            without=("decoder",),
        ),
    },
    unused=(r"bert\.pooler\.dense\.(weight|bias)",),
)

FAMILIES = {
    "plugNLG": FAMILY,
    "plug_nlg_original-8192": replace(FAMILY, model_type="plug_nlg_original-8192"),
}
