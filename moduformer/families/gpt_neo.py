"""GPT-Neo (Black et al. 2021): GPT-2 whose layers see all tokens and a window in turn, with scores left unscaled."""

from typing import Any

from moduformer.architecture import Attention, Block, Embedding, FeedForward, LearnedPositions, Norm, Spec
from moduformer.errors import CheckpointError
from moduformer.families.family import DECODER_HEADS, TIED, Family, decoder, decoder_architectures
from moduformer.weights.config import ACTIVATIONS, Config, HeadSize, LayerWindows, Multiple, TokenIds, key, layer_count
from moduformer.weights.plan import Row

BLOCK = "decoder.pattern.*"
LAYER = Block(
    Attention(16, 128, 16, bias=False, scale=1.0), FeedForward(8192, "gelu_tanh"), Norm(eps=1e-5), norm_at=("in",)
)


def read_windows(config: Config) -> list[int | None]:
    """The window of every layer, from `attention_types`: names of kinds, and how often they repeat."""
    layers, window = layer_count(config, "num_layers", 24), config.get("window_size", 256)
    kinds: list[str] = []
    for names, times in config.get("attention_types") or [[["global", "local"], 12]]:
        if not isinstance(times, int) or len(names) * times > layers:
            break
        kinds += names * times
    if len(kinds) != layers or not set(kinds) <= {"global", "local"}:
        raise CheckpointError(f'config.json: attention_types must say "global" or "local" for each of {layers} layers')
    return [window if kind == "local" else None for kind in kinds]


def write_windows(windows: list[int | None]) -> dict[str, Any]:
    """The keys that say so."""
    kinds = ["global" if window is None else "local" for window in windows]
    found: dict[str, Any] = {"attention_types": [[kinds, 1]], "attention_layers": kinds}
    return {**found, "window_size": max(filter(None, windows), default=256)}


FAMILY = Family(
    model_type="gpt_neo",
    template=Spec(
        vocab=50257,
        dim=2048,
        embedding=Embedding(2048, LearnedPositions(2048)),
        decoder=decoder(24, LAYER),
    ),
    rules=(
        key("vocab_size", "vocab", default=50257),
        key("hidden_size", "dim", "embedding.width", default=2048),
        key("num_layers", "decoder.layers", default=24),
        key("num_heads", f"{BLOCK}.attention.[heads kv_heads]", default=16),
        key("max_position_embeddings", "embedding.positions.max", default=2048),
        key("activation_function", f"{BLOCK}.feed_forward.activation", default="gelu_new", table=ACTIVATIONS),
        key("layer_norm_epsilon", f"{BLOCK}.norm.eps", "decoder.final_norm.eps", default=1e-5),
        key("resid_dropout", f"{BLOCK}.dropout", default=0.0),
        key("embed_dropout", "embedding.dropout", default=0.0),
        key("attention_dropout", f"{BLOCK}.attention.dropout", default=0.0),
        key("classifier_dropout", "heads.tag.dropout", default=0.1),
        key("tie_word_embeddings", "heads.language-model.tied", default=True),
        Multiple("intermediate_size", "hidden_size", (f"{BLOCK}.feed_forward.width",), 2048),
        HeadSize("hidden_size", "num_heads", (f"{BLOCK}.attention.head_dim",), (2048, 16)),
        LayerWindows("decoder", LAYER, read_windows, write_windows),
        TokenIds(bos=50256, eos=50256),
    ),
    rows=(
        Row("wte", "embedding.tokens", also=("lm_head",)),
        Row("wpe", "embedding.positions"),
        Row("h.{i}.ln_[1 2]", "decoder.{i}.[attention feed_forward]_norm_in"),
        Row("h.{i}.attn.attention.[q k v out]_proj", "decoder.{i}.attention.[q k v out]"),
        Row("h.{i}.mlp.c_[fc proj]", "decoder.{i}.feed_forward.[up down]"),
        Row("ln_f", "decoder.norm"),
        *DECODER_HEADS,
    ),
    architectures=decoder_architectures("GPTNeo", language_model=TIED),
    prefix="transformer.",
    unused=(r"(transformer\.)?h\.\d+\.attn\.attention\.(bias|masked_bias)",),
    older_keys={"num_hidden_layers": "num_layers", "num_attention_heads": "num_heads"},
)
