"""GLM-130B (Zeng et al. 2022, arXiv 2210.02414): ChatGLM's layers with a gated feed-forward layer and plain rotary.

Its weights are a SwissArmyTransformer checkpoint, whose names these are; behind [gMASK] positions run on.
"""

from dataclasses import replace

from moduformer.architecture import FeedForward, Infilling, Rotary, Spec, Stack
from moduformer.families.blanks import Blanks
from moduformer.families.chatglm import RULES, TEMPLATE, WRITER, Residual, rows
from moduformer.families.family import Family
from moduformer.weights.config import TokenIds
from moduformer.weights.plan import Row
from moduformer.weights.views import Axes, Slice


def template() -> Spec:
    """ChatGLM-6B, changed."""
    stack = TEMPLATE.decoder
    assert isinstance(stack, Stack)
    block = stack.pattern[0]
    attention = replace(block.attention, position=Rotary(128))
    block = replace(block, attention=attention, feed_forward=FeedForward(32768, "gelu", gated=True))
    return replace(
        TEMPLATE,
        decoder=replace(stack, pattern=(block,)),
        infilling=Infilling(150004, (150000, 150002, 150001), running=(150001,)),
    )


def half(index: int) -> Axes:
    """One of the two halves of the first projection: GEGLU multiplies the first by the activation of the second."""
    return Axes("(s w) in", "(s w) in", Slice("s", (1, 1), index))


FAMILY = Family(
    model_type="glm_130b",
    template=template(),
    rules=(
        *(rule for rule in RULES if not isinstance(rule, Residual)),
        Residual(70),
        TokenIds(bos=150004, eos=150005),
        Blanks(
            ("bos_token_id", 150004),
            (("mask_token_id", 150000), ("smask_token_id", 150002), ("gmask_token_id", 150001)),
            running=("gmask_token_id",),
        ),
    ),
    rows=rows(
        None,
        Row("layers.{i}.mlp.dense_h_to_4h", "decoder.{i}.feed_forward.value", half(0)),
        Row("layers.{i}.mlp.dense_h_to_4h", "decoder.{i}.feed_forward.gate", half(1)),
    ),
    architectures={"GLM130B": WRITER},
    prefix="transformer.",
    unused=(r"mixins\.rotary-embedding\.rotary_emb\.inv_freq",),
)
