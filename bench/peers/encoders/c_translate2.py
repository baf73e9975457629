"""CTranslate2's encoder, which packs rows itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contender import whole
from bench.peers.encoders.encoder import MAX_LENGTH, Encoder, EncoderWork, batches

if TYPE_CHECKING:
    import numpy as np


class CTranslate2Encoder(Encoder):
    """`ctranslate2.Encoder`, float32 or int8."""

    modules = ("ctranslate2", "transformers")
    packages = ("ctranslate2", "transformers")

    def __init__(self, int8: bool = False) -> None:
        self.int8 = int8
        self.name = f"CTranslate2 {'int8' if int8 else 'fp32'}, sorted by length"

    def files(self, work: EncoderWork) -> list[Path]:
        """Its folder."""
        return [Path(work.kept) / f"{Path(work.folder).name}.ctranslate2"]

    def convert(self, work: EncoderWork) -> None:
        """With its own converter of `transformers` models."""
        from ctranslate2.converters import TransformersConverter

        with whole(self.files(work)[0]) as folder:
            TransformersConverter(work.folder).convert(str(folder))

    def prepare(self, work: EncoderWork) -> None:
        """Loads; int8 is made while loading."""
        import ctranslate2
        from tokenizers import Tokenizer

        self._tokenizer: Any = Tokenizer.from_file(str(Path(work.folder) / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_LENGTH)
        self._model = ctranslate2.Encoder(
            str(self.files(work)[0]),
            device="cpu",
            compute_type="int8" if self.int8 else "float32",
            intra_threads=work.threads,
        )

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Batch after batch."""
        import numpy as np

        found: np.ndarray | None = None
        for part in batches(texts, by_length=True):
            rows = [each.ids for each in self._tokenizer.encode_batch_fast([texts[i] for i in part])]
            hidden = np.array(self._model.forward_batch(rows).last_hidden_state)
            if found is None:
                found = np.empty((len(texts), hidden.shape[2]), dtype=np.float32)
            for number, row, states in zip(part, rows, hidden):
                found[number] = states[: len(row)].mean(0)
        assert found is not None
        return found
