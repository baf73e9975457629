"""A conversation: messages by way of the model's chat template, answers, and a cache that goes on from turn to turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from moduformer.errors import TextError
from moduformer.generate.decoding import Decoding, check_writes
from moduformer.generate.prefixes import common
from moduformer.generate.sampling import write
from moduformer.generate.settings import GenerationSettings
from moduformer.generate.strategies import Request, bound, run, strategy_of
from moduformer.generate.text import Generated, Streamer, Watching, pieces, tokenizer_of

if TYPE_CHECKING:
    from moduformer.model import Model
    from moduformer.text.tokenizer import Tokenizer


class Chat:
    """A conversation with a model whose tokenizer has a chat template.

    Arguments:
        model: a decoder that was trained on conversations.
        system: what the model is told before anything else.
        messages: the conversation so far, `{"role": ..., "content": ...}` in order.
        template: a Jinja chat template instead of the tokenizer's own.
        tools: JSON schemas of functions the model may call.
        settings: see `GenerationSettings`; unless given, the tokenizer's end token ends an answer too.

    `messages` is the conversation, `fed` how many tokens the model read in the last turn: of a conversation that only
    grew, the new ones. Whatever a message contains, its control tokens are plain text (see `text.chat`). Raises
    `TextError`.
    """

    def __init__(
        self,
        model: Model,
        system: str | None = None,
        messages: Sequence[Mapping[str, Any]] = (),
        *,
        tokenizer: Tokenizer | None = None,
        template: str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **settings: Any,
    ) -> None:
        check_writes(model)
        self.model, self.tokenizer = model, tokenizer_of(model, tokenizer)
        self.settings = GenerationSettings.of(model, **settings)
        end = self.tokenizer.eos_id
        if "eos_token_id" not in settings and end is not None and end not in self.settings.eos_token_id:
            self.settings = self.settings.override(eos_token_id=[*self.settings.eos_token_id, end])
        if template is None and self.tokenizer.chat_template is None:
            raise TextError(
                "this model has no chat template, so it was not made for conversations; let it continue a text "
                "(generate), or give a template"
            )
        self._template, self._tools = template, tools
        self.messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system is not None else []
        self.messages += map(dict, messages)
        self.fed = 0
        self._decoding: Decoding | None = None

    def say(self, text: str, streamer: Streamer | None = None) -> Generated:
        """The model's answer to a message of the user; both join the conversation.

        `streamer` is called with the answer's pieces as they are written. After an error the conversation is as before.
        """
        messages = [*self.messages, {"role": "user", "content": text}]
        answer = self.answer(messages, streamer)
        self.messages = [*messages, {"role": "assistant", "content": answer.text}]
        return answer

    def stream(self, text: str) -> Iterator[str]:
        """As `say`, but gives the answer's pieces. Who stops reading leaves the conversation as it was."""
        return pieces(lambda emit: self.say(text, emit))

    def answer(self, messages: Sequence[Mapping[str, Any]], streamer: Streamer | None = None) -> Generated:
        """The answer to any conversation, which is not kept; what it shares with the last one is not read again."""
        from moduformer.text.chat import encode_chat

        ids = encode_chat(
            self.tokenizer, messages, add_generation_prompt=True, template=self._template, tools=self._tools
        )
        settings = self.settings
        watch = Watching(self.tokenizer, settings, 1, streamer)
        request = Request(settings, settings.new_tokens(len(ids)), tokenizer=self.tokenizer)
        request.watch = watch.push if watch.needed else None
        if settings.num_return_sequences > 1:
            raise TextError("a conversation goes on with one answer; num_return_sequences must be 1")
        if strategy_of(request) != "sample" or self.model.spec.has_source:
            self.fed = len(ids)
            return watch.result(0, run(self.model, [ids], request)[0][0], 0)
        request = bound(self.model, request)
        # Until it is known to be whole again: an interruption leaves a cache that no text belongs to.
        decoding, self._decoding = self._decoding, None
        decoding = self._read(decoding, ids)
        generators = request.generators([ids]) if settings.do_sample else []
        made = write(decoding, request, generators)[0]
        self._decoding = decoding
        return watch.result(0, made, 0)

    def _read(self, decoding: Decoding | None, ids: list[int]) -> Decoding:
        """A decoding that has read exactly `ids`, from what it has read before where that begins alike."""
        if decoding is not None:
            held = decoding.rows[0].ids
            # The last token is always fed, since its logits are what the answer begins with.
            shared = min(common(held, ids), len(ids) - 1)
            try:
                if shared < len(held):
                    decoding.rollback([shared])
                decoding.extend([ids[shared:]])
                decoding.rows[0].given = len(ids)
                self.fed = len(ids) - shared
                return decoding
            except TextError:
                # A window has forgotten what the conversations share, or there is no room: the whole is read anew.
                pass
        self.fed = len(ids)
        return Decoding(self.model, [ids])
