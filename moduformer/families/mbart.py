"""mBART (Liu et al. 2020, arXiv 2001.08210) and mBART-50: BART with norms before its sub-layers and one at the end.

A target's inputs begin with its own last token, the code of its language."""

from dataclasses import replace

from moduformer.families import bart
from moduformer.families.family import Family
from moduformer.weights.config import TokenIds

FINAL = bart.NORM

FAMILY = Family(
    model_type="mbart",
    template=replace(bart.template(bart.EMBEDDING, ("in",), FINAL, 50265), target_start="last"),
    rules=bart.rules(
        50265, bart.LEARNED, bart.TIED, *bart.older(True, True, True, False), TokenIds(pad=1, bos=0, eos=2)
    ),
    rows=bart.ROWS,
    architectures=bart.architectures("MBart"),
    prefix="model.",
    unused=bart.UNUSED,
    older_keys={"classif_dropout": "classifier_dropout"},
)
