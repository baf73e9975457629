"""InternLM2 (Cai et al. 2024, arXiv 2403.17297): LLaMA with grouped queries, whose q, k and v lie group by group."""

from moduformer.families.family import Family
from moduformer.families.llama import BLOCK, architectures, without_keys
from moduformer.families.llama import FAMILY as LLAMA
from moduformer.weights.config import Only, TokenIds, key
from moduformer.weights.plan import Row
from moduformer.weights.views import Axes, Slice


def part(index: int) -> Axes:
    """Of every group: the queries, or the key or the value that they share (section 2.2, figure 2)."""
    return Axes("(g s d) in", "(g s d) in", Slice("s", ("r", 1, 1), index))


FAMILY = Family(
    model_type="internlm2",
    template=LLAMA.template,
    rules=(
        *without_keys("attention_bias", "mlp_bias", "attention_dropout"),
        key("bias", f"{BLOCK}.attention.[bias out_bias]", default=True),
        Only("pretraining_tp", (1,)),
        TokenIds(pad=0, bos=1, eos=2),
    ),
    rows=(
        Row("tok_embeddings", "embedding.tokens", also=("output",)),
        Row("layers.{i}.[attention ffn]_norm", "decoder.{i}.[attention feed_forward]_norm_in"),
        Row("layers.{i}.attention.wqkv", "decoder.{i}.attention.q", part(0)),
        Row("layers.{i}.attention.wqkv", "decoder.{i}.attention.k", part(1)),
        Row("layers.{i}.attention.wqkv", "decoder.{i}.attention.v", part(2)),
        Row("layers.{i}.attention.wo", "decoder.{i}.attention.out"),
        Row("layers.{i}.feed_forward.[w1 w3 w2]", "decoder.{i}.feed_forward.[gate value down]"),
        Row("norm", "decoder.norm"),
        Row("[output score score qa_outputs]", "heads.[language-model classify tag span]", head=True),
    ),
    architectures=architectures("InternLM2", span_prefix="transformer."),
    prefix="model.",
    unused=(r"(model\.)?layers\.\d+\.attention\.rotary_emb\.inv_freq",),
)
