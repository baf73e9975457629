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
from moduformer.families.image_encoder import CLASS_TOKEN, POSITIONS, tower, tower_rules
from moduformer.weights.config import ACTIVATIONS, HeadSize, Nested, Only, Rule, key
from moduformer.weights.plan import Row

BLOCKS, TABLES = "[encoder decoder].pattern.*", "[embedding target_embedding]"
ATTENTIONS = f"{BLOCKS}.[attention cross_attention]"
LANGUAGE_MODEL = Head("language-model", transform=Transform(768, "gelu", Norm()), tied=True)
TRANSFORM = "heads.language-model.transform"
EMBED = Head("embed", reads="first", outputs=256)
MATCH = Head("match", reads="first", outputs=2)
TARGET = ("target_embedding", "target_vocab")

BLOCK = Block(Attention(12, 64, 12), FeedForward(3072), cross_attention=Attention(12, 64, 12))
TEXT = Embedding(768, LearnedPositions(512), norm=Norm())

ACTIVATED = f"{BLOCKS}.feed_forward.activation", f"{TRANSFORM}.activation"
TEXT_RULES: tuple[Rule, ...] = (
    key("vocab_size", "vocab", "target_vocab", default=30524),
    key("hidden_size", "dim", f"{TABLES}.width", f"{TRANSFORM}.width", default=768),
    key("intermediate_size", f"{BLOCKS}.feed_forward.width", default=3072),
    key("num_hidden_layers", "[encoder decoder].layers", default=12),
    key("num_attention_heads", f"{ATTENTIONS}.[heads kv_heads]", default=8),
    HeadSize("hidden_size", "num_attention_heads", (f"{ATTENTIONS}.head_dim",), (768, 8)),
    key("max_position_embeddings", f"{TABLES}.positions.max", default=512),
    key("hidden_act", *ACTIVATED, default="gelu", table=ACTIVATIONS),
    key("layer_norm_eps", f"{BLOCKS}.norm.eps", f"{TABLES}.norm.eps", f"{TRANSFORM}.norm.eps", default=1e-12),
    key("hidden_dropout_prob", f"{BLOCKS}.dropout", f"{TABLES}.dropout", default=0.0),
    key("attention_probs_dropout_prob", f"{ATTENTIONS}.dropout", default=0.0),
    key("tie_word_embeddings", "heads.language-model.tied", default=True),
    key("bos_token_id", "bos_id", "decoder_start_id", default=30522),
    key("sep_token_id", "eos_id", default=102),
    key("pad_token_id", "pad_id", default=0),
    Only("is_decoder", (True,)),
)


def vision_rows(lead: str = "vision_model.") -> tuple[Row, ...]:
    """The rows of an image encoder whose q, k and v lie in one matrix."""
    file, name = f"{lead}encoder.layers.{{i}}", "vision.stack.{i}"
    return (
        Row(f"{lead}embeddings.class_embedding", "vision.patches.class_token", CLASS_TOKEN),
        Row(f"{lead}embeddings.position_embedding", "vision.patches.positions.weight", POSITIONS),
        Row(f"{lead}embeddings.patch_embedding", "vision.patches.projection"),
        Row(f"{file}.layer_norm[1 2]", f"{name}.[attention feed_forward]_norm_in"),
        Row(f"{file}.self_attn.[qkv projection]", f"{name}.attention.[qkv out]"),
        Row(f"{file}.mlp.[fc1 fc2]", f"{name}.feed_forward.[up down]"),
        Row(f"{lead}post_layernorm", "vision.stack.norm"),
    )


def layers(file: str, name: str, attention: str = "self") -> tuple[Row, ...]:
    """The rows of BERT's layers with cross-attention; `attention` is what the projections are called by."""
    both, ours = f"{file}.[attention crossattention]", f"{name}.[attention cross_attention]"
    return (
        Row(f"{both}.{attention}.[query key value]", f"{ours}.[q k v]"),
        Row(f"{both}.output.[dense LayerNorm]", f"{ours}[.out _norm_res]"),
    )


def text_rows(lead: str, name: str, table: str, also: tuple[str, ...] = ()) -> tuple[Row, ...]:
    """The rows of one of the two text stacks and its tables."""
    file = f"{lead}encoder.layer.{{i}}"
    return (
        Row(f"{lead}embeddings.word_embeddings", f"{table}.tokens", also=also),
        Row(f"{lead}embeddings.[position_embeddings LayerNorm]", f"{table}.[positions norm]"),
        *layers(file, f"{name}.{{i}}"),
        Row(f"{file}.[intermediate output].dense", f"{name}.{{i}}.feed_forward.[up down]"),
        Row(f"{file}.output.LayerNorm", f"{name}.{{i}}.feed_forward_norm_res"),
    )


PREDICTIONS = "text_decoder.cls.predictions"
ROWS = (
    *vision_rows(),
    *text_rows("text_encoder.", "encoder", "sources"),
    *text_rows("text_decoder.bert.", "decoder", "targets", (f"{PREDICTIONS}.decoder",)),
    Row(f"{PREDICTIONS}.transform.[dense LayerNorm]", f"{TRANSFORM}.[dense norm]"),
    Row(f"{PREDICTIONS}.decoder.weight", "heads.language-model.weight"),
    Row(f"{PREDICTIONS}.bias", "heads.language-model.bias", also=(f"{PREDICTIONS}.decoder.bias",)),
    Row("[vision_proj text_proj itm_head]", "[vision.heads.embed heads.embed heads.match]"),
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
        Nested("vision_config", tower_rules(768, 12, 12, 3072, 384, 16, 1e-5)),
        key("image_text_hidden_size", "[heads vision.heads].embed.outputs", default=256),
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
