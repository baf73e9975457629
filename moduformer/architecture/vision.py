"""What a model sees with: image patches, their stack, the bridge to the text, and how the text takes the image in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from moduformer.architecture.parts import Activation, Attention, Embedding, FeedForward, Head, Norm, Stack, _linear


@dataclass(frozen=True)
class Patches:
    """An image cut into squares, each made a vector by one linear layer (Dosovitskiy et al. 2021, eq. 1).

    `image` and `patch` are pixels a side; a `class_token` stands before the squares; every place has a learned
    position; `norm` comes before the first layer (CLIP)."""

    image: int
    patch: int
    channels: int = 3
    bias: bool = True
    class_token: bool = True
    norm: Norm | None = None
    dropout: float = 0.0

    @property
    def tokens(self) -> int:
        """How many vectors an image becomes, the class token among them."""
        return (self.image // self.patch) ** 2 + self.class_token

    def num_parameters(self, dim: int) -> int:
        """Numbers of the linear layer, the class token, the positions and the norm."""
        projection = _linear(self.channels * self.patch**2, dim, self.bias)
        norm = self.norm.num_parameters(dim) if self.norm else 0
        return projection + dim * (self.class_token + self.tokens) + norm


@dataclass(frozen=True)
class Projector:
    """Image vectors to the width of the text: one linear layer, or two with an activation between (LLaVA 1.5).

    So many neighbours are `joined`, one behind the other, to one vector first."""

    activation: Activation | None = None
    bias: bool = True
    joined: int = 1

    def num_parameters(self, inputs: int, outputs: int) -> int:
        """Numbers of one or two linear layers."""
        second = _linear(outputs, outputs, self.bias) if self.activation else 0
        return _linear(self.joined * inputs, outputs, self.bias) + second


@dataclass(frozen=True)
class QFormer:
    """Learned `queries` that attend to themselves and, in blocks with cross-attention, to the image (Li et al. 2023).

    `norm` comes before the first block, a linear layer to the width of the text after the last. With a `text` embedding
    of `vocab` words the queries also attend to an instruction, whose tokens have feed-forward layers of their own
    (InstructBLIP)."""

    queries: int
    dim: int
    stack: Stack
    norm: Norm
    text: Embedding | None = None
    vocab: int | None = None

    def num_parameters(self, inputs: int, outputs: int) -> int:
        """Numbers of queries, blocks, the instruction's tables and feed-forward layers, and the projection."""
        own = self.queries * self.dim + self.norm.num_parameters(self.dim) + self.stack.num_parameters(self.dim, inputs)
        text = 0
        if self.text is not None:
            text = self.text.num_parameters(self.vocab or 0, self.dim)
            for i in range(self.stack.weight_sets):
                block = self.stack.block(i)
                text += block.feed_forward.num_parameters(self.dim)
                text += len(block.norm_at) * block.norm.num_parameters(self.dim)
        return own + text + _linear(self.dim, outputs, True)


@dataclass(frozen=True)
class Resampler:
    """Learned `queries` that attend, in each of the `layers`, to the image and themselves at once, normed apart, and
    are fed forward (Alayrac et al. 2022, Flamingo, section 2.1; Ye et al. 2023, mPLUG-Owl, section 3.1).

    The residual of the attention adds to the queries as they came or as normed before it. `final_norm` comes after the
    last layer, then a linear layer to the width of the text where it is `projected`, then a learned vector behind all
    others where there is an `end`."""

    queries: int
    dim: int
    layers: int
    attention: Attention
    feed_forward: FeedForward
    norm: Norm
    residual: Literal["input", "normed"] = "input"
    final_norm: Norm | None = None
    projected: bool = True
    end: bool = False

    @property
    def weight_sets(self) -> int:
        """How many layers have weights of their own."""
        return self.layers

    @property
    def tokens(self) -> int:
        """How many vectors it makes of an image."""
        return self.queries + self.end

    def num_parameters(self, inputs: int, outputs: int) -> int:
        """Numbers of queries, layers, the final norm, the projection and the end."""
        layer = self.attention.num_parameters(self.dim) + self.feed_forward.num_parameters(self.dim)
        layer += 3 * self.norm.num_parameters(self.dim)
        last = self.final_norm.num_parameters(self.dim) if self.final_norm else 0
        last += _linear(self.dim, outputs, True) if self.projected else 0
        return self.queries * self.dim + self.layers * layer + last + self.end * self.out_dim(outputs)

    def out_dim(self, text: int) -> int:
        """The width of the vectors it makes for a text of that width."""
        return text if self.projected else self.dim


ImageBridge = Projector | QFormer | Resampler


@dataclass(frozen=True)
class Vision:
    """An image encoder beside the text's stacks, or alone.

    `depth` is how many layers are run (None: all, and the final norm); `class_kept` says whether the class token goes
    on to the text. `injection`: image vectors stand in for the tokens `image_token` ("tokens"), the first stack of the
    text attends to them ("cross"), or the two only meet in what `heads` make of each ("beside"): `heads` here read the
    image, those of the `Spec` the text. `temperature` is a learned scale of their cosines (Radford et al. 2021).

    Where a text that attends to images ("cross") has an `image_token` for each of them, a token sees one image alone:
    that of the last image token up to its own place, or else, an image token its own and all others the "next"."""

    dim: int
    patches: Patches
    stack: Stack
    heads: tuple[Head, ...] = ()
    depth: int | None = None
    class_kept: bool = True
    bridge: ImageBridge | None = None
    injection: Literal["tokens", "cross", "beside"] = "beside"
    image_token: int | None = None
    temperature: bool = False
    visible: Literal["last", "next"] = "last"

    def out_dim(self, text: int) -> int:
        """The width of the vectors that the text takes in; `text` is its own."""
        if isinstance(self.bridge, Resampler):
            return self.bridge.out_dim(text)
        return self.dim if self.bridge is None else text

    @property
    def one_image_a_token(self) -> bool:
        """Whether every token of the text looks at one of the images, told by its image tokens."""
        return self.injection == "cross" and self.image_token is not None

    @property
    def out_tokens(self) -> int:
        """How many vectors of an image the text takes in."""
        if isinstance(self.bridge, QFormer):
            return self.bridge.queries
        if isinstance(self.bridge, Resampler):
            return self.bridge.tokens
        tokens = self.patches.tokens - (self.patches.class_token and not self.class_kept)
        return tokens // self.bridge.joined if isinstance(self.bridge, Projector) else tokens

    def num_parameters(self, text: int) -> int:
        """Numbers of patches, stack, heads and bridge, before a text of that width."""
        bridge = self.bridge.num_parameters(self.dim, text) if self.bridge else 0
        heads = sum(head.num_parameters(0, self.dim) for head in self.heads)
        inner = self.patches.num_parameters(self.dim) + self.stack.num_parameters(self.dim)
        return inner + heads + bridge + self.temperature
