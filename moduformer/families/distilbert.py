"""DistilBERT (Sanh et al. 2019, arXiv 1910.01108): BERT with half the layers, without segments and pooler."""

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
from moduformer.weights.config import ACTIVATIONS, HeadSize, TokenIds, key
from moduformer.weights.plan import Row

BLOCK = "encoder.pattern.*"
MASKED_LM = Head("masked-lm", transform=Transform(768, "gelu", Norm()), tied=True)
CLASSIFY = Head("classify", reads="first", transform=Transform(768, "relu"), outputs=2)

FAMILY = Family(
    model_type="distilbert",
    template=Spec(
        vocab=30522,
        dim=768,
        embedding=Embedding(768, LearnedPositions(512), norm=Norm()),
        encoder=Stack(6, (Block(Attention(12, 64, 12), FeedForward(3072)),)),
    ),
    rules=(
        key("vocab_size", "vocab", default=30522),
        key(
            "dim",
            "dim",
            "embedding.width",
            "heads.masked-lm.transform.width",
            "heads.classify.transform.width",
            default=768,
        ),
        key("n_layers", "encoder.layers", default=6),
        key("n_heads", f"{BLOCK}.attention.heads", f"{BLOCK}.attention.kv_heads", default=12),
        key("hidden_dim", f"{BLOCK}.feed_forward.width", default=3072),
        key(
            "activation",
            f"{BLOCK}.feed_forward.activation",
            "heads.masked-lm.transform.activation",
            default="gelu",
            table=ACTIVATIONS,
        ),
        key("max_position_embeddings", "embedding.positions.max", default=512),
        key("dropout", f"{BLOCK}.feed_forward.dropout", "embedding.dropout", "heads.tag.dropout", default=0.1),
        key("attention_dropout", f"{BLOCK}.attention.dropout", default=0.1),
        key("seq_classif_dropout", "heads.classify.dropout", default=0.2),
        key("qa_dropout", "heads.span.dropout", default=0.1),
        key("tie_word_embeddings", "heads.masked-lm.tied", default=True),
        HeadSize("dim", "n_heads", (f"{BLOCK}.attention.head_dim",), (768, 12)),
        TokenIds(pad=0),
    ),
    rows=(
        Row("embeddings.word_embeddings", "embedding.tokens", also=("vocab_projector",)),
        Row("embeddings.position_embeddings", "embedding.positions"),
        Row("embeddings.LayerNorm", "embedding.norm"),
        Row("transformer.layer.{i}.attention.q_lin", "encoder.{i}.attention.q"),
        Row("transformer.layer.{i}.attention.k_lin", "encoder.{i}.attention.k"),
        Row("transformer.layer.{i}.attention.v_lin", "encoder.{i}.attention.v"),
        Row("transformer.layer.{i}.attention.out_lin", "encoder.{i}.attention.out"),
        Row("transformer.layer.{i}.sa_layer_norm", "encoder.{i}.attention_norm_res"),
        Row("transformer.layer.{i}.ffn.lin1", "encoder.{i}.feed_forward.up"),
        Row("transformer.layer.{i}.ffn.lin2", "encoder.{i}.feed_forward.down"),
        Row("transformer.layer.{i}.output_layer_norm", "encoder.{i}.feed_forward_norm_res"),
        Row("vocab_transform", "heads.masked-lm.transform.dense", head=True),
        Row("vocab_layer_norm", "heads.masked-lm.transform.norm", head=True),
        Row("vocab_projector.weight", "heads.masked-lm.weight", head=True),
        Row("vocab_projector.bias", "heads.masked-lm.bias", head=True),
        Row("pre_classifier", "heads.classify.transform.dense", head=True),
        Row("classifier", "heads.classify", head=True),
        Row("classifier", "heads.tag", head=True),
        Row("qa_outputs", "heads.span", head=True),
    ),
    architectures={
        "DistilBertModel": Architecture(prefix=""),
        "DistilBertForMaskedLM": Architecture((MASKED_LM,)),
        "DistilBertForSequenceClassification": Architecture((CLASSIFY,)),
        "DistilBertForTokenClassification": Architecture((Head("tag", outputs=2),)),
        "DistilBertForQuestionAnswering": Architecture((Head("span", outputs=2),)),
    },
    prefix="distilbert.",
    unused=(r"(.*\.)?embeddings\.position_ids",),
)
