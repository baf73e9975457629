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
from moduformer.families.family import Architecture, Family
from moduformer.weights.config import HeadSize, Only, TokenIds, key
from moduformer.weights.plan import Row

BLOCKS = ("encoder.pattern.*", "decoder.pattern.*")
ATTENTIONS = (*(f"{block}.attention" for block in BLOCKS), "decoder.pattern.*.cross_attention")
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
        key(
            "num_attention_heads",
            *(f"{part}.{field}" for part in ATTENTIONS for field in ("heads", "kv_heads")),
            default=128,
        ),
        HeadSize("hidden_size", "num_attention_heads", tuple(f"{part}.head_dim" for part in ATTENTIONS), (8192, 128)),
        key("intermediate_size", *(f"{block}.feed_forward.width" for block in BLOCKS), default=32768),
        key(
            "hidden_act",
            *(f"{block}.feed_forward.activation" for block in BLOCKS),
            "heads.masked-lm.transform.activation",
            default="gelu",
            table={"gelu": "gelu", "relu": "relu", "swish": "silu"},
        ),
        key("max_position_embeddings", "embedding.positions.max", default=2048),
        key("type_vocab_size", "embedding.segments", default=3),
        key(
            "layernorm_epsilon",
            *(f"{block}.norm.eps" for block in BLOCKS),
            *(f"{part}.eps" for part in ("embedding.norm", "encoder.final_norm", "decoder.final_norm")),
            "heads.masked-lm.transform.norm.eps",
            default=1e-12,
        ),
        key("hidden_dropout_prob", *(f"{block}.dropout" for block in BLOCKS), "embedding.dropout", default=0.1),
        key("attention_probs_dropout_prob", *(f"{part}.dropout" for part in ATTENTIONS), default=0.1),
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
        Row("bert.embeddings.position_embeddings", "embedding.positions"),
        Row("bert.embeddings.token_type_embeddings", "embedding.segments"),
        Row("bert.embeddings.LayerNorm", "embedding.norm"),
        Row(f"{ENCODER}.attention.LayerNorm", "encoder.{i}.attention_norm_in"),
        Row(f"{ENCODER}.attention.self.query_key_value", "encoder.{i}.attention.qkv"),
        Row(f"{ENCODER}.attention.output.dense", "encoder.{i}.attention.out"),
        Row(f"{ENCODER}.LayerNorm", "encoder.{i}.feed_forward_norm_in"),
        Row(f"{ENCODER}.[intermediate output].dense", "encoder.{i}.feed_forward.[up down]"),
        Row("bert.encoder.LayerNorm", "encoder.norm"),
        Row(f"{DECODER}.input_layernorm", "decoder.{i}.attention_norm_in"),
        Row(f"{DECODER}.attention.query_key_value", "decoder.{i}.attention.qkv"),
        Row(f"{DECODER}.attention.dense", "decoder.{i}.attention.out"),
        Row(f"{DECODER}.post_attention_layernorm", "decoder.{i}.cross_attention_norm_in"),
        Row(f"{DECODER}.cross_attention.query", "decoder.{i}.cross_attention.q"),
        Row(f"{DECODER}.cross_attention.key_value", "decoder.{i}.cross_attention.kv"),
        Row(f"{DECODER}.cross_attention.dense", "decoder.{i}.cross_attention.out"),
        Row(f"{DECODER}.post_cross_attention_layernorm", "decoder.{i}.feed_forward_norm_in"),
        Row(f"{DECODER}.[intermediate output]", "decoder.{i}.feed_forward.[up down]"),
        Row("decoder.decoder.final_layernorm", "decoder.norm"),
        Row("cls.predictions.transform.dense", "heads.masked-lm.transform.dense"),
        Row("cls.predictions.transform.LayerNorm", "heads.masked-lm.transform.norm"),
        Row("cls.predictions.bias", "heads.masked-lm.bias"),
        Row("cls.seq_relationship", "heads.next-sentence"),
    ),
    architectures={
        "PlugModel": Architecture((Head("language-model", tied=True, bias=False),)),
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
