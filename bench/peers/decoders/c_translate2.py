"""CTranslate2's generator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.contender import whole
from bench.peers.decoders.decoder import Decoder, DecoderWork


class CTranslate2Decoder(Decoder):
    """`ctranslate2.Generator`, float32 or int8."""

    modules = ("ctranslate2", "transformers")
    packages = ("ctranslate2", "transformers")

    def __init__(self, int8: bool = False) -> None:
        self.int8 = int8
        self.name = f"CTranslate2 {'int8' if int8 else 'fp32'}"

    def files(self, work: DecoderWork) -> list[Path]:
        """Its folder."""
        return [Path(work.kept) / f"{Path(work.folder).name}.ctranslate2"]

    def convert(self, work: DecoderWork) -> None:
        """With its own converter of `transformers` models."""
        from ctranslate2.converters import TransformersConverter

        with whole(self.files(work)[0]) as folder:
            TransformersConverter(work.folder).convert(str(folder))

    def prepare(self, work: DecoderWork) -> None:
        """Loads; int8 is made while loading."""
        import ctranslate2
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(Path(work.folder) / "tokenizer.json"))
        self._model = ctranslate2.Generator(
            str(self.files(work)[0]),
            device="cpu",
            compute_type="int8" if self.int8 else "float32",
            intra_threads=work.threads,
        )

    def write(self, prompts: Sequence[list[int]], new: int) -> list[list[int]]:
        """Its words for tokens are those of the vocabulary."""
        words = [[self._tokenizer.id_to_token(number) for number in prompt] for prompt in prompts]
        results = self._model.generate_batch(
            words, max_length=new, min_length=new, beam_size=1, include_prompt_in_result=False, max_batch_size=0
        )
        return [list(result.sequences_ids[0]) for result in results]
