"""`transformers`: padded batches of 32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.peers.encoders.encoder import MAX_LENGTH, Encoder, EncoderWork, batches

if TYPE_CHECKING:
    import numpy as np


class TransformersEncoder(Encoder):
    """`AutoModel` with one of its attention implementations, batches in the given order or sorted by length."""

    modules = packages = ("transformers",)

    def __init__(self, attention: str = "sdpa", by_length: bool = False) -> None:
        self.attention, self.by_length = attention, by_length
        self.name = f"transformers {attention}, {'sorted by length' if by_length else 'as given'}"

    def prepare(self, work: EncoderWork) -> None:
        """Loads."""
        import torch
        from transformers import AutoModel, AutoTokenizer

        torch.set_num_threads(work.threads)
        self._tokenizer = AutoTokenizer.from_pretrained(work.folder)
        self._model = AutoModel.from_pretrained(work.folder, attn_implementation=self.attention).eval()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Batch after batch."""
        import torch

        found = torch.empty(len(texts), self._model.config.hidden_size)
        with torch.inference_mode():
            for part in batches(texts, self.by_length):
                padded = self._tokenizer(
                    [texts[i] for i in part],
                    padding=True,
                    truncation=True,
                    max_length=MAX_LENGTH,
                    return_tensors="pt",
                )
                hidden = self._model(**padded).last_hidden_state
                mask = padded["attention_mask"].unsqueeze(-1)
                found[part] = (hidden * mask).sum(1) / mask.sum(1)
        vectors: np.ndarray = found.numpy()
        return vectors
