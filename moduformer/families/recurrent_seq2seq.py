"""Recurrent encoder-decoders in four steps: states that are copied (Sutskever et al. 2014, arXiv 1409.3215), a summary
at every step (Cho et al. 2014, arXiv 1406.1078), attention (Bahdanau et al. 2015, arXiv 1409.0473), and attention after
the step (Luong et al. 2015, arXiv 1508.04025). No checkpoint in a format of its own was published for any of them, so
their files hold the spec itself and the model's own tensor names.

PyTorch's GRU resets its state after the recurrent product; Bahdanau et al. and the later versions of Cho et al. do it
before. PyTorch's cells have two bias vectors where papers write one.
"""

from moduformer.architecture import (
    AdditiveAttention,
    Bridge,
    Embedding,
    Head,
    MultiplicativeAttention,
    Readout,
    Recurrent,
    RecurrentDecoder,
    Spec,
    Summary,
)
from moduformer.errors import CheckpointError
from moduformer.families.family import Architecture
from moduformer.families.native import NativeFamily
from moduformer.weights.plan import NATIVE_ROWS


def translator(sources: int, targets: int, dim: int, encoder: Recurrent, decoder: RecurrentDecoder) -> Spec:
    """An encoder-decoder with a table and a vocabulary for each language, and an output layer of its own."""
    return Spec(
        vocab=sources,
        dim=dim,
        embedding=Embedding(dim),
        encoder=encoder,
        decoder=decoder,
        heads=(Head("language-model", bias=False),),
        target_embedding=Embedding(dim),
        target_vocab=targets,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        decoder_start_id=1,
    )


DEEP = Recurrent("lstm", 4, 1000)
WIDE = Recurrent("gru", 1, 1000, bias=False)
PUBLISHED = {
    "seq2seq-lstm": translator(
        160_000, 80_000, 1000, Recurrent("lstm", 4, 1000, direction="backward"), RecurrentDecoder(DEEP)
    ),
    "seq2seq-gru": translator(
        15_000,
        15_000,
        100,
        WIDE,
        RecurrentDecoder(
            WIDE,
            Bridge("summary", bias=False),
            Summary(1000, bias=False),
            readout=Readout(500, "maxout", ("state", "input", "context")),
        ),
    ),
    "seq2seq-gru-bahdanau": translator(
        30_000,
        30_000,
        620,
        Recurrent("gru", 1, 1000, direction="both", bias=False),
        RecurrentDecoder(
            WIDE,
            Bridge("backward", bias=False),
            AdditiveAttention(1000),
            readout=Readout(500, "maxout", ("previous", "input", "context")),
        ),
    ),
    "seq2seq-lstm-luong": translator(
        50_000,
        50_000,
        1000,
        Recurrent("lstm", 4, 1000, direction="backward", dropout=0.2),
        RecurrentDecoder(
            Recurrent("lstm", 4, 1000, dropout=0.2),
            context=MultiplicativeAttention("general"),
            context_at="output",
            readout=Readout(1000, "tanh", ("context", "state")),
            input_feeding=True,
        ),
    ),
}


class RecurrentFamily(NativeFamily):
    """The native format, for recurrent encoder-decoders."""

    def architecture_of(self, spec: Spec) -> str:
        """The one class. Raises `CheckpointError` for a spec of another kind."""
        if not isinstance(spec.decoder, RecurrentDecoder):
            raise CheckpointError(f"{self.model_type} is for recurrent encoder-decoders")
        return "RecurrentModel"


FAMILY = RecurrentFamily(
    model_type="recurrent_seq2seq",
    template=PUBLISHED["seq2seq-lstm"],
    rules=(),
    rows=NATIVE_ROWS,
    architectures={"RecurrentModel": Architecture(prefix="")},
    presets={name: {"spec": spec.to_dict()} for name, spec in PUBLISHED.items()},
)
