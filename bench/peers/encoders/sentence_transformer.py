"""sentence-transformers, which sorts by length itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.peers.encoders.encoder import BATCH, MAX_LENGTH, Encoder, EncoderWork

if TYPE_CHECKING:
    import numpy as np


class SentenceTransformerEncoder(Encoder):
    """`SentenceTransformer.encode`."""

    name = "sentence-transformers"
    modules = ("sentence_transformers",)
    packages = ("sentence-transformers",)

    def prepare(self, work: EncoderWork) -> None:
        """Loads."""
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(work.threads)
        self._model = SentenceTransformer(work.folder, device="cpu")
        self._model.max_seq_length = MAX_LENGTH

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """In one call."""
        found: np.ndarray = self._model.encode(list(texts), batch_size=BATCH, show_progress_bar=False)
        return found
