"""Mixtral (Jiang et al. 2024, arXiv 2401.04088): Mistral whose tokens each take two of eight feed-forward experts."""

from dataclasses import replace

from moduformer.architecture import Attention, Block, FeedForward, MixtureOfExperts, Norm, Rotary
from moduformer.families.family import Family, decoder
from moduformer.families.llama import BLOCK, architectures, without_keys
from moduformer.families.llama import FAMILY as LLAMA
from moduformer.weights.config import ACTIVATIONS, Rotation, key
from moduformer.weights.plan import Row

NORM = Norm("rms", 1e-5)
LAYER = Block(
    Attention(32, 128, 8, bias=False, out_bias=False, position=Rotary(128, 1000000.0)),
    MixtureOfExperts(FeedForward(14336, "silu", gated=True, bias=False), experts=8, active=2),
    NORM,
    norm_at=("in",),
)
MOE = "layers.{i}.block_sparse_moe"
EXPERT = "decoder.{i}.feed_forward.experts.{expert}"


FAMILY = Family(
    model_type="mixtral",
    template=replace(LLAMA.template, decoder=decoder(32, LAYER)),
    rules=(
        *without_keys("attention_bias", "mlp_bias", "intermediate_size", "hidden_act"),
        key("rms_norm_eps", f"{BLOCK}.norm.eps", "decoder.final_norm.eps", default=1e-5),
        key("intermediate_size", f"{BLOCK}.feed_forward.expert.width", default=14336),
        key("hidden_act", f"{BLOCK}.feed_forward.expert.activation", default="silu", table=ACTIVATIONS),
        key("num_local_experts", f"{BLOCK}.feed_forward.experts", default=8),
        key("num_experts_per_tok", f"{BLOCK}.feed_forward.active", default=2),
        key("sliding_window", f"{BLOCK}.attention.window"),
        *(replace(rule, base_default=1000000.0) for rule in LLAMA.rules if isinstance(rule, Rotation)),
    ),
    rows=(
        *(row for row in LLAMA.rows if ".mlp." not in row.file),
        Row(f"{MOE}.gate", "decoder.{i}.feed_forward.router"),
        Row(f"{MOE}.experts.{{expert}}.[w1 w3 w2]", f"{EXPERT}.[gate value down]"),
    ),
    architectures=architectures("Mixtral"),
    prefix="model.",
    unused=LLAMA.unused,
)
