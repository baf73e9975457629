"""BART (Lewis et al. 2020, arXiv 1910.13461): a post-norm encoder-decoder, each side with positions of its own.

The rules and rows serve mBART, Marian and Pegasus as well, which differ in the places of norms and in positions."""

from __future__ import annotations

from dataclasses import replace
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
from moduformer.families.family import SPAN, Architecture, Family
from moduformer.weights.config import ACTIVATIONS, HeadSize, Only, RootScale, Rule, key
from moduformer.weights.config import TokenIds as Ids
from moduformer.weights.plan import Row
from moduformer.weights.views import Axes

NORM = Norm(eps=1e-5)
LANGUAGE_MODEL = Head("language-model", tied=True)
CLASSIFY = Head("classify", reads="eos", transform=Transform(1024, "tanh"), outputs=2)

BLOCKS, TABLES = "[encoder decoder].pattern.*", "[embedding target_embedding]"
ATTENTIONS = "pattern.*.[attention cross_attention]"


def template(embedding: Embedding, norm_at: tuple[Any, ...], final_norm: Norm | None, vocab: int) -> Spec:
    """The large size with these embeddings and these places of norms."""
    attention = Attention(16, 64, 16)
    block = Block(attention, FeedForward(4096), NORM, norm_at)
    crossing = replace(block, cross_attention=attention)
    return Spec(
        vocab=vocab,
        dim=1024,
        embedding=embedding,
        encoder=Stack(12, (block,), final_norm=final_norm),
        decoder=Stack(12, (crossing,), causal=True, final_norm=final_norm),
        target_embedding=embedding,
    )


def side(stack: str) -> tuple[Rule, ...]:
    """The keys that encoder and decoder have each for itself."""
    heads, attentions = f"{stack}_attention_heads", f"{stack}.{ATTENTIONS}"
    return (
        key(f"{stack}_layers", f"{stack}.layers", default=12),
        key(f"{stack}_ffn_dim", f"{stack}.pattern.*.feed_forward.width", default=4096),
        key(heads, f"{attentions}.[heads kv_heads]", default=16),
        HeadSize("d_model", heads, (f"{attentions}.head_dim",), (1024, 16)),
    )


def rules(vocab: int, *more: Rule) -> tuple[Rule, ...]:
    """The rules of a member of this family; `more` are its special tokens and what only some members have."""
    return (
        key("vocab_size", "vocab", default=vocab),
        key("d_model", "dim", f"{TABLES}.width", "heads.classify.transform.width", default=1024),
        *side("encoder"),
        *side("decoder"),
        RootScale("d_model", 1024, "scale_embedding", False, f"{TABLES}.scale"),
        key("activation_function", f"{BLOCKS}.feed_forward.activation", default="gelu", table=ACTIVATIONS),
        key("dropout", f"{BLOCKS}.dropout", f"{TABLES}.dropout", default=0.1),
        key("attention_dropout", f"[encoder decoder].{ATTENTIONS}.dropout", default=0.0),
        key("activation_dropout", f"{BLOCKS}.feed_forward.dropout", default=0.0),
        key("classifier_dropout", "heads.classify.dropout", default=0.0),
        *more,
    )


LEARNED = key("max_position_embeddings", f"{TABLES}.positions.max", default=1024)
TIED = Only("tie_word_embeddings", (True,))


def older(before: bool, final: bool, embedded: bool, static: bool) -> tuple[Rule, ...]:
    """Keys that configs had when all members were one class: they may only say what the member is."""
    said = {
        "normalize_before": before,
        "add_final_layer_norm": final,
        "normalize_embedding": embedded,
        "static_position_embeddings": static,
    }
    return tuple(Only(name, (value,)) for name, value in said.items())


def apart(spec: Spec) -> bool:
    """Whether each side has its own table of tokens."""
    return spec.target_vocab is not None


def together(spec: Spec) -> bool:
    """Whether one table of tokens serves both sides."""
    return spec.target_vocab is None


def sub_layer_norm(file: str, part: str) -> tuple[Row, Row]:
    """A norm before its sub-layer in some members, and after the residual in others."""
    return Row(file, f"{part}_norm_in"), Row(file, f"{part}_norm_res")


SAME = "encoder.embed_tokens", "decoder.embed_tokens", "model.encoder.embed_tokens", "model.decoder.embed_tokens"
ROWS = (
    Row("shared", "embedding.tokens", also=(*SAME, "lm_head"), where=together),
    Row("encoder.embed_tokens", "embedding.tokens", where=apart),
    Row("decoder.embed_tokens", "target_embedding.tokens", also=("lm_head",), where=apart),
    Row("[encoder decoder].embed_positions", "[embedding target_embedding].positions"),
    Row("[encoder decoder].layernorm_embedding", "[embedding target_embedding].norm"),
    Row("[encoder decoder].layers.{i}.self_attn.[q k v out]_proj", "[encoder decoder].{i}.attention.[q k v out]"),
    *sub_layer_norm("[encoder decoder].layers.{i}.self_attn_layer_norm", "[encoder decoder].{i}.attention"),
    Row("decoder.layers.{i}.encoder_attn.[q k v out]_proj", "decoder.{i}.cross_attention.[q k v out]"),
    *sub_layer_norm("decoder.layers.{i}.encoder_attn_layer_norm", "decoder.{i}.cross_attention"),
    Row("[encoder decoder].layers.{i}.[fc1 fc2]", "[encoder decoder].{i}.feed_forward.[up down]"),
    *sub_layer_norm("[encoder decoder].layers.{i}.final_layer_norm", "[encoder decoder].{i}.feed_forward"),
    Row("[encoder decoder].layer_norm", "[encoder decoder].norm"),
    Row("lm_head.weight", "heads.language-model.weight", head=True),
    Row("final_logits_bias", "heads.language-model.bias", Axes("() v", "v"), head=True, optional=True),
    Row("classification_head.[dense out_proj]", "heads.[classify.transform.dense classify]", head=True),
    Row("qa_outputs", "heads.span", head=True),
)


UNUSED = (r"(model\.)?(encoder|decoder)\.version",)


def architectures(name: str) -> dict[str, Architecture]:
    """The classes of a member that has all of them."""
    return {
        f"{name}Model": Architecture(prefix=""),
        f"{name}ForConditionalGeneration": Architecture((LANGUAGE_MODEL,)),
        f"{name}ForSequenceClassification": Architecture((CLASSIFY,)),
        f"{name}ForQuestionAnswering": Architecture((SPAN,)),
    }


EMBEDDING = Embedding(1024, LearnedPositions(1024, offset=2), norm=NORM)

FAMILY = Family(
    model_type="bart",
    template=template(EMBEDDING, ("res",), None, 50265),
    rules=rules(50265, LEARNED, TIED, *older(False, False, True, False), Ids(pad=1, bos=0, eos=2, decoder_start=2)),
    rows=ROWS,
    architectures=architectures("Bart"),
    prefix="model.",
    unused=UNUSED,
    older_keys={"classif_dropout": "classifier_dropout"},
    labels=3,
)
