"""`transformers`' `generate`."""

from __future__ import annotations

from collections.abc import Sequence

from bench.peers.decoders.decoder import Decoder, DecoderWork


class TransformersDecoder(Decoder):
    """Greedy search over its dynamic cache."""

    modules = packages = ("transformers",)

    def __init__(self, attention: str = "sdpa", dtype: str = "float32") -> None:
        self.attention, self.dtype = attention, dtype
        self.name = f"transformers {attention} {dtype}"

    def prepare(self, work: DecoderWork) -> None:
        """Loads."""
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(work.threads)
        kind = getattr(torch, self.dtype)
        self._model = AutoModelForCausalLM.from_pretrained(
            work.folder, attn_implementation=self.attention, dtype=kind
        ).eval()

    def write(self, prompts: Sequence[list[int]], new: int) -> list[list[int]]:
        """Prompts are equally long."""
        import torch

        ids = torch.tensor(prompts)
        with torch.inference_mode():
            written = self._model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new, do_sample=False
            )
        found: list[list[int]] = written[:, ids.shape[1] :].tolist()
        return found
