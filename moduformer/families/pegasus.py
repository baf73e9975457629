"""PEGASUS (Zhang et al. 2020, arXiv 1912.08777): a pre-norm encoder-decoder with sinusoids, sines before cosines."""

from moduformer.architecture import Embedding, Sinusoids
from moduformer.families import bart
from moduformer.families.family import Architecture, Family
from moduformer.families.marian import POSITIONS
from moduformer.weights.config import TokenIds

FAMILY = Family(
    model_type="pegasus",
    template=bart.template(Embedding(1024, Sinusoids("halves")), ("in",), bart.NORM, 50265),
    rules=bart.rules(50265, bart.TIED, *bart.older(True, True, False, True), TokenIds(pad=0, eos=1, decoder_start=0)),
    rows=bart.ROWS,
    architectures={
        "PegasusModel": Architecture(prefix=""),
        "PegasusForConditionalGeneration": Architecture((bart.LANGUAGE_MODEL,)),
    },
    prefix="model.",
    unused=bart.UNUSED,
    computed=POSITIONS,
)
