"""AWD-LSTM (Merity et al. 2018, arXiv 1708.02182), the language model of ULMFiT (Howard & Ruder 2018, 1801.06146).

Keys of the config and names of tensors are fastai's, of its versions 1 and 2 (`text/models/awdlstm.py`); those of the
first release (0.7) are read too. `backward` is a key of our own: fastai feeds such a model reversed texts. fastai's
classifier normalises batches, so its head is not among the rows; a new one reads the same pooled states.
"""

from moduformer.architecture import Embedding, Head, Recurrent, Spec, Transform
from moduformer.families.family import Architecture, Family
from moduformer.weights.config import Only, key
from moduformer.weights.plan import Row

WRITE = Head("language-model", tied=True)
CLASSIFY = Head("classify", "concat", transform=Transform(50, "relu"), outputs=2)
BODIES = ("0.", "0.module.", "")


def everywhere(*names: str) -> tuple[str, ...]:
    """A tensor's names in files of a language model, of a classifier, and of an encoder alone."""
    return tuple(body + name for name in names for body in BODIES)


FAMILY = Family(
    model_type="awd_lstm",
    template=Spec(
        vocab=60000,
        dim=400,
        embedding=Embedding(400),
        decoder=Recurrent("lstm", 3, 1152, 400, variational=True),
    ),
    rules=(
        key("vocab_sz", "vocab", default=60000),
        key("emb_sz", "dim", "embedding.width", "decoder.last_width", default=400),
        key("n_hid", "decoder.width", default=1152),
        key("n_layers", "decoder.layers", default=3),
        key("backward", "decoder.direction", default=False, table={False: "forward", True: "backward"}),
        key("embed_p", "embedding.token_dropout", default=0.02),
        key("input_p", "decoder.input_dropout", default=0.25),
        key("hidden_p", "decoder.dropout", default=0.15),
        key("weight_p", "decoder.weight_dropout", default=0.2),
        key("output_p", "decoder.final_dropout", default=0.1),
        key("tie_weights", "heads.language-model.tied", default=True),
        key("out_bias", "heads.language-model.bias", default=True),
        key("classifier_width", "heads.classify.transform.width", default=50),
        key("classifier_p", "heads.classify.dropout", default=0.1),
        key("pad_token", "pad_id", default=1),
        Only("bidir", (False,)),
        Only("qrnn", (False,)),
    ),
    rows=(
        Row("encoder", "embedding.tokens", also=(*everywhere("encoder_dp.emb"), "1.decoder")),
        Row("rnns.{i}.module.[weight_ih bias_ih bias_hh]_l0", "decoder.{i}.[weight_ih bias_ih bias_hh]_l0"),
        # What dropout leaves of the matrix, kept beside it by version 1; while a model is evaluated, all of it.
        Row("rnns.{i}.weight_hh_l0_raw", "decoder.{i}.weight_hh_l0", also=everywhere("rnns.{i}.module.weight_hh_l0")),
        Row("1.decoder", "heads.language-model", head=True),
        Row("classifier.[dense out]", "heads.[classify.transform.dense classify]", head=True),
    ),
    architectures={
        "AWDLSTMLanguageModel": Architecture((WRITE,)),
        "AWDLSTMForSequenceClassification": Architecture((CLASSIFY,), prefix="0.module."),
        "AWDLSTMModel": Architecture(prefix=""),
    },
    prefix="0.",
    older_names=(("encoder_with_dropout.embed", "encoder_dp.emb"), (".module.weight_hh_l0_raw", ".weight_hh_l0_raw")),
)
