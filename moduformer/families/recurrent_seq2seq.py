"""Recurrent encoder-decoders in four steps: states that are copied (Sutskever et al. 2014, arXiv 1409.3215), a summary
at every step (Cho et al. 2014, arXiv 1406.1078), attention (Bahdanau et al. 2015, arXiv 1409.0473), and attention after
the step (Luong et al. 2015, arXiv 1508.04025). No checkpoint in a format of its own was published for any of them, so
their files hold the spec itself and the model's own tensor names.

PyTorch's GRU resets its state after the recurrent product; Bahdanau et al. and the later versions of Cho et al. do it
before. PyTorch's cells have two bias vectors where papers write one.
"""

from moduformer.architecture import RecurrentDecoder, Spec
from moduformer.errors import CheckpointError
from moduformer.families.family import Architecture
from moduformer.families.native import NativeFamily
from moduformer.families.presets import config
from moduformer.weights.plan import NATIVE_ROWS


class RecurrentFamily(NativeFamily):
    """The native format, for recurrent encoder-decoders."""

    def architecture_of(self, spec: Spec) -> str:
        """The one class. Raises `CheckpointError` for a spec of another kind."""
        if not isinstance(spec.decoder, RecurrentDecoder):
            raise CheckpointError(f"{self.model_type} is for recurrent encoder-decoders")
        return "RecurrentModel"


FAMILY = RecurrentFamily(
    model_type="recurrent_seq2seq",
    template=Spec.from_dict(config("seq2seq-lstm")["spec"]),
    rules=(),
    rows=NATIVE_ROWS,
    architectures={"RecurrentModel": Architecture(prefix="")},
)
