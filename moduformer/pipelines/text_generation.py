"""The text-generation pipeline: what a decoder writes after a prompt, or answers in a conversation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from moduformer.errors import PipelineError
from moduformer.generate.sampling import positions_of
from moduformer.generate.settings import GenerationSettings
from moduformer.generate.text import encode_prompt
from moduformer.pipelines.generating import (
    Generating,
    Written,
    assistant_of,
    padded,
    streamed,
    text_of_ids,
    whole_characters,
    write,
)
from moduformer.text.chat import encode_chat


@dataclass(frozen=True)
class TextGenerationOptions:
    """What a call may say, beside any setting of generation.

    Attributes:
        settings: of generation, made of the rest.
        return_full_text: put the prompt before the new text (the default), or the messages before the answer.
        return_text: what Hugging Face's call has; it changes nothing here.
        return_tensors: give token ids, prompt included, in place of text.
        prefix: put before every prompt, and not shown.
        handle_long_generation: "hole" drops the beginning of a prompt that leaves no room for the new tokens.
        stop_sequence: a text any token of which ends the result (use `stop_strings` for the text as a whole).
        truncation: keep only the first `max_length` tokens of a prompt, or what the tokenizer's files allow.
        max_length: tokens of the prompt and the result together; `max_new_tokens` has the last word.
        add_special_tokens: frame the prompt as the tokenizer does; None does.
        continue_final_message: go on with the last message; None does so where it is the assistant's.
        skip_special_tokens: leave special tokens out of the text.
        clean_up_tokenization_spaces: take spaces before English punctuation away.
        tokenizer_encode_kwargs: truncation, max_length and add_special_tokens of the prompt alone; for a
            conversation also values for the chat template.
        assistant_model: a smaller model that drafts (speculative decoding).
        details: also tell how each result ended, as `ended_by`.
    """

    settings: GenerationSettings = field(default_factory=GenerationSettings)
    return_full_text: bool | None = None
    return_text: bool | None = None
    return_tensors: bool | None = None
    prefix: str | None = None
    handle_long_generation: str | None = None
    stop_sequence: str | None = None
    truncation: bool | str | None = None
    max_length: int | None = None
    add_special_tokens: bool | None = None
    continue_final_message: bool | None = None
    skip_special_tokens: bool | None = None
    clean_up_tokenization_spaces: bool | None = None
    tokenizer_encode_kwargs: Mapping[str, Any] | None = None
    assistant_model: Any = None
    details: bool = False


@dataclass(frozen=True)
class Prompt:
    """What a model is to go on with: a text or messages, its ids, and how many tokens may follow."""

    given: str | list[dict[str, Any]]
    ids: list[int]
    new_tokens: int
    continues: bool = False


@dataclass(frozen=True)
class Continued:
    """A prompt and what was written after it.

    Attributes:
        prompt: the text, or the messages.
        prompt_tokens: what the model read.
        sequences: the results, `num_return_sequences` of them.
        continues: whether they go on with the last message.
    """

    prompt: str | list[dict[str, Any]]
    prompt_tokens: list[int]
    sequences: tuple[Written, ...]
    continues: bool = False


class TextGeneration(Generating[Prompt, Continued, TextGenerationOptions]):
    """What a decoder writes after texts, or in conversations: lists of `{"role": ..., "content": ...}`."""

    task = "text-generation"
    options_type = TextGenerationOptions

    def usual(self) -> dict[str, Any]:
        """What `transformers` 4.57 brings along: 256 new tokens, sampled at temperature 0.7."""
        return {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7}

    def check(self) -> None:
        """Raises `PipelineError` for a model with an encoder, and `TextError` for one that cannot write."""
        super().check()
        if self.model.spec.has_source:
            raise PipelineError(
                "this model answers a text and does not continue it; use text2text-generation, summarization or "
                "translation"
            )

    def is_one(self, inputs: Any) -> bool:
        """A text, or the messages of one conversation."""
        if isinstance(inputs, list | tuple):
            return bool(inputs) and isinstance(inputs[0], Mapping)
        return isinstance(inputs, str)

    def adjusted(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """A stop sequence's tokens end a text, as in `transformers` 4."""
        stop = options.get("stop_sequence")
        if stop is None:
            return {}
        assert self.tokenizer is not None
        return {"eos_token_id": self.tokenizer.encode(stop, add_special_tokens=False).ids}

    def configured(self, given: Mapping[str, Any]) -> TextGenerationOptions:
        """See `Generating.configured`."""
        for source in (self.given, given):
            if source.get("return_full_text") is not None:
                for other in ("return_text", "return_tensors"):
                    if source.get(other) is not None:
                        raise PipelineError(f"return_full_text and {other} cannot both be said; choose one")
            if source.get("return_text") is not None and source.get("return_tensors") is not None:
                raise PipelineError("return_text and return_tensors cannot both be said; choose one")
        hole = given.get("handle_long_generation", self.given.get("handle_long_generation"))
        if hole not in (None, "hole"):
            raise PipelineError(f"handle_long_generation is {hole!r}; it must be None or 'hole'")
        options: TextGenerationOptions = super().configured(given)
        if given.get("return_full_text") is not None:
            # The call's own word about the shape stands over one at construction of the other kind.
            options = replace(options, return_tensors=None)
        return self._beside_prefix(options)

    def _prefix(self, options: TextGenerationOptions) -> str:
        return options.prefix if options.prefix is not None else self.stored_prefix({})

    def _beside_prefix(self, options: TextGenerationOptions) -> TextGenerationOptions:
        """The options with lengths that count a prompt's tokens but not its prefix's."""
        prefix, settings = self._prefix(options), options.settings
        if not prefix:
            return options
        assert self.tokenizer is not None
        extra = len(self.tokenizer.encode(prefix, add_special_tokens=False))
        if settings.max_new_tokens is None and settings.max_length is not None:
            settings = replace(settings, max_length=settings.max_length + extra)
        if settings.min_new_tokens is None and settings.min_length:
            settings = replace(settings, min_length=settings.min_length + extra)
        return replace(options, settings=settings)

    def read(self, value: Any, options: TextGenerationOptions) -> Prompt:
        """A text, or a conversation, with its tokens."""
        assert self.tokenizer is not None
        about = dict(options.tokenizer_encode_kwargs or {})
        limits = {name: about.pop(name) for name in ("truncation", "max_length") if name in about}
        framed = about.pop("add_special_tokens", options.add_special_tokens)
        continues, given = False, value
        prefix = self._prefix(options)
        if isinstance(value, list | tuple):
            given = _messages(value)
            wanted = options.continue_final_message
            continues = given[-1]["role"] == "assistant" if wanted is None else wanted
            ids = encode_chat(self.tokenizer, given, not continues, continue_final_message=continues, **about)
        elif not isinstance(value, str):
            shown = "no text" if value is None else f"a {type(value).__name__}, not a text"
            raise PipelineError(f"is {shown}; give a text, or a list of messages with role and content")
        elif framed is False:
            ids = self.tokenizer.encode(prefix + value, add_special_tokens=False).ids
            ids = list(ids) or encode_prompt(self.model, self.tokenizer, prefix + value, bounded=False)
        else:
            ids = encode_prompt(self.model, self.tokenizer, prefix + value, bounded=False)
        if limits.get("truncation", options.truncation) not in (None, False, "do_not_truncate"):
            ids = ids[: limits.get("max_length", options.max_length) or self.tokenizer.model_max_length or len(ids)]
        return self._with_room(given, ids, options, continues)

    def _with_room(self, given: Any, ids: list[int], options: TextGenerationOptions, continues: bool) -> Prompt:
        settings, room = options.settings, positions_of(self.model)
        if options.handle_long_generation == "hole":
            assert self.tokenizer is not None
            limit = min((n for n in (self.tokenizer.model_max_length, room) if n is not None), default=None)
            new = settings.new_tokens(len(ids))
            if limit is not None and len(ids) + new > limit:
                if new >= limit:
                    raise PipelineError(
                        f"{new} new tokens leave no room for the prompt in the {limit} that the model takes; "
                        "ask for fewer"
                    )
                ids = ids[new - limit :]
        if room is not None and len(ids) > room:
            raise PipelineError(
                f"has {len(ids)} tokens, but this model has {room} positions; shorten it, or drop its beginning with "
                "handle_long_generation='hole'"
            )
        return Prompt(given, ids, settings.new_tokens(len(ids)), continues)

    def find(self, items: Sequence[Prompt], options: TextGenerationOptions) -> Iterator[Continued]:
        """What follows each prompt."""
        rows, bounds = [item.ids for item in items], [item.new_tokens for item in items]
        assistant = assistant_of(options.assistant_model)
        for item, results in zip(items, write(self.model, rows, options.settings, bounds, assistant)):
            sequences = (
                Written(self._new_text(item, made.ids, made, options), made.ids, made.ended_by, made.score)
                for made in results
            )
            yield Continued(item.given, item.ids, tuple(sequences), item.continues)

    def _new_text(self, item: Prompt, ids: list[int], made: Any, options: TextGenerationOptions) -> str:
        # A word's first token may only have its space where something stands before it.
        assert self.tokenizer is not None
        skip = options.skip_special_tokens is not False
        clean = options.clean_up_tokenization_spaces is not False
        before = text_of_ids(self.tokenizer, item.ids, skip, clean)
        return whole_characters(text_of_ids(self.tokenizer, [*item.ids, *ids], skip, clean)[len(before) :], made)

    def shape(self, found: Continued, options: TextGenerationOptions) -> list[dict[str, Any]]:
        """A dict for every result: the text or messages, prompt included unless asked otherwise, or the ids."""
        records: list[dict[str, Any]] = []
        if options.return_tensors:
            rows = [[*found.prompt_tokens, *one.tokens] for one in found.sequences]
            records = [{"generated_token_ids": row} for row in padded(rows, options.settings, self.tokenizer)]
        else:
            for one in found.sequences:
                records.append({"generated_text": _shown(found, one.text, options.return_full_text is not False)})
        if options.details:
            for record, one in zip(records, found.sequences):
                record["ended_by"] = one.ended_by
        return records

    def stream_text(self, value: Any, **options: Any) -> Iterator[str]:
        """What follows one prompt, piece by piece as it is written; together the new text, spaces as decoded.

        Arguments are those of a call. Who stops reading stops the model at the next token. Raises `PipelineError`.
        """
        chosen = self.configured(options)
        try:
            item = self.read(value, chosen)
        except PipelineError as error:
            raise PipelineError(f"the prompt {error}") from None
        return streamed(self.model, item.ids, chosen.settings, item.new_tokens, assistant_of(chosen.assistant_model))


def _shown(found: Continued, text: str, full: bool) -> Any:
    if not full:
        return text
    if isinstance(found.prompt, str):
        return found.prompt + text
    messages = found.prompt
    if found.continues:
        last = messages[-1]
        return [*messages[:-1], {"role": last["role"], "content": last["content"] + text}]
    return [*messages, {"role": "assistant", "content": text}]


def _messages(value: Sequence[Any]) -> list[dict[str, Any]]:
    if not value or not all(isinstance(entry, Mapping) and {"role", "content"} <= entry.keys() for entry in value):
        raise PipelineError("is no conversation; each message needs a role and a content")
    return [dict(entry) for entry in value]
