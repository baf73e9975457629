"""CTranslate2's translator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.contender import whole
from bench.peers.encoder_decoders.translator import Translator, TranslatorWork


class CTranslate2Translator(Translator):
    """`ctranslate2.Translator`, float32 or int8."""

    modules = ("ctranslate2", "transformers")
    packages = ("ctranslate2", "transformers")

    def __init__(self, int8: bool = False) -> None:
        self.int8 = int8
        self.name = f"CTranslate2 {'int8' if int8 else 'fp32'}"

    def files(self, work: TranslatorWork) -> list[Path]:
        """Its folder."""
        return [Path(work.kept) / f"{Path(work.folder).name}.ctranslate2"]

    def convert(self, work: TranslatorWork) -> None:
        """With its own loader of Marian models; its words are the tokens' numbers, so that no tokenizer is needed."""
        from ctranslate2.converters.converter import Converter
        from ctranslate2.converters.transformers import MarianMTLoader
        from transformers import AutoModelForSeq2SeqLM

        class Numbered(Converter):
            def _load(self) -> object:
                model = AutoModelForSeq2SeqLM.from_pretrained(work.folder)
                spec = MarianMTLoader().get_model_spec(model)
                # Marian's last token is padding, whose vector is zero: it begins every text and is never written.
                words = [str(number) for number in range(model.config.vocab_size - 1)]
                spec.register_source_vocabulary(words)
                spec.register_target_vocabulary(words)
                spec.config.eos_token = spec.config.decoder_start_token = str(model.config.eos_token_id)
                spec.config.unk_token = words[1]
                return spec

        with whole(self.files(work)[0]) as folder:
            Numbered().convert(str(folder))

    def prepare(self, work: TranslatorWork) -> None:
        """Loads; int8 is made while loading."""
        import ctranslate2

        self._model = ctranslate2.Translator(
            str(self.files(work)[0]),
            device="cpu",
            compute_type="int8" if self.int8 else "float32",
            intra_threads=work.threads,
        )

    def translate(self, sources: Sequence[list[int]], new: int, beams: int) -> list[list[int]]:
        """In one call."""
        results = self._model.translate_batch(
            [[str(number) for number in row] for row in sources],
            beam_size=beams,
            max_decoding_length=new,
            min_decoding_length=new,
            max_batch_size=0,
        )
        return [[int(word) for word in result.hypotheses[0]] for result in results]
