"""XLNet (Yang et al. 2019, arXiv 1906.08237): Transformer-XL's layers that see both sides, trained in any order."""

from moduformer.architecture import (
    Attention,
    Block,
    Embedding,
    FeedForward,
    Head,
    RelativeSinusoids,
    Spec,
    Stack,
    Transform,
)
from moduformer.families.bert import BLOCK
from moduformer.families.family import SPAN, TAG, Architecture, Family
from moduformer.weights.config import ACTIVATIONS, HeadSize, Key, Only, TokenIds, key
from moduformer.weights.plan import Row
from moduformer.weights.views import Axes

ATTENTION = Attention(16, 64, 16, bias=False, out_bias=False, position=RelativeSinusoids(segments=True))
LANGUAGE_MODEL = Head("language-model", tied=True)
CLASSIFY = Head("classify", reads="last", transform=Transform(1024, "tanh"), outputs=2)
READS = {"last": "last", "cls_index": "last", "first": "first", "mean": "mean"}
PROJECTION = Axes("in h d", "(h d) in")

ROWS = (
    Row("word_embedding", "embedding.tokens", also=("lm_loss",)),
    Row("mask_emb", "encoder.two_streams.weight", axes=Axes("() () v", "v")),
    Row("layer.{i}.rel_attn.[q k v r]", "encoder.{i}.attention.[q k v distance].weight", axes=PROJECTION),
    Row("layer.{i}.rel_attn.o", "encoder.{i}.attention.out.weight", axes=Axes("out h d", "out (h d)")),
    Row("layer.{i}.rel_attn.r_[w r s]_bias", "encoder.{i}.attention.[content position segment]_bias"),
    Row("layer.{i}.rel_attn.seg_embed", "encoder.{i}.attention.segments"),
    Row("layer.{i}.rel_attn.layer_norm", "encoder.{i}.attention_norm_res"),
    Row("layer.{i}.ff.layer_[1 2]", "encoder.{i}.feed_forward.[up down]"),
    Row("layer.{i}.ff.layer_norm", "encoder.{i}.feed_forward_norm_res"),
    Row("sequence_summary.summary", "heads.classify.transform.dense", head=True),
    Row("[lm_loss logits_proj classifier qa_outputs]", "heads.[language-model classify tag span]", head=True),
)


FAMILY = Family(
    model_type="xlnet",
    template=Spec(
        vocab=32000,
        dim=1024,
        embedding=Embedding(1024),
        encoder=Stack(24, (Block(ATTENTION, FeedForward(4096)),), two_streams=True),
    ),
    rules=(
        key("vocab_size", "vocab", default=32000),
        key("d_model", "dim", "embedding.width", "heads.classify.transform.width", default=1024),
        key("n_layer", "encoder.layers", default=24),
        key("n_head", f"{BLOCK}.attention.[heads kv_heads]", default=16),
        key("d_inner", f"{BLOCK}.feed_forward.width", default=4096),
        key("ff_activation", f"{BLOCK}.feed_forward.activation", default="gelu", table=ACTIVATIONS),
        key("attn_type", "encoder.causal", default="bi", table={"bi": False, "uni": True}),
        key("layer_norm_eps", f"{BLOCK}.norm.eps", default=1e-12),
        Key(
            "clamp_len",
            (f"{BLOCK}.attention.position.reach",),
            -1,
            lambda reach: reach if isinstance(reach, int) and reach > 0 else None,
            lambda reach: -1 if reach is None else reach,
        ),
        key(
            "dropout",
            f"[{BLOCK} {BLOCK}.attention {BLOCK}.attention.position {BLOCK}.feed_forward embedding].dropout",
            "encoder.final_dropout",
            default=0.1,
        ),
        key("summary_type", "heads.classify.reads", default="last", table=READS),
        key("summary_activation", "heads.classify.transform.activation", default="tanh", table=ACTIVATIONS),
        key("summary_last_dropout", "heads.classify.dropout", default=0.1),
        key("tie_word_embeddings", "heads.language-model.tied", default=True),
        HeadSize("d_model", "n_head", (f"{BLOCK}.attention.head_dim",), (1024, 16), "d_head"),
        # How much of a memory is kept (mem_len, reuse_len) is the caller's choice: see `Cache.keep`.
        Only("bi_data", (False,)),
        Only("same_length", (False,)),
        Only("untie_r", (True,)),
        Only("summary_use_proj", (True,)),
        Only("summary_proj_to_labels", (False, None)),
        TokenIds(pad=5, bos=1, eos=2),
    ),
    rows=ROWS,
    architectures={
        "XLNetModel": Architecture(prefix=""),
        "XLNetLMHeadModel": Architecture((LANGUAGE_MODEL,)),
        "XLNetForSequenceClassification": Architecture((CLASSIFY,)),
        "XLNetForTokenClassification": Architecture((TAG,)),
        "XLNetForQuestionAnsweringSimple": Architecture((SPAN,)),
    },
    prefix="transformer.",
)
