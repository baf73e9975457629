"""ViT (Dosovitskiy et al. 2021, arXiv 2010.11929): a pre-norm encoder of image patches behind a class token."""

from moduformer.architecture import Embedding, Head, Norm, Spec, Transform
from moduformer.families.family import Architecture, Family
from moduformer.families.image_encoder import ATTENTION, BLOCK, CLASS_TOKEN, POSITIONS, tower, tower_rules
from moduformer.weights.config import ACTIVATIONS, Only, Otherwise, key
from moduformer.weights.plan import Row

POOL = Head("pool", reads="first", transform=Transform(768, "tanh"))

FAMILY = Family(
    model_type="vit",
    template=Spec(vocab=0, dim=768, embedding=Embedding(768), vision=tower(Norm())),
    rules=(
        *tower_rules(768, 12, 12, 3072, 224, 16, 1e-12, dropout="attention_probs_dropout_prob"),
        key("hidden_size", "dim", "embedding.width", default=768),
        Otherwise("pooler_output_size", "hidden_size", ("heads.pool.transform.width",), 768),
        key("pooler_act", "heads.pool.transform.activation", default="tanh", table=ACTIVATIONS),
        key("num_channels", "vision.patches.channels", default=3),
        key("qkv_bias", f"{ATTENTION}.bias", default=True),
        key("hidden_dropout_prob", f"{BLOCK}.dropout", "vision.patches.dropout", default=0.0),
        Only("head_dim", (None,)),
    ),
    rows=(
        Row("embeddings.cls_token", "vision.patches.class_token", CLASS_TOKEN),
        Row("embeddings.position_embeddings", "vision.patches.positions.weight", POSITIONS),
        Row("embeddings.patch_embeddings.projection", "vision.patches.projection"),
        Row("encoder.layer.{i}.layernorm_[before after]", "vision.stack.{i}.[attention feed_forward]_norm_in"),
        Row("encoder.layer.{i}.attention.attention.[query key value]", "vision.stack.{i}.attention.[q k v]"),
        Row("encoder.layer.{i}.attention.output.dense", "vision.stack.{i}.attention.out"),
        Row("encoder.layer.{i}.[intermediate output].dense", "vision.stack.{i}.feed_forward.[up down]"),
        Row("layernorm", "vision.stack.norm"),
        Row("pooler.dense", "heads.pool.transform.dense"),
        Row("classifier", "heads.classify", head=True),
    ),
    architectures={
        "ViTModel": Architecture((POOL,), prefix=""),
        "ViTForImageClassification": Architecture((Head("classify", reads="first", outputs=2),)),
    },
    prefix="vit.",
)
