"""Gemma (Gemma Team 2024, arXiv 2403.08295): LLaMA with scaled token vectors, gated GELU and norms that store w - 1."""

from dataclasses import replace

from moduformer.architecture import Attention, Block, FeedForward, Norm, Rotary
from moduformer.families.family import Family, decoder
from moduformer.families.gguf import dialect, gated_rows
from moduformer.families.llama import BLOCK, architectures, without_keys
from moduformer.families.llama import FAMILY as LLAMA
from moduformer.weights.config import ACTIVATIONS, Only, RootScale, TokenIds, key

NORM = Norm("rms", 1e-6, unit_offset=True)
LAYER = Block(
    Attention(16, 256, 16, bias=False, out_bias=False, position=Rotary(256)),
    FeedForward(24576, "gelu_tanh", gated=True, bias=False),
    NORM,
    norm_at=("in",),
)
TEMPLATE = replace(LLAMA.template, decoder=decoder(28, LAYER))
RULES = (
    *without_keys("hidden_act", "mlp_bias"),
    key("vocab_size", "vocab", default=256000),
    key("tie_word_embeddings", "heads.language-model.tied", default=True),
    Only("use_bidirectional_attention", (None, False)),
    TokenIds(pad=0, bos=2, eos=1),
)
# The first configs say "gelu" and mean its approximation, which the models were trained with.
GELU = {"gelu_pytorch_tanh": "gelu_tanh", **ACTIVATIONS, "gelu": "gelu_tanh"}


FAMILY = Family(
    model_type="gemma",
    template=TEMPLATE,
    rules=(
        *RULES,
        key("hidden_act", f"{BLOCK}.feed_forward.activation", default="gelu_pytorch_tanh", table=GELU),
        RootScale("hidden_size", 3072),
    ),
    rows=LLAMA.rows,
    architectures=architectures("Gemma", "ForSequenceClassification", "ForTokenClassification"),
    prefix="model.",
    unused=LLAMA.unused,
    # llama.cpp adds the one to the norms' weights, and leaves the output out because it is tied.
    dialects=dialect("gemma", "GemmaForCausalLM", gated_rows(plus=1.0)),
)
