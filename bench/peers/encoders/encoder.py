"""An encoder's work: all texts at once, and single texts one by one."""

from __future__ import annotations

import statistics
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contender import Contender, Measured, Work, timed

if TYPE_CHECKING:
    import numpy as np

BATCH = 32
MAX_LENGTH = 512


@dataclass(frozen=True)
class EncoderWork(Work):
    """Texts to turn into vectors; `single` of them also one by one. `labels` are for the comparison alone."""

    texts: list[str]
    labels: list[int]
    single: int


class Encoder(Contender[EncoderWork]):
    """Texts to vectors `[texts, dim]`, the mean of a text's last hidden states."""

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """The vectors, in the given order, not normalised or normalised: only their direction is compared."""

    def run(self, work: EncoderWork) -> Measured:
        """Sentences a second, and the median milliseconds of one sentence."""
        seconds, vectors = timed(lambda: self.encode(work.texts))
        alone = [timed(partial(self.encode, [text]))[0] for text in work.texts[: work.single]]
        measures = {"sentences_per_second": len(work.texts) / seconds}
        if alone:
            measures["milliseconds_alone"] = 1000 * statistics.median(alone)
        return Measured(measures, vectors)


def batches(texts: Sequence[str], by_length: bool) -> Iterator[list[int]]:
    """Numbers of texts, `BATCH` at a time: in the given order, or the longest first."""
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i])) if by_length else list(range(len(texts)))
    for start in range(0, len(order), BATCH):
        yield order[start : start + BATCH]


class PaddedEncoder(Encoder):
    """Sorted by length, tokenised in batches by Hugging Face's tokenizer, run by `hidden`, mean-pooled in NumPy."""

    _tokenizer: Any

    def read_tokenizer(self, folder: str) -> None:
        """Loads tokenizer.json, padding to the longest of a batch."""
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_LENGTH)
        self._tokenizer.enable_padding(length=None)

    @abstractmethod
    def hidden(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Last hidden states `[rows, tokens, dim]` of int64 ids and mask `[rows, tokens]`."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Batch after batch."""
        import numpy as np

        found: np.ndarray | None = None
        for part in batches(texts, by_length=True):
            encoded = self._tokenizer.encode_batch_fast([texts[i] for i in part])
            ids = np.array([each.ids for each in encoded], dtype=np.int64)
            mask = np.array([each.attention_mask for each in encoded], dtype=np.int64)
            hidden = self.hidden(ids, mask)
            weights = (mask / mask.sum(1, keepdims=True)).astype(np.float32)
            pooled = np.matmul(weights[:, None, :], hidden)[:, 0]
            if found is None:
                found = np.empty((len(texts), pooled.shape[1]), dtype=np.float32)
            found[part] = pooled
        assert found is not None
        return found
