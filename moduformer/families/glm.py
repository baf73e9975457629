"""GLM (Du et al. 2022, arXiv 2103.10360): GPT-2's layers over texts with blanks, which have two positions.

A text holds [MASK], [sMASK] or [gMASK] and ends in <|startofpiece|>; what follows fills the first blank. transformers
calls another model `glm` (GLM-4, `GlmForCausalLM`), which is none of these.
"""

from moduformer.architecture import (
    Attention,
    Block,
    Embedding,
    FeedForward,
    Head,
    Infilling,
    LearnedPositions,
    Norm,
    Spec,
    Transform,
)
from moduformer.families.blanks import Pieces
from moduformer.families.chatglm import UP, WRITER, rows
from moduformer.families.family import Architecture, Family, decoder
from moduformer.weights.config import HeadSize, Key, Multiple, Only, TokenIds, key
from moduformer.weights.plan import Row

BLOCK = "decoder.pattern.*"
NORM = Norm(eps=1e-5)
FAMILY = Family(
    model_type="glm",
    template=Spec(
        vocab=30592,
        dim=1024,
        embedding=Embedding(1024, LearnedPositions(513), block_positions=513),
        decoder=decoder(24, Block(Attention(16, 64, 16), FeedForward(4096, "gelu_tanh"), NORM, norm_at=("in",))),
        infilling=Infilling(30522, (103, 30525, 30524), first="in-text"),
    ),
    rules=(
        key("vocab_size", "vocab", default=30592),
        key("hidden_size", "dim", "embedding.width", default=1024),
        key("num_layers", "decoder.layers", default=24),
        key("num_attention_heads", f"{BLOCK}.attention.[heads kv_heads]", default=16),
        Multiple(None, "hidden_size", (f"{BLOCK}.feed_forward.width",), 1024),
        HeadSize("hidden_size", "num_attention_heads", (f"{BLOCK}.attention.head_dim",), (1024, 16)),
        Key(
            "max_sequence_length",
            ("embedding.positions.max", "embedding.block_positions"),
            512,
            lambda size: size + 1,
            lambda rows: rows - 1,
        ),
        key("layernorm_epsilon", f"{BLOCK}.norm.eps", "decoder.final_norm.eps", default=1e-5),
        key("embedding_dropout_prob", "embedding.dropout", default=0.1),
        key("attention_dropout_prob", f"{BLOCK}.attention.dropout", default=0.1),
        key("output_dropout_prob", f"{BLOCK}.dropout", "heads.classify.dropout", default=0.1),
        key("hidden_size", "heads.classify.transform.width", default=1024),
        Only("block_position_encoding", (True,)),
        Only("relative_encoding", (False,)),
        Only("attention_scale", (1.0,)),
        Only("spell_length", (None,)),
        Only("pool_token", ("cls",)),
        TokenIds(),
        Pieces(),
    ),
    rows=(
        *rows(None, UP, inside="transformer."),
        Row("transformer.position_embeddings", "embedding.positions"),
        Row("transformer.block_position_embeddings", "embedding.block_positions"),
        Row("dense", "heads.classify.transform.dense", head=True),
        Row("out_proj", "heads.classify", head=True),
    ),
    architectures={
        "GLMModel": Architecture(prefix=""),
        "GLMForConditionalGeneration": WRITER,
        "GLMForSequenceClassification": Architecture(
            (Head("classify", reads="first", transform=Transform(1024, "tanh"), outputs=2),)
        ),
    },
    prefix="glm.",
)
