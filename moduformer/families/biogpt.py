"""BioGPT (Luo et al. 2022, arXiv 2210.10341): a pre-norm decoder with scaled token vectors, trained on PubMed."""

from moduformer.architecture import Attention, Block, Embedding, FeedForward, LearnedPositions, Norm, Spec
from moduformer.families.family import TIED, Family, decoder, decoder_architectures
from moduformer.weights.config import ACTIVATIONS, HeadSize, RootScale, TokenIds, key
from moduformer.weights.plan import Row

BLOCK = "decoder.pattern.*"
# Configs say 1e-12, but the published models were trained, and run in transformers, with PyTorch's default.
NORM = Norm(eps=1e-5)

FAMILY = Family(
    model_type="biogpt",
    template=Spec(
        vocab=42384,
        dim=1024,
        embedding=Embedding(1024, LearnedPositions(1024, offset=2)),
        decoder=decoder(24, Block(Attention(16, 64, 16), FeedForward(4096), NORM, norm_at=("in",))),
    ),
    rules=(
        key("vocab_size", "vocab", default=42384),
        key("hidden_size", "dim", "embedding.width", default=1024),
        key("num_hidden_layers", "decoder.layers", default=24),
        key("num_attention_heads", f"{BLOCK}.attention.[heads kv_heads]", default=16),
        key("intermediate_size", f"{BLOCK}.feed_forward.width", default=4096),
        key("max_position_embeddings", "embedding.positions.max", default=1024),
        key("hidden_act", f"{BLOCK}.feed_forward.activation", default="gelu", table=ACTIVATIONS),
        key("hidden_dropout_prob", f"{BLOCK}.dropout", "embedding.dropout", "heads.tag.dropout", default=0.1),
        key("attention_probs_dropout_prob", f"{BLOCK}.attention.dropout", default=0.1),
        key("activation_dropout", f"{BLOCK}.feed_forward.dropout", default=0.0),
        key("tie_word_embeddings", "heads.language-model.tied", default=True),
        HeadSize("hidden_size", "num_attention_heads", (f"{BLOCK}.attention.head_dim",), (1024, 16)),
        RootScale("hidden_size", 1024, flag="scale_embedding"),
        TokenIds(pad=1, bos=0, eos=2),
    ),
    rows=(
        Row("embed_tokens", "embedding.tokens", also=("output_projection",)),
        Row("embed_positions", "embedding.positions"),
        Row("layers.{i}.[self_attn final]_layer_norm", "decoder.{i}.[attention feed_forward]_norm_in"),
        Row("layers.{i}.self_attn.[q k v out]_proj", "decoder.{i}.attention.[q k v out]"),
        Row("layers.{i}.[fc1 fc2]", "decoder.{i}.feed_forward.[up down]"),
        Row("layer_norm", "decoder.norm"),
        Row("[output_projection score classifier qa_outputs]", "heads.[language-model classify tag span]", head=True),
    ),
    architectures=decoder_architectures(
        "BioGpt",
        "ForSequenceClassification",
        "ForTokenClassification",
        language_model=TIED,
    ),
    prefix="biogpt.",
)
