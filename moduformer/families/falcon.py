"""Falcon (Almazrouei et al. 2023, arXiv 2311.16867): attention beside feed-forward, key-value heads shared by many.

The 7B has one norm for both and one key-value head; 40B and 180B have a norm each and eight; the RW models
(Penedo et al. 2023, arXiv 2306.01116) are sequential, with ALiBi.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from moduformer.architecture import ALiBi, Attention, Block, Embedding, FeedForward, Norm, Rotary, Spec, Stack
from moduformer.errors import CheckpointError
from moduformer.families.family import DECODER_HEADS, TIED, Family, decoder, decoder_architectures
from moduformer.families.gguf import FUSED_ROWS, SIZES, Header, dialect
from moduformer.weights.config import ACTIVATIONS, Config, Get, HeadSize, Multiple, Rotation, TokenIds, key
from moduformer.weights.plan import Row
from moduformer.weights.views import Axes, Slice

BLOCK = "decoder.pattern.*"
POSITION = f"{BLOCK}.attention.position"
# The reference rounds slope times position to bfloat16, and scales it with the scores.
SLOPES = ALiBi(scaled=True, rounding="bfloat16")
HEAD_SIZE = HeadSize("hidden_size", "num_attention_heads", (f"{BLOCK}.attention.head_dim",), (4544, 71))


@dataclass(frozen=True)
class Generation:
    """The flags that tell the three kinds of Falcon apart: flow, key-value heads, positions."""

    def read(self, config: Config) -> dict[str, Any]:
        """The flow, the key-value heads, and ALiBi in place of rotary positions."""
        new, parallel = config.get("new_decoder_architecture", False), config.get("parallel_attn", True)
        heads, norms = config.get("num_attention_heads", 71), config.get("num_ln_in_parallel_attn") or (2 if new else 1)
        if (new and not parallel) or norms not in (1, 2) or (norms == 2 and parallel and not new):
            raise CheckpointError(
                f"config.json: new_decoder_architecture {new!r:.20} with parallel_attn {parallel!r:.20} and "
                f"num_ln_in_parallel_attn {norms!r:.20} is not a Falcon that was published"
            )
        flow = "sequential" if not parallel else "parallel" if norms == 2 else "parallel-shared"
        shared = (config.get("num_kv_heads") or heads) if new else 1 if config.get("multi_query", True) else heads
        found = {f"{BLOCK}.flow": flow, f"{BLOCK}.attention.kv_heads": shared}
        return {**found, POSITION: SLOPES} if config.get("alibi", False) else found

    def write(self, get: Get) -> dict[str, Any]:
        """The same flags."""
        flow, heads, shared = (get(f"{BLOCK}.{part}") for part in ("flow", "attention.heads", "attention.kv_heads"))
        return {
            "new_decoder_architecture": flow == "parallel" or shared not in (1, heads),
            "parallel_attn": flow != "sequential",
            "num_ln_in_parallel_attn": 2 if flow == "parallel" else 1,
            "multi_query": shared == 1,
            "num_kv_heads": shared,
            "alibi": isinstance(get(POSITION), ALiBi),
        }


def flows(*names: str) -> Callable[[Spec], bool]:
    """Whether a spec's layers have one of these flows, after which files name their norms."""
    return lambda spec: isinstance(spec.decoder, Stack) and spec.decoder.pattern[0].flow in names


def part(name: str, lengths: tuple[int | str, ...], place: int) -> Row:
    """One of q, k and v inside every group of queries that share a key and a value."""
    axes = Axes("(g s d) in", "(g s d) in", Slice("s", lengths, place))
    return Row("h.{i}.self_attention.query_key_value", f"decoder.{{i}}.attention.{name}", axes)


def from_gguf(header: Header) -> dict[str, Any]:
    """What tells the generations apart in a GGUF file: a second norm, or one key-value head."""
    shared = header["falcon.attention.head_count_kv"]
    new = "blk.0.attn_norm_2.weight" in header["tensor_names"]
    return {"new_decoder_architecture": new, "num_kv_heads": shared, "multi_query": shared == 1}


LAYER = Block(
    Attention(71, 64, 1, bias=False, out_bias=False, position=Rotary(64)),
    FeedForward(18176, bias=False),
    Norm(eps=1e-5),
    norm_at=("in",),
    flow="parallel-shared",
)

FAMILY = Family(
    model_type="falcon",
    template=Spec(
        vocab=65024,
        dim=4544,
        embedding=Embedding(4544),
        decoder=decoder(32, LAYER),
    ),
    rules=(
        key("vocab_size", "vocab", default=65024),
        key("hidden_size", "dim", "embedding.width", default=4544),
        key("num_hidden_layers", "decoder.layers", default=32),
        key("num_attention_heads", f"{BLOCK}.attention.heads", default=71),
        key("activation", f"{BLOCK}.feed_forward.activation", default="gelu", table=ACTIVATIONS),
        key("layer_norm_epsilon", f"{BLOCK}.norm.eps", "decoder.final_norm.eps", default=1e-5),
        key("bias", f"{BLOCK}.[attention.bias attention.out_bias feed_forward.bias]", default=False),
        key("hidden_dropout", f"{BLOCK}.dropout", "heads.tag.dropout", default=0.0),
        key("attention_dropout", f"{BLOCK}.attention.dropout", default=0.0),
        key("tie_word_embeddings", "heads.language-model.tied", default=True),
        Multiple("ffn_hidden_size", "hidden_size", (f"{BLOCK}.feed_forward.width",), 4544),
        HEAD_SIZE,
        Generation(),
        Rotation(POSITION, share=None, share_default=1.0, base="rope_theta", head_size=HEAD_SIZE),
        TokenIds(bos=11, eos=11),
    ),
    rows=(
        Row("word_embeddings", "embedding.tokens", also=("lm_head",)),
        Row("h.{i}.input_layernorm", "decoder.{i}.attention_norm_in", where=flows("sequential", "parallel-shared")),
        Row("h.{i}.post_attention_layernorm", "decoder.{i}.feed_forward_norm_in", where=flows("sequential")),
        Row("h.{i}.ln_[attn mlp]", "decoder.{i}.[attention feed_forward]_norm_in", where=flows("parallel")),
        part("q", ("r", 1, 1), 0),
        part("k", ("r", 1, 1), 1),
        part("v", ("r", 1, 1), 2),
        Row("h.{i}.self_attention.dense", "decoder.{i}.attention.out"),
        Row("h.{i}.mlp.dense_[h_to_4h 4h_to_h]", "decoder.{i}.feed_forward.[up down]"),
        Row("ln_f", "decoder.norm"),
        *DECODER_HEADS,
    ),
    architectures=decoder_architectures("Falcon", language_model=TIED),
    prefix="transformer.",
    dialects=dialect(
        "falcon",
        "FalconForCausalLM",
        (
            *FUSED_ROWS,
            Row("blk.{i}.attn_norm", "decoder.{i}.attention_norm_in", where=flows("parallel-shared")),
            Row("blk.{i}.attn_norm", "decoder.{i}.feed_forward_norm_in", where=flows("parallel")),
            Row("blk.{i}.attn_norm_2", "decoder.{i}.attention_norm_in", where=flows("parallel")),
        ),
        {**SIZES, "layer_norm_epsilon": "attention.layer_norm_epsilon", "ffn_hidden_size": "feed_forward_length"},
        more=from_gguf,
    ),
    unused=(r"(transformer\.)?h\.\d+\.self_attention\.(rotary_emb|maybe_rotary)\.inv_freq",),
    older_keys={
        "n_embed": "hidden_size",
        "n_layer": "num_hidden_layers",
        "n_head": "num_attention_heads",
        "n_head_kv": "num_kv_heads",
    },
)
