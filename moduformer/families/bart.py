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
from moduformer.families.family import Architecture, Family
from moduformer.weights.config import ACTIVATIONS, HeadSize, Only, RootScale, Rule, key
from moduformer.weights.config import TokenIds as Ids
from moduformer.weights.plan import Row
from moduformer.weights.views import Axes

NORM = Norm(eps=1e-5)
LANGUAGE_MODEL = Head("language-model", tied=True)
CLASSIFY = Head("classify", reads="eos", transform=Transform(1024, "tanh"), outputs=2)
SPAN = Head("span", outputs=2)

BLOCKS = ("encoder.pattern.*", "decoder.pattern.*")
EMBEDDINGS = ("embedding", "target_embedding")


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
    attentions = (
        f"{stack}.pattern.*.attention",
        *(("decoder.pattern.*.cross_attention",) if stack == "decoder" else ()),
    )
    return (
        key(f"{stack}_layers", f"{stack}.layers", default=12),
        key(f"{stack}_ffn_dim", f"{stack}.pattern.*.feed_forward.width", default=4096),
        key(
            f"{stack}_attention_heads",
            *(f"{part}.{field}" for part in attentions for field in ("heads", "kv_heads")),
            default=16,
        ),
        HeadSize("d_model", f"{stack}_attention_heads", tuple(f"{part}.head_dim" for part in attentions), (1024, 16)),
    )


def rules(vocab: int, *more: Rule) -> tuple[Rule, ...]:
    """The rules of a member of this family; `more` are its special tokens and what only some members have."""
    return (
        key("vocab_size", "vocab", default=vocab),
        key(
            "d_model", "dim", *(f"{part}.width" for part in EMBEDDINGS), "heads.classify.transform.width", default=1024
        ),
        *side("encoder"),
        *side("decoder"),
        *(RootScale("d_model", 1024, "scale_embedding", False, f"{part}.scale") for part in EMBEDDINGS),
        key(
            "activation_function",
            *(f"{block}.feed_forward.activation" for block in BLOCKS),
            default="gelu",
            table=ACTIVATIONS,
        ),
        key("dropout", *(f"{part}.dropout" for part in (*BLOCKS, *EMBEDDINGS)), default=0.1),
        key(
            "attention_dropout",
            *(f"{block}.attention.dropout" for block in BLOCKS),
            "decoder.pattern.*.cross_attention.dropout",
            default=0.0,
        ),
        key("activation_dropout", *(f"{block}.feed_forward.dropout" for block in BLOCKS), default=0.0),
        key("classifier_dropout", "heads.classify.dropout", default=0.0),
        *more,
    )


LEARNED = key("max_position_embeddings", *(f"{part}.positions.max" for part in EMBEDDINGS), default=1024)
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


def layer(stack: str, norms: str) -> tuple[Row, ...]:
    """The rows of one stack; `norms` is where its blocks have them."""
    start, inner = f"{stack}.layers.{{i}}", f"{stack}.{{i}}"
    crossing = (("encoder_attn", "cross_attention"),) if stack == "decoder" else ()
    found = []
    for file, part in (("self_attn", "attention"), *crossing):
        found += [Row(f"{start}.{file}.{end}_proj", f"{inner}.{part}.{end}") for end in ("q", "k", "v", "out")]
        found.append(Row(f"{start}.{file}_layer_norm", f"{inner}.{part}_norm_{norms}"))
    return (
        *found,
        Row(f"{start}.[fc1 fc2]", f"{inner}.feed_forward.[up down]"),
        Row(f"{start}.final_layer_norm", f"{inner}.feed_forward_norm_{norms}"),
        Row(f"{stack}.layer_norm", f"{stack}.norm"),
    )


def apart(spec: Spec) -> bool:
    """Whether each side has its own table of tokens."""
    return spec.target_vocab is not None


def together(spec: Spec) -> bool:
    """Whether one table of tokens serves both sides."""
    return spec.target_vocab is None


def rows(norms: str) -> tuple[Row, ...]:
    """All rows of a member; `norms` is where its blocks have them."""
    same = ("encoder.embed_tokens", "decoder.embed_tokens")
    return (
        Row("shared", "embedding.tokens", also=(*same, *(f"model.{name}" for name in same), "lm_head"), where=together),
        Row("encoder.embed_tokens", "embedding.tokens", where=apart),
        Row("decoder.embed_tokens", "target_embedding.tokens", also=("lm_head",), where=apart),
        Row("encoder.embed_positions", "embedding.positions"),
        Row("encoder.layernorm_embedding", "embedding.norm"),
        Row("decoder.embed_positions", "target_embedding.positions"),
        Row("decoder.layernorm_embedding", "target_embedding.norm"),
        *layer("encoder", norms),
        *layer("decoder", norms),
        Row("lm_head.weight", "heads.language-model.weight", head=True),
        Row("final_logits_bias", "heads.language-model.bias", Axes("() v", "v"), head=True, optional=True),
        Row("classification_head.dense", "heads.classify.transform.dense", head=True),
        Row("classification_head.out_proj", "heads.classify", head=True),
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
    rows=rows("res"),
    architectures=architectures("Bart"),
    prefix="model.",
    unused=UNUSED,
    older_keys={"classif_dropout": "classifier_dropout"},
    labels=3,
)
