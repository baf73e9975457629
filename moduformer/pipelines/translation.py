"""The translation pipeline: texts in another language, however long."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moduformer.errors import PipelineError
from moduformer.pipelines.generating import Generating
from moduformer.pipelines.passages import Passage
from moduformer.pipelines.summarization import asked, turn_ends, windows_of
from moduformer.pipelines.text_to_text import Answering, TextToTextOptions

_CODE = re.compile(r"[a-z]{2,3}_[A-Z][A-Za-z]{1,3}")
"""A token that names a language, as mBART's: `en_XX`."""

_SMALLEST_WINDOW = 16


@dataclass(frozen=True)
class TranslationOptions(TextToTextOptions):
    """What a call may say, beside any setting of generation; see `TextToTextOptions`.

    Attributes:
        src_lang, tgt_lang: languages of the text and of the translation; a model of one pair needs none.
        window: tokens the model reads at once. None: a text that the model reads at once is one window; a longer one
            is read in windows that end with a paragraph or sentence, small enough for their translations to fit into
            the bound on new tokens, and its translation is theirs one after another.
        instruction: what a chat model is told before the text; without it only an encoder-decoder translates.
    """

    src_lang: str | None = None
    tgt_lang: str | None = None
    window: int | None = None
    instruction: str | None = None


class Translation(Answering[TranslationOptions]):
    """Translations of texts."""

    task = "translation"
    returns = "translation"
    options_type = TranslationOptions

    def check(self) -> None:
        """Raises `PipelineError` for a decoder, unless an instruction asks it."""
        Generating.check(self)
        if self.model.spec.has_source:
            return
        assert self.tokenizer is not None
        if self.tokenizer.chat_template is None:
            raise PipelineError("this model continues texts and was not made to translate; take one with an encoder")
        if not self.given.get("instruction"):
            raise PipelineError(
                "this is a chat model, which translates only as well as it happens to know both languages; name a "
                "translation model, or ask for it all the same with instruction='Translate the following text into "
                "German. Answer with the translation alone.'"
            )

    def usual(self) -> dict[str, Any]:
        """As `transformers` 4.57 for an encoder-decoder; a chat model, which it does not take, is greedy."""
        if self.model.encoder is None:
            return {"max_new_tokens": 256, "num_beams": 1, "do_sample": False}
        return super().usual()

    def task_name(self, options: Mapping[str, Any]) -> str:
        """With both languages their own task, such as T5's "translation_en_to_de"."""
        source, target = options.get("src_lang"), options.get("tgt_lang")
        return self.task if not source or not target else f"translation_{source}_to_{target}"

    def adjusted(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The end of a chat model's turn ends its translation."""
        return turn_ends(self) | super().adjusted(options)

    def frame_ids(self, text: str, options: TranslationOptions) -> list[int]:
        """The ids of a text; where tokens name languages, the source's stands in the frame."""
        if self.model.encoder is None:
            return asked(self, options.instruction or "", text)
        ids = super().frame_ids(text, options)
        codes = self.languages
        if not codes:
            return ids
        assert self.tokenizer is not None
        own = self._code(options.src_lang, "src_lang")
        frame = [step.token_id for step in self.tokenizer.frame()]
        places = [place if place < frame.index(None) else place - len(frame) for place in range(len(frame))
                  if frame[place] in codes.values()]  # fmt: skip
        for place in places:
            ids[place] = own
        return ids

    def windows_of(self, text: str, options: TranslationOptions) -> list[Passage]:
        """One window where the model reads the text at once, else smaller ones whose translations fit."""
        new = self.new_tokens([0], options.settings)
        return windows_of(self, text, options, options.window, max(new // 2, _SMALLEST_WINDOW))

    def forced_first(self, options: TranslationOptions) -> int | None:
        """The token of the target language, where the model has such."""
        return self._code(options.tgt_lang, "tgt_lang") if self.languages else None

    def language_ids(self) -> frozenset[int]:
        """Tokens that name languages."""
        return frozenset(self.languages.values())

    @property
    def languages(self) -> dict[str, int]:
        """Tokens that name languages and their ids; none for a model of one pair."""
        tokenizer = self.tokenizer
        if tokenizer is None or self._config.get("model_type") != "mbart":
            return {}
        listed = tokenizer.to_tokenizers().get_added_tokens_decoder()
        return {token.content: number for number, token in listed.items() if _CODE.fullmatch(token.content)}

    def _code(self, wanted: str | None, name: str) -> int:
        codes = self.languages
        if wanted is None:
            raise PipelineError(f"this model knows many languages; give src_lang and tgt_lang, such as {min(codes)}")
        if wanted in codes:
            return codes[wanted]
        like = [code for code in codes if code.split("_")[0] == wanted]
        if len(like) == 1:
            return codes[like[0]]
        near = difflib.get_close_matches(wanted, codes, 3, 0.3) or sorted(codes)[:5]
        raise PipelineError(f"{name} {wanted!r} is no language of this model; there are {', '.join(near)}, ...")
