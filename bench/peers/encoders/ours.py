"""moduformer's feature-extraction pipeline, its weights floats or codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.peers.encoders.encoder import Encoder, EncoderWork

if TYPE_CHECKING:
    import numpy as np


class Ours(Encoder):
    """One call with all texts, as they come."""

    packages = ("moduformer", "torch")

    def __init__(self, scheme: str | None = None) -> None:
        self.scheme = scheme
        self.name = f"moduformer {scheme or 'float32'}"

    def prepare(self, work: EncoderWork) -> None:
        """Loads, and quantises where asked."""
        import torch

        import moduformer as mf

        torch.set_num_threads(work.threads)
        model = mf.load(work.folder, quantization=self.scheme) if self.scheme else work.folder
        self._pipeline = mf.pipeline("feature-extraction", model)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Through the pipeline."""
        import torch

        vectors = self._pipeline(list(texts), pooling="mean", return_tensors=True)
        found: np.ndarray = torch.stack(list(vectors)).numpy()
        return found
