"""Architecture as data: a frozen `Spec` composed of small specs.

Every part that changes the numbers a Transformer computes is a field of one of these dataclasses, named in the
standard terms of the field. No field names a model family: BERT, GPT-2 and T5 are values, not types. `blocks` builds
modules from them, `families` relates them to checkpoints.
"""

from moduformer.architecture.difference import MISSING, Change, Difference
from moduformer.architecture.parts import (
    Activation,
    ALiBi,
    Attention,
    Block,
    Convolution,
    Disentangled,
    DistanceVectors,
    DynamicScaling,
    Embedding,
    EntityStream,
    FeedForward,
    Head,
    HeadKind,
    Infilling,
    LearnedPositions,
    LinearScaling,
    Llama3Scaling,
    MixtureOfExperts,
    Norm,
    RelativeBuckets,
    RelativeSinusoids,
    Rotary,
    Sinusoids,
    Stack,
    Transform,
    YarnScaling,
)
from moduformer.architecture.recurrent import (
    AdditiveAttention,
    Bridge,
    MultiplicativeAttention,
    Readout,
    Recurrent,
    RecurrentDecoder,
    Summary,
)
from moduformer.architecture.spec import Spec
from moduformer.architecture.validation import MAX_LAYERS, MAX_SIZE
from moduformer.architecture.vision import Patches, Projector, QFormer, Vision

__all__ = [
    "MAX_LAYERS",
    "MAX_SIZE",
    "MISSING",
    "ALiBi",
    "Activation",
    "AdditiveAttention",
    "Attention",
    "Block",
    "Bridge",
    "Change",
    "Convolution",
    "Difference",
    "Disentangled",
    "DistanceVectors",
    "DynamicScaling",
    "Embedding",
    "EntityStream",
    "FeedForward",
    "Head",
    "HeadKind",
    "Infilling",
    "LearnedPositions",
    "LinearScaling",
    "Llama3Scaling",
    "MixtureOfExperts",
    "MultiplicativeAttention",
    "Norm",
    "Patches",
    "Projector",
    "QFormer",
    "Readout",
    "Recurrent",
    "RecurrentDecoder",
    "RelativeBuckets",
    "RelativeSinusoids",
    "Rotary",
    "Sinusoids",
    "Spec",
    "Stack",
    "Summary",
    "Transform",
    "Vision",
    "YarnScaling",
]
