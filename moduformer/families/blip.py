"""BLIP (Li et al. 2022, arXiv 2201.12086): BERT that looks at a ViT's patches, as an encoder, a decoder or both."""

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
from moduformer.families.vit import tower, tower_rules
from moduformer.weights.config import ACTIVATIONS, HeadSize, Nested, Only, Rule, key
from moduformer.weights.plan import Row
from moduformer.weights.views import Axes

BLOCKS = ("encoder.pattern.*", "decoder.pattern.*")
ATTENTIONS = tuple(f"{block}.{part}" for block in BLOCKS for part in ("attention", "cross_attention"))
TABLES = ("embedding", "target_embedding")
SEEING = "vision.stack.pattern.*"
LANGUAGE_MODEL = Head("language-model", transform=Transform(768, "gelu", Norm()), tied=True)
TRANSFORM = "heads.language-model.transform"
EMBED = Head("embed", reads="first", outputs=256)
MATCH = Head("match", reads="first", outputs=2)
TARGET = ("target_embedding", "target_vocab")

BLOCK = Block(Attention(12, 64, 12), FeedForward(3072), cross_attention=Attention(12, 64, 12))
TEXT = Embedding(768, LearnedPositions(512), norm=Norm())

TEXT_RULES: tuple[Rule, ...] = (
    key("vocab_size", "vocab", "target_vocab", default=30524),
    key("hidden_size", "dim", *(f"{table}.width" for table in TABLES), f"{TRANSFORM}.width", default=768),
    key("intermediate_size", *(f"{block}.feed_forward.width" for block in BLOCKS), default=3072),
    key("num_hidden_layers", "encoder.layers", "decoder.layers", default=12),
    key("num_attention_heads", *(f"{part}.{n}" for part in ATTENTIONS for n in ("heads", "kv_heads")), default=8),
    HeadSize("hidden_size", "num_attention_heads", tuple(f"{part}.head_dim" for part in ATTENTIONS), (768, 8)),
    key("max_position_embeddings", *(f"{table}.positions.max" for table in TABLES), default=512),
    key(
        "hidden_act",
        *(f"{block}.feed_forward.activation" for block in BLOCKS),
        f"{TRANSFORM}.activation",
        default="gelu",
        table=ACTIVATIONS,
    ),
    key(
        "layer_norm_eps",
        *(f"{part}.norm.eps" for part in (*BLOCKS, *TABLES, TRANSFORM)),
        default=1e-12,
    ),
    key("hidden_dropout_prob", *(f"{part}.dropout" for part in (*BLOCKS, *TABLES)), default=0.0),
    key("attention_probs_dropout_prob", *(f"{part}.dropout" for part in ATTENTIONS), default=0.0),
    key("tie_word_embeddings", "heads.language-model.tied", default=True),
    key("bos_token_id", "bos_id", "decoder_start_id", default=30522),
    key("sep_token_id", "eos_id", default=102),
    key("pad_token_id", "pad_id", default=0),
    Only("is_decoder", (True,)),
)
VISION_RULES: tuple[Rule, ...] = (
    *tower_rules(768, 12, 12, 3072, 384, 16, 1e-5),
    key("hidden_act", f"{SEEING}.feed_forward.activation", default="gelu", table=ACTIVATIONS),
    key("attention_dropout", f"{SEEING}.attention.dropout", default=0.0),
)


def vision_rows(lead: str = "vision_model.") -> tuple[Row, ...]:
    """The rows of an image encoder whose q, k and v lie in one matrix."""
    file, name = f"{lead}encoder.layers.{{i}}", "vision.stack.{i}"
    return (
        Row(f"{lead}embeddings.class_embedding", "vision.patches.class_token", Axes("() () d", "d")),
        Row(f"{lead}embeddings.position_embedding", "vision.patches.positions.weight", Axes("() v d", "v d")),
        Row(f"{lead}embeddings.patch_embedding", "vision.patches.projection"),
        Row(f"{file}.layer_norm1", f"{name}.attention_norm_in"),
        Row(f"{file}.self_attn.qkv", f"{name}.attention.qkv"),
        Row(f"{file}.self_attn.projection", f"{name}.attention.out"),
        Row(f"{file}.layer_norm2", f"{name}.feed_forward_norm_in"),
        Row(f"{file}.mlp.[fc1 fc2]", f"{name}.feed_forward.[up down]"),
        Row(f"{lead}post_layernorm", "vision.stack.norm"),
    )


def layers(file: str, name: str, attention: str = "self") -> tuple[Row, ...]:
    """The rows of BERT's layers with cross-attention; `attention` is what the projections are called by."""
    sub_layers = (("attention", "attention"), ("crossattention", "cross_attention"))
    projections = (("query", "q"), ("key", "k"), ("value", "v"))
    return (
        *(Row(f"{file}.{a}.{attention}.{x}", f"{name}.{b}.{y}") for a, b in sub_layers for x, y in projections),
        *(Row(f"{file}.{a}.output.dense", f"{name}.{b}.out") for a, b in sub_layers),
        *(Row(f"{file}.{a}.output.LayerNorm", f"{name}.{b}_norm_res") for a, b in sub_layers),
    )


def text_rows(lead: str, name: str, table: str, also: tuple[str, ...] = ()) -> tuple[Row, ...]:
    """The rows of one of the two text stacks and its tables."""
    file = f"{lead}encoder.layer.{{i}}"
    return (
        Row(f"{lead}embeddings.word_embeddings", f"{table}.tokens", also=also),
        Row(f"{lead}embeddings.position_embeddings", f"{table}.positions"),
        Row(f"{lead}embeddings.LayerNorm", f"{table}.norm"),
        *layers(file, f"{name}.{{i}}"),
        Row(f"{file}.[intermediate output].dense", f"{name}.{{i}}.feed_forward.[up down]"),
        Row(f"{file}.output.LayerNorm", f"{name}.{{i}}.feed_forward_norm_res"),
    )


PREDICTIONS = "text_decoder.cls.predictions"
ROWS = (
    *vision_rows(),
    *text_rows("text_encoder.", "encoder", "sources"),
    *text_rows("text_decoder.bert.", "decoder", "targets", (f"{PREDICTIONS}.decoder",)),
    Row(f"{PREDICTIONS}.transform.dense", "heads.language-model.transform.dense"),
    Row(f"{PREDICTIONS}.transform.LayerNorm", "heads.language-model.transform.norm"),
    Row(f"{PREDICTIONS}.decoder.weight", "heads.language-model.weight"),
    Row(f"{PREDICTIONS}.bias", "heads.language-model.bias", also=(f"{PREDICTIONS}.decoder.bias",)),
    Row("vision_proj", "vision.heads.embed"),
    Row("text_proj", "heads.embed"),
    Row("itm_head", "heads.match"),
)


FAMILY = Family(
    model_type="blip",
    template=Spec(
        vocab=30524,
        dim=768,
        embedding=TEXT,
        encoder=Stack(12, (BLOCK,)),
        decoder=Stack(12, (BLOCK,), causal=True),
        target_embedding=TEXT,
        target_vocab=30524,
        vision=replace(tower(Norm(eps=1e-5), 384), injection="cross"),
    ),
    rules=(
        Nested("text_config", TEXT_RULES),
        Nested("vision_config", VISION_RULES),
        key("image_text_hidden_size", "heads.embed.outputs", "vision.heads.embed.outputs", default=256),
        Only("tie_word_embeddings", (True,)),
    ),
    rows=ROWS,
    architectures={
        "BlipForConditionalGeneration": Architecture((LANGUAGE_MODEL,), without=("encoder", *TARGET)),
        "BlipForQuestionAnswering": Architecture((LANGUAGE_MODEL,)),
        "BlipForImageTextRetrieval": Architecture((EMBED, MATCH), without=("decoder", *TARGET), image_heads=(EMBED,)),
    },
    unused=(r".*embeddings\.position_ids",),
)
