"""GPT-J (Wang & Komatsuzaki 2021): attention beside feed-forward after one norm; rotary pairs on 64 of 256."""

from moduformer.architecture import Attention, Block, Embedding, FeedForward, Head, Norm, Rotary, Spec
from moduformer.families.family import DECODER_HEADS, Family, decoder, decoder_architectures
from moduformer.weights.config import ACTIVATIONS, HeadSize, Multiple, TokenIds, key
from moduformer.weights.plan import Row

BLOCK = "decoder.pattern.*"
LANGUAGE_MODEL = Head("language-model")

LAYER = Block(
    Attention(16, 256, 16, bias=False, out_bias=False, position=Rotary(64, pairing="pairs")),
    FeedForward(16384, "gelu_tanh"),
    Norm(eps=1e-5),
    norm_at=("in",),
    flow="parallel-shared",
)
TEMPLATE = Spec(
    vocab=50400,
    dim=4096,
    embedding=Embedding(4096),
    decoder=decoder(28, LAYER),
)
RULES = (
    key("vocab_size", "vocab", default=50400),
    key("n_embd", "dim", "embedding.width", default=4096),
    key("n_layer", "decoder.layers", default=28),
    key("n_head", f"{BLOCK}.attention.[heads kv_heads]", default=16),
    key("rotary_dim", f"{BLOCK}.attention.position.dim", default=64),
    key("activation_function", f"{BLOCK}.feed_forward.activation", default="gelu_new", table=ACTIVATIONS),
    key("layer_norm_epsilon", f"{BLOCK}.norm.eps", "decoder.final_norm.eps", default=1e-5),
    key("resid_pdrop", f"{BLOCK}.dropout", default=0.0),
    key("embd_pdrop", "embedding.dropout", default=0.0),
    key("attn_pdrop", f"{BLOCK}.attention.dropout", default=0.0),
    key("tie_word_embeddings", "heads.language-model.tied", default=False),
    Multiple("n_inner", "n_embd", (f"{BLOCK}.feed_forward.width",), 4096),
    HeadSize("n_embd", "n_head", (f"{BLOCK}.attention.head_dim",), (4096, 16)),
    TokenIds(bos=50256, eos=50256),
)
ROWS = (
    Row("wte", "embedding.tokens", also=("lm_head",)),
    Row("h.{i}.ln_1", "decoder.{i}.attention_norm_in"),
    Row("h.{i}.attn.out_proj", "decoder.{i}.attention.out"),
    Row("h.{i}.mlp.fc_[in out]", "decoder.{i}.feed_forward.[up down]"),
    Row("ln_f", "decoder.norm"),
    *DECODER_HEADS,
)


FAMILY = Family(
    model_type="gptj",
    template=TEMPLATE,
    rules=RULES,
    rows=(*ROWS, Row("h.{i}.attn.[q k v]_proj", "decoder.{i}.attention.[q k v]")),
    architectures=decoder_architectures(
        "GPTJ", "ForSequenceClassification", "ForQuestionAnswering", language_model=LANGUAGE_MODEL
    ),
    prefix="transformer.",
    unused=(r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias|embed_positions)",),
)
