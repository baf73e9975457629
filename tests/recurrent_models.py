"""Small recurrent specs, and for every field of their parts another value that must change the numbers."""

from typing import Any

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


def _translator(encoder: Recurrent, decoder: RecurrentDecoder) -> Spec:
    write = (Head("language-model"),)
    return Spec(40, 8, Embedding(8), encoder, decoder, write, pad_id=0, eos_id=2, decoder_start_id=1)


RECURRENT: dict[str, Spec] = {
    "awd_lstm": Spec(
        40, 8, Embedding(8), None, Recurrent("lstm", 2, 10, 8), (Head("language-model", tied=True),), pad_id=1
    ),
    "copied": _translator(Recurrent("gru", 1, 10), RecurrentDecoder(Recurrent("gru", 1, 10))),
    "cho": _translator(
        Recurrent("gru", 1, 10),
        RecurrentDecoder(
            Recurrent("gru", 1, 10), Bridge(), Summary(6), readout=Readout(7, "maxout", ("state", "input"))
        ),
    ),
    "bahdanau": _translator(
        Recurrent("gru", 1, 10, direction="both"),
        RecurrentDecoder(Recurrent("gru", 1, 10), Bridge("backward"), AdditiveAttention(6)),
    ),
    "luong": _translator(
        Recurrent("lstm", 1, 10),
        RecurrentDecoder(
            Recurrent("lstm", 1, 10), None, MultiplicativeAttention(), "output", Readout(7), input_feeding=True
        ),
    ),
}

CASES: dict[tuple[str, str], tuple[str, str, Any]] = {
    ("Recurrent", "cell"): ("awd_lstm", "decoder.cell", "gru"),
    ("Recurrent", "layers"): ("awd_lstm", "decoder.layers", 3),
    ("Recurrent", "width"): ("awd_lstm", "decoder.width", 11),
    ("Recurrent", "last_width"): ("bahdanau", "encoder.last_width", 9),
    ("Recurrent", "direction"): ("awd_lstm", "decoder.direction", "backward"),
    ("Recurrent", "bias"): ("awd_lstm", "decoder.bias", False),
    ("Recurrent", "input_dropout"): ("awd_lstm", "decoder.input_dropout", 0.5),
    ("Recurrent", "dropout"): ("awd_lstm", "decoder.dropout", 0.5),
    ("Recurrent", "weight_dropout"): ("awd_lstm", "decoder.weight_dropout", 0.5),
    ("Recurrent", "final_dropout"): ("luong", "decoder.cells.final_dropout", 0.5),
    ("RecurrentDecoder", "cells"): ("bahdanau", "decoder.cells", Recurrent("lstm", 1, 10)),
    ("RecurrentDecoder", "bridge"): ("copied", "decoder.bridge", Bridge()),
    ("RecurrentDecoder", "context"): ("bahdanau", "decoder.context", MultiplicativeAttention()),
    ("RecurrentDecoder", "context_at"): ("luong", "decoder.context_at", "input"),
    ("RecurrentDecoder", "readout"): ("luong", "decoder.readout", Readout(7, "maxout")),
    ("RecurrentDecoder", "input_feeding"): ("luong", "decoder.input_feeding", False),
    ("Bridge", "reads"): ("bahdanau", "decoder.bridge.reads", "last"),
    ("Bridge", "bias"): ("cho", "decoder.bridge.bias", False),
    ("Summary", "width"): ("cho", "decoder.context.width", 5),
    ("Summary", "bias"): ("cho", "decoder.context.bias", False),
    ("AdditiveAttention", "width"): ("bahdanau", "decoder.context.width", 5),
    ("AdditiveAttention", "bias"): ("bahdanau", "decoder.context.bias", True),
    ("MultiplicativeAttention", "score"): ("luong", "decoder.context.score", "dot"),
    ("Readout", "width"): ("luong", "decoder.readout.width", 6),
    ("Readout", "activation"): ("luong", "decoder.readout.activation", "maxout"),
    ("Readout", "reads"): ("cho", "decoder.readout.reads", ("previous", "input")),
    ("Readout", "bias"): ("luong", "decoder.readout.bias", True),
    ("Embedding", "token_dropout"): ("awd_lstm", "embedding.token_dropout", 0.5),
}
