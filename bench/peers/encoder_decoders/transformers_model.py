"""`transformers`' `generate` of an encoder-decoder."""

from __future__ import annotations

from collections.abc import Sequence

from bench.peers.encoder_decoders.translator import Translator, TranslatorWork


class TransformersTranslator(Translator):
    """All sources at once, padded."""

    name = "transformers sdpa"
    modules = packages = ("transformers",)

    def prepare(self, work: TranslatorWork) -> None:
        """Loads."""
        import torch
        from transformers import AutoModelForSeq2SeqLM

        torch.set_num_threads(work.threads)
        self._model = AutoModelForSeq2SeqLM.from_pretrained(work.folder).eval()

    def translate(self, sources: Sequence[list[int]], new: int, beams: int) -> list[list[int]]:
        """Padding on the right."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        ids = pad_sequence([torch.tensor(row) for row in sources], batch_first=True)
        mask = pad_sequence([torch.tensor([1] * len(row)) for row in sources], batch_first=True)
        with torch.inference_mode():
            written = self._model.generate(
                ids, attention_mask=mask, max_new_tokens=new, min_new_tokens=new, num_beams=beams, do_sample=False
            )
        found: list[list[int]] = written[:, 1:].tolist()
        return found
