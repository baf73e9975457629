"""moduformer's `model.generate`, its weights floats or codes."""

from __future__ import annotations

from collections.abc import Sequence

from bench.peers.decoders.decoder import Decoder, DecoderWork


class Ours(Decoder):
    """Greedy search over a growing cache."""

    packages = ("moduformer", "torch")

    def __init__(self, scheme: str | None = None, heads: str | None = None, dtype: str = "float32") -> None:
        self.scheme, self.heads, self.dtype = scheme, heads, dtype
        packed = ", packed" if scheme == "float32" else ""
        beside = f", logits {heads}" if heads not in (None, scheme) else ""
        self.name = f"moduformer {scheme or dtype}{packed}{beside}"

    def prepare(self, work: DecoderWork) -> None:
        """Loads, and quantises where asked."""
        import torch

        import moduformer as mf
        from moduformer.quantize import quantize

        torch.set_num_threads(work.threads)
        self._model = mf.load(work.folder, dtype=self.dtype)
        if self.scheme:
            quantize(self._model, self.scheme, heads=self.heads)

    def write(self, prompts: Sequence[list[int]], new: int) -> list[list[int]]:
        """Through the padded door; prompts are equally long."""
        import torch

        ids = torch.tensor(prompts)
        written = self._model.generate(ids, torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new)
        found: list[list[int]] = written[:, ids.shape[1] :].tolist()
        return found
