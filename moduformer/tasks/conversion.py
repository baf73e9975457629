"""A model in another type of weights: measured before and after on the user's own data, and only written if it holds.

Quantisation that ruins a model unseen is the fault to prevent: precision fell from 0.83 to 0.49 in a published case
(huggingface/optimum#151).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from moduformer.errors import CheckpointError, DataError
from moduformer.loading import load
from moduformer.model import Model
from moduformer.pipelines.windowing import longest_row, windower
from moduformer.quantize import SCHEMES, quantize
from moduformer.sources.resolve import resolve
from moduformer.tasks.classification_run import evaluate_examples, labelled_rows
from moduformer.tasks.text_classifier import SETTINGS_FILE, TextClassifier
from moduformer.train.columns import guess_text_column
from moduformer.train.encoded import Encoded
from moduformer.train.evaluation import mean_features, mean_loss
from moduformer.train.objectives import NextToken
from moduformer.train.tables import read_table
from moduformer.weights.tensor_file import check_finite

FLOATS = ("float32", "bfloat16", "float16")
DTYPES = (*FLOATS, *SCHEMES)
"""What `convert` writes."""

WINDOW = 512
"""Tokens of a piece whose perplexity is measured; longer texts are cut into pieces, and every token counts."""


@dataclass(frozen=True)
class Rows:
    """Data to measure on: a file, and the columns of its texts, labels and second texts where they are not guessed."""

    file: str
    text: str | None = None
    labels: Sequence[str] = ()
    pair: str | None = None


@dataclass(frozen=True)
class Measured:
    """A model before and after conversion, on `rows` rows.

    `metric` is accuracy (of multi-label: share of texts whose labels are all right), perplexity, or for a model without
    a head to measure the cosine between vectors (mean states) before and after. `agreement` is the share of texts that
    get the same answer.
    """

    metric: str
    before: float
    after: float
    rows: int
    agreement: float | None = None

    @property
    def loss(self) -> float:
        """What is lost: accuracy or cosine as an absolute difference, perplexity relative to what it was."""
        if self.metric == "perplexity":
            return self.after / self.before - 1
        return self.before - self.after


@dataclass
class Conversion:
    """A converted model that is not written yet."""

    dtype: str | None
    model: Model
    classifier: TextClassifier | None
    source_bytes: int
    measured: Measured | None = None

    def check(self, max_loss: float) -> None:
        """Raises `CheckpointError` if more than `max_loss` was lost (or the result is not a number)."""
        found = self.measured
        if found is not None and not found.loss <= max_loss:
            raise CheckpointError(
                f"{self.dtype} takes {found.metric} from {found.before:.4f} to {found.after:.4f} on {found.rows:,} "
                f"rows, a loss of {found.loss:.4f}, past the limit of {max_loss:g}; nothing was written. "
                "Take a wider type, or allow more with --max-loss"
            )

    def write(self, folder: Path) -> int:
        """Writes the model. Returns the bytes of its weights on disk."""
        try:
            (self.classifier or self.model).save(folder)
            return weight_bytes(folder)
        except OSError as error:
            raise CheckpointError(f"{folder} cannot be written: {error.strerror or error}") from None

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe facts."""
        found = self.measured
        numbers = None if found is None else asdict(found) | {"loss": found.loss}
        return {"dtype": self.dtype, "source_bytes": self.source_bytes, "measured": numbers}


def convert(
    source: str,
    dtype: str | None = None,
    rows: Rows | None = None,
    *,
    heads: str | None = None,
    group: int = 32,
    say: Callable[[str], None] = lambda line: None,
) -> Conversion:
    """Loads a model, converts its weights, and measures both on `rows`; nothing is written.

    Arguments:
        source: a folder, a file, a hub id or an alias; a trained classifier's folder keeps its settings.
        dtype: one of `DTYPES`; None keeps the types it is stored in.
        heads, group: see `quantize`.

    Raises:
        CheckpointError, SpecError: the source cannot be loaded or converted.
        DataError: the data cannot be used to measure this model.
    """
    if dtype not in (None, *DTYPES):
        raise CheckpointError(f"{dtype!r:.80} is no type of weights to convert to; use {', '.join(DTYPES)}")
    located = resolve(source)
    # Where nothing is measured, a large model needs to be in memory only in its new type.
    kind = dtype if rows is None and dtype in FLOATS else "float32"
    if (located.path / SETTINGS_FILE).is_file():
        classifier: TextClassifier | None = TextClassifier.load(located.path)
        assert classifier is not None
        model = classifier.model_
    else:
        model = load(source, dtype=kind)
        classifier = None
        if rows is not None and model.spec.head("classify") is not None and model.labels is not None:
            classifier = TextClassifier.load(source)
            model = classifier.model_
    done = Conversion(dtype, model, classifier, weight_bytes(located.path))
    measure = None if rows is None else _measure(model, classifier, rows, located.path, say)
    if dtype in SCHEMES:
        quantize(model, str(dtype), heads=heads, group=group)
        for path, scheme in model.quantization.layers.items() if model.quantization else ():
            if scheme != (heads if path.startswith("heads.") else dtype):
                say(f"{path} is {scheme}: its shape does not suit {dtype}")
    elif dtype is not None:
        _round(model, getattr(torch, dtype))
    if measure is not None:
        # What was rounded is measured in float32, as `load` will hold it.
        model.float()
        done.measured = measure()
        if dtype in FLOATS:
            model.to(getattr(torch, str(dtype)))
    return done


def _round(model: Model, dtype: torch.dtype) -> None:
    model.to(dtype)
    for name, parameter in model.named_parameters():
        check_finite(parameter.detach(), f"{name} as {str(dtype).removeprefix('torch.')}")
    if model.origin is not None:
        # Otherwise every tensor would be stored in the type it came in, which holds the new values just as well.
        model.origin.dtypes.clear()
        model.origin.config.pop("torch_dtype", None)
        model.origin.config["dtype"] = str(dtype).removeprefix("torch.")


# Measuring -----------------------------------------------------------------------------------------------------------


def _measure(
    model: Model, classifier: TextClassifier | None, rows: Rows, folder: Path, say: Callable[[str], None]
) -> Callable[[], Measured]:
    """Measures the model as it is now; what is returned measures it again and compares."""
    if classifier is not None:
        return _accuracy(classifier, rows, folder, say)
    if model.spec.head("language-model") is None:
        return _cosine(model, rows)
    if model.spec.encoder is not None:
        raise DataError("the perplexity of an encoder with a decoder is not measured here; convert without --data")
    return _perplexity(model, rows)


def _accuracy(
    classifier: TextClassifier, rows: Rows, folder: Path, say: Callable[[str], None]
) -> Callable[[], Measured]:
    examples = labelled_rows(classifier, folder, rows.file, rows.text, rows.labels, rows.pair)
    if examples.refused:
        say(f"{len(examples.refused):,} rows of {examples.name} cannot be used")

    def answers() -> tuple[np.ndarray, float]:
        scores = evaluate_examples(classifier, examples).probabilities
        if classifier.multi_label_:
            chosen = scores >= classifier.threshold
            return chosen, float((chosen == examples.targets.astype(bool)).all(1).mean())
        chosen = scores.argmax(1)
        return chosen, float((chosen == examples.targets).mean())

    first, before = answers()

    def again() -> Measured:
        second, after = answers()
        same = (first == second).reshape(len(first), -1).all(1)
        return Measured("accuracy", before, after, len(examples), float(same.mean()))

    return again


def _perplexity(model: Model, rows: Rows) -> Callable[[], Measured]:
    texts = _texts(rows)
    read = windower(model)
    limit = min(WINDOW, longest_row(model) or WINDOW)
    ids = [encoding.ids for encoding in read.tokenizer.encode_batch(texts, offsets=False)]
    pieces = [row[start : start + limit] for row in ids for start in range(0, len(row), limit)]
    pieces = [piece for piece in pieces if len(piece) > 1]
    if not pieces:
        raise DataError(f"{rows.file}: no text has two tokens, so no next token can be predicted")
    encoded = Encoded.of(pieces)

    def measure() -> float:
        with torch.inference_mode():
            # Few tokens at once: their logits over a large vocabulary are what fills the memory.
            return math.exp(min(mean_loss(model, encoded, None, NextToken(), tokens=WINDOW), 700.0))

    before = measure()
    return lambda: Measured("perplexity", before, measure(), len(texts))


def _cosine(model: Model, rows: Rows) -> Callable[[], Measured]:
    texts = _texts(rows)
    encoded = windower(model)(texts, None).encoded
    before = torch.from_numpy(mean_features(model, encoded).copy())

    def again() -> Measured:
        with torch.inference_mode():
            after = torch.from_numpy(mean_features(model, encoded))
        return Measured("cosine", 1.0, float(F.cosine_similarity(before, after).mean()), len(texts))

    return again


def _texts(rows: Rows) -> list[str]:
    if rows.file.lower().endswith(".txt") and rows.text is None:
        found = _lines(Path(rows.file))
    else:
        table = read_table(rows.file, bad_rows="report")
        found = [text for text in table.column(rows.text or guess_text_column(table)) if isinstance(text, str)]
    texts = [text for text in found if text.strip()]
    if not texts:
        raise DataError(f"{rows.file}: there are no texts to measure on")
    return texts


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}") from None


def weight_bytes(path: Path) -> int:
    """Bytes on disk of a weights file, or of a folder's weights."""
    if not path.is_dir():
        return path.stat().st_size
    for pattern in ("*.safetensors", "*.bin"):
        files = [file.stat().st_size for file in path.glob(pattern) if file.is_file()]
        if files:
            return sum(files)
    return 0
