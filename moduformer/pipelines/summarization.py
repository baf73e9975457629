"""The summarization pipeline: short texts out of long ones, by an encoder-decoder or by a chat model's instruction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moduformer.errors import PipelineError
from moduformer.generate.settings import GenerationSettings
from moduformer.pipelines.generating import Generating
from moduformer.pipelines.passages import Passage, passages
from moduformer.pipelines.text_to_text import Answered, Answering, Source, TextToTextOptions
from moduformer.text.chat import encode_chat

INSTRUCTION = "Summarize the following text in at most three sentences. Answer with the summary alone."
"""What a chat model is told, before a blank line and the text, as the user's message."""

DECODER_WINDOW = 2048
"""Tokens of a window, prompt and answer together, that a chat model reads unless asked for more."""

ROUNDS = 5
"""How often summaries of windows are summarized again at most."""


@dataclass(frozen=True)
class SummarizationOptions(TextToTextOptions):
    """What a call may say, beside any setting of generation; see `TextToTextOptions`.

    Attributes:
        window: tokens the model reads at once; None takes what it was made for. A longer text is read in windows that
            end with a paragraph or sentence, and its summary is theirs one after another.
        condense: summarize the summaries of a long text's windows again until the model reads them at once.
        instruction: what a chat model is told before the text; None takes `INSTRUCTION`.
    """

    window: int | None = None
    condense: bool = False
    instruction: str | None = None


class Summarization(Answering[SummarizationOptions]):
    """Summaries of texts, however long."""

    task = "summarization"
    returns = "summary"
    options_type = SummarizationOptions

    def check(self) -> None:
        """Raises `PipelineError` for a decoder that was not made for conversations."""
        Generating.check(self)
        assert self.tokenizer is not None
        if self.model.encoder is None and self.tokenizer.chat_template is None:
            raise PipelineError(
                "this model continues texts and has no chat template to be asked for a summary by; take a model with "
                "an encoder, or a chat model"
            )

    def usual(self) -> dict[str, Any]:
        """As `transformers` 4.57 for an encoder-decoder; a chat model, which it does not take, is greedy."""
        if self.model.encoder is None:
            return {"max_new_tokens": 256, "num_beams": 1, "do_sample": False}
        return super().usual()

    def adjusted(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The end of a chat model's turn ends its summary."""
        return turn_ends(self) | super().adjusted(options)

    def frame_ids(self, text: str, options: SummarizationOptions) -> list[int]:
        """The ids of a text, or of a conversation that asks for its summary."""
        if self.model.spec.has_source:
            return super().frame_ids(text, options)
        return asked(self, INSTRUCTION if options.instruction is None else options.instruction, text)

    def windows_of(self, text: str, options: SummarizationOptions) -> list[Passage]:
        """One window where the model reads the text at once, else some that end with paragraphs or sentences."""
        return windows_of(self, text, options, options.window, None)

    def find(self, items: Sequence[Source], options: SummarizationOptions) -> Iterator[Answered]:
        """A summary of each text."""
        for found in super().find(items, options):
            for _ in range(ROUNDS if options.condense else 0):
                if len(found.windows) == 1:
                    break
                found = self._again(found, options)
            yield found

    def _again(self, found: Answered, options: SummarizationOptions) -> Answered:
        """Summaries of summaries; `windows` are then those of the text of the last round."""
        again = list(super().find([self.read(text, options) for text in found.texts], options))
        texts = tuple(one.texts[0] for one in again)
        longest = max(again, key=lambda one: len(one.windows))
        return Answered(texts, longest.written, longest.windows, found.truncated or longest.truncated)


def asked(pipe: Answering[Any], instruction: str, text: str) -> list[int]:
    """The ids of a conversation in which a chat model is told something about a text; the text is never a command
    token, whatever it holds."""
    assert pipe.tokenizer is not None
    message = {"role": "user", "content": f"{instruction}\n\n{text}"}
    return encode_chat(pipe.tokenizer, [message], add_generation_prompt=True)


def turn_ends(pipe: Answering[Any]) -> dict[str, Any]:
    """For a chat model, the end tokens of its files and the tokenizer's, which ends a turn."""
    end = None if pipe.tokenizer is None else pipe.tokenizer.eos_id
    if pipe.model.spec.has_source or end is None:
        return {}
    return {"eos_token_id": sorted({*GenerationSettings.of(pipe.model).eos_token_id, end})}


def windows_of(pipe: Answering[Any], text: str, options: Any, window: int | None, smaller: int | None) -> list[Passage]:
    """The windows of a text: one where the model reads it at once, else some of at most `smaller` tokens of text."""
    limit = pipe.limit
    if window is not None:
        if not isinstance(window, int) or window < 1 or (pipe.positions is not None and window > pipe.positions):
            raise PipelineError(
                f"window is {window!r}; it must be a number of tokens from 1 to {pipe.positions or 'any'}"
            )
        limit = window
    frame = len(pipe.frame_ids("", options))
    if pipe.model.encoder is None:
        limit = min(limit or DECODER_WINDOW, DECODER_WINDOW) if window is None else limit
        assert limit is not None
        limit -= options.settings.max_new_tokens or 0
    if limit is None or len(pipe.frame_ids(text, options)) <= limit:
        return [Passage(0, len(text))]
    room = limit - frame
    if window is None and smaller is not None:
        room = min(room, smaller)
    tokenizer = pipe.tokenizer
    assert tokenizer is not None
    if pipe.model.encoder is None:
        # A conversation is rendered by another process, too slow to measure with; next to it a token may differ.
        return passages(text, room - 2, lambda part: len(tokenizer.encode(part, add_special_tokens=False)))
    return passages(text, room, lambda part: len(pipe.frame_ids(part, options)) - frame)
