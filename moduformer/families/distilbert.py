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
from moduformer.families.bert import TASKS
from moduformer.families.family import Family, encoder_architectures
from moduformer.weights.config import ACTIVATIONS, HeadSize, TokenIds, key
from moduformer.weights.plan import Row

BLOCK, LM = "encoder.pattern.*", "heads.masked-lm.transform"
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
        key("dim", "dim", "embedding.width", "heads.[masked-lm classify].transform.width", default=768),
        key("n_layers", "encoder.layers", default=6),
        key("n_heads", f"{BLOCK}.attention.[heads kv_heads]", default=12),
        key("hidden_dim", f"{BLOCK}.feed_forward.width", default=3072),
        key("activation", f"[{BLOCK}.feed_forward {LM}].activation", default="gelu", table=ACTIVATIONS),
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
        Row("embeddings.[position_embeddings LayerNorm]", "embedding.[positions norm]"),
        Row("transformer.layer.{i}.attention.[q k v out]_lin", "encoder.{i}.attention.[q k v out]"),
        Row("transformer.layer.{i}.[sa output]_layer_norm", "encoder.{i}.[attention feed_forward]_norm_res"),
        Row("transformer.layer.{i}.ffn.[lin1 lin2]", "encoder.{i}.feed_forward.[up down]"),
        Row(
            "vocab_[transform layer_norm projector]",
            "heads.[masked-lm.transform.dense masked-lm.transform.norm masked-lm]",
            head=True,
        ),
        Row("pre_classifier", "heads.classify.transform.dense", head=True),
        *TASKS,
    ),
    architectures=encoder_architectures("DistilBert", MASKED_LM, (CLASSIFY,)),
    prefix="distilbert.",
    unused=(r"(.*\.)?embeddings\.position_ids",),
)
