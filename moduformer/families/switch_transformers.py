"""Switch Transformers (Fedus et al. 2022, arXiv 2101.03961): T5 whose every other layer chooses one of many experts."""

from dataclasses import dataclass, replace
from typing import Any

from moduformer.architecture import Block, FeedForward, MixtureOfExperts, Stack
from moduformer.errors import CheckpointError
from moduformer.families import t5
from moduformer.families.family import Architecture, Family
from moduformer.weights.config import Config, Get, Only, key, layer_count
from moduformer.weights.plan import Row

EXPERTS = MixtureOfExperts(FeedForward(2048, "relu", bias=False), 8, active=1, normalised=False, capacity=64)


def dense(side: str) -> Block:
    """A layer of T5."""
    stack = getattr(t5.FAMILY.template, side)
    assert isinstance(stack, Stack)
    return stack.pattern[0]


@dataclass(frozen=True)
class Depth(t5.Sizes):
    """T5's sizes, for a decoder of 12 layers by default; the output is scaled where it is tied."""

    default: tuple[int, int] = (768, 12)

    def read(self, config: Config) -> dict[str, Any]:
        """T5's values."""
        return super().read({"num_decoder_layers": 12, **config, "scale_decoder_outputs": True})

    def write(self, get: Get) -> dict[str, Any]:
        """The same keys back."""
        return {name: value for name, value in super().write(get).items() if name != "scale_decoder_outputs"}


@dataclass(frozen=True)
class Sparse:
    """Which layers of a stack have experts: those of number 1 in every `step` layers, or all where the step is 1.

    The step is a key of its own, or the layers divided by the number of sparse ones."""

    side: str
    layers: str

    def read(self, config: Config) -> dict[str, Any]:
        """The pattern of a stack's blocks."""
        layers = (
            layer_count(config, self.layers, 12) if config.get(self.layers) else layer_count(config, "num_layers", 12)
        )
        sparse, step = config.get(f"num_sparse_{self.side}_layers", 3), config.get(f"{self.side}_sparse_step")
        for value in (sparse, 0 if step is None else step):
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 1_000_000:
                raise CheckpointError(f"config.json: {value!r:.80} is not a number of sparse layers, or a step of them")
        if step is None:
            step = layers // sparse if sparse else layers
        block = dense(self.side)
        expert = replace(block, feed_forward=EXPERTS)
        if step == 1:
            return {f"{self.side}.pattern": (expert,)}
        if step == 0:
            return {f"{self.side}.pattern": (block,)}
        period = range(min(step, layers))
        return {f"{self.side}.pattern": tuple(expert if i == 1 else block for i in period)}

    def write(self, get: Get) -> dict[str, Any]:
        """The step and the number of sparse layers."""
        pattern, layers = get(f"{self.side}.pattern"), get(f"{self.side}.layers")
        sparse = [isinstance(pattern[i % len(pattern)].feed_forward, MixtureOfExperts) for i in range(layers)]
        if self.side == "encoder" and not any(sparse):
            raise CheckpointError("a Switch Transformer has experts; without them it is T5")
        step = 0 if not any(sparse) else 1 if all(sparse) else len(pattern)
        return {f"{self.side}_sparse_step": step, f"num_sparse_{self.side}_layers": sum(sparse)}


FAMILY = Family(
    model_type="switch_transformers",
    template=t5.FAMILY.template,
    rules=(
        Depth(),
        *t5.rules(32128, 768, 12, 12, 2048),
        Sparse("encoder", "num_layers"),
        Sparse("decoder", "num_decoder_layers"),
        t5.Activation(name="dense_act_fn"),
        key("num_experts", f"{t5.BLOCKS}.feed_forward.experts", default=8),
        key("expert_capacity", f"{t5.BLOCKS}.feed_forward.capacity", default=64),
        key("router_bias", f"{t5.BLOCKS}.feed_forward.router_bias", default=False),
        Only("router_dtype", ("float32",)),
    ),
    rows=(
        *t5.ROWS,
        t5.feed_forward("mlp"),
        t5.feed_forward("mlp.experts.expert_{expert}", "feed_forward.experts.{expert}"),
        Row(f"{t5.INNER}.mlp.router.classifier", "[encoder decoder].{i}.feed_forward.router"),
    ),
    architectures={
        "SwitchTransformersModel": Architecture(),
        "SwitchTransformersForConditionalGeneration": Architecture((t5.LANGUAGE_MODEL,)),
        "SwitchTransformersEncoderModel": Architecture(without=("decoder",)),
    },
    unused=t5.UNUSED,
)
