"""ELECTRA (Clark et al. 2020, arXiv 2003.10555): BERT with a factorised embedding, trained to tell replaced tokens."""

from dataclasses import replace

from moduformer.architecture import Head, Norm, Transform
from moduformer.families import bert
from moduformer.families.family import Architecture, Family, encoder_architectures
from moduformer.weights.config import ACTIVATIONS, HeadSize, Only, Rule, key
from moduformer.weights.plan import Row

REPLACED_TOKEN = Head("replaced-token", transform=Transform(256, "gelu"), outputs=1)
MASKED_LM = Head("masked-lm", transform=Transform(128, "gelu", Norm()), tied=True)
CLASSIFY = Head("classify", reads="first", transform=Transform(256, "gelu"), outputs=2)

RULES: tuple[Rule, ...] = (
    key("embedding_size", "embedding.width", "heads.masked-lm.transform.width", default=128),
    key("hidden_size", "dim", "heads.[replaced-token classify].transform.width", default=256),
    key(
        "hidden_act",
        f"[{bert.BLOCK}.feed_forward heads.replaced-token.transform].activation",
        default="gelu",
        table=ACTIVATIONS,
    ),
    key("num_attention_heads", f"{bert.BLOCK}.attention.[heads kv_heads]", default=4),
    key("intermediate_size", f"{bert.BLOCK}.feed_forward.width", default=1024),
    *bert.without_keys("hidden_size", "hidden_act", "num_attention_heads", "intermediate_size", "HeadSize"),
    HeadSize("hidden_size", "num_attention_heads", (f"{bert.BLOCK}.attention.head_dim",), (256, 4)),
    Only("summary_type", ("first",)),
)

FAMILY = Family(
    model_type="electra",
    template=replace(bert.TEMPLATE, dim=256, embedding=replace(bert.TEMPLATE.embedding, width=128)),
    rules=RULES,
    rows=(
        *(replace(row, also=("generator_lm_head",) if row.also else ()) for row in bert.BODY if "pool" not in row.name),
        Row("embeddings_project", "embedding.projection"),
        Row("discriminator_predictions.dense", "heads.replaced-token.transform.dense", head=True),
        Row("discriminator_predictions.dense_prediction", "heads.replaced-token", head=True),
        Row("generator_predictions.[dense LayerNorm]", "heads.masked-lm.transform.[dense norm]", head=True),
        Row("generator_lm_head", "heads.masked-lm", head=True),
        Row("classifier.[dense out_proj]", "heads.[classify.transform.dense classify]", head=True),
        Row("[classifier qa_outputs]", "heads.[tag span]", head=True),
    ),
    architectures={
        **encoder_architectures("Electra", MASKED_LM, (CLASSIFY,)),
        "ElectraForPreTraining": Architecture((REPLACED_TOKEN,)),
    },
    prefix="electra.",
    unused=(r"(.*\.)?embeddings\.position_ids",),
)
