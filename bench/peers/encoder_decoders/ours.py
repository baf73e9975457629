"""moduformer's `model.generate` of an encoder-decoder."""

from __future__ import annotations

from collections.abc import Sequence

from bench.peers.encoder_decoders.translator import Translator, TranslatorWork


class Ours(Translator):
    """All sources at once; rows of different lengths need no padding inside."""

    packages = ("moduformer", "torch")

    def __init__(self, scheme: str | None = None) -> None:
        self.scheme = scheme
        self.name = f"moduformer {scheme or 'float32'}"

    def prepare(self, work: TranslatorWork) -> None:
        """Loads, and quantises where asked."""
        import torch

        import moduformer as mf
        from moduformer.quantize import prepare, quantize

        torch.set_num_threads(work.threads)
        self._model = prepare(mf.load(work.folder)) if self.scheme is None else mf.load(work.folder)
        if self.scheme:
            quantize(self._model, self.scheme, heads=self.scheme)

    def translate(self, sources: Sequence[list[int]], new: int, beams: int) -> list[list[int]]:
        """Padded at the front door."""
        from torch import tensor
        from torch.nn.utils.rnn import pad_sequence

        ids = pad_sequence([tensor(row) for row in sources], batch_first=True)
        mask = pad_sequence([tensor([1] * len(row)) for row in sources], batch_first=True)
        written = self._model.generate(ids, mask, max_new_tokens=new, min_new_tokens=new, num_beams=beams)
        found: list[list[int]] = written[:, 1:].tolist()
        return found
