"""Text in, text out: `generate_text` for whole results, `stream` for pieces as they are written."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moduformer.errors import TextError
from moduformer.generate.decoding import check_writes
from moduformer.generate.processors import Processor
from moduformer.generate.sampling import positions_of
from moduformer.generate.settings import GenerationSettings
from moduformer.generate.strategies import EndedBy, Made, Request, run
from moduformer.generate.streaming import TextStream

if TYPE_CHECKING:
    from moduformer.generate.prefixes import Prefixes
    from moduformer.model import Model
    from moduformer.text.tokenizer import Tokenizer

Streamer = Callable[[str], object]
"""Called with every new piece of text of one result."""


@dataclass(frozen=True)
class Generated:
    """One result: the new text, its tokens (an end token among them), and why it ended.

    `ended_by` is "eos" (the model ended it), "stop" (a stop string, not part of `text`), "length" (`max_new_tokens`) or
    "context" (the model has no further positions). `score` is the strategy's, where it has one. `prompt` counts the
    prompts from 0. Of `drafted` tokens of speculative decoding, `accepted` were kept.
    """

    text: str
    tokens: list[int]
    ended_by: EndedBy
    score: float | None = None
    prompt: int = 0
    drafted: int = 0
    accepted: int = 0

    @property
    def acceptance(self) -> float | None:
        """The share of drafted tokens that were kept; None where nothing was drafted."""
        return self.accepted / self.drafted if self.drafted else None


def generate_text(
    model: Model,
    prompts: str | Sequence[str],
    *,
    streamer: Streamer | Sequence[Streamer] | None = None,
    tokenizer: Tokenizer | None = None,
    processors: Sequence[Processor] = (),
    assistant_model: Model | None = None,
    allow_special: bool = True,
    prefixes: Prefixes | None = None,
    **settings: Any,
) -> list[Generated]:
    """Continues texts (or, with an encoder, answers them); `num_return_sequences` results for each prompt, in order.

    Arguments:
        prompts: one text or several, of any lengths.
        streamer: called with the pieces of the only result; or one callable for every result.
        tokenizer: instead of the model's own.
        processors: change the logits after those that the settings ask for.
        assistant_model: a small model of the same vocabulary that drafts (speculative decoding).
        allow_special: whether a control token spelled out in a prompt is one; False for prompts from strangers.
        prefixes: remembers what prompts begin with from call to call (a system's instructions, a few examples), so that
            it is read once; see `Prefixes`.
        settings: see `GenerationSettings`.

    Raises `TextError`: a setting that is unknown or out of range, a prompt without tokens or too long for the model, no
    tokenizer.
    """
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts:
        raise TextError("there is no prompt")
    check_writes(model)
    tokenizer = tokenizer_of(model, tokenizer)
    chosen = GenerationSettings.of(model, **settings)
    ids = [encode_prompt(model, tokenizer, text, allow_special) for text in texts]
    request = Request(
        chosen,
        chosen.new_tokens(max(map(len, ids)) if model.encoder is None else 1),
        processors,
        assistant=assistant_model,
        tokenizer=tokenizer,
        prefixes=prefixes,
    )
    watch = Watching(tokenizer, chosen, len(texts), streamer)
    request.watch = watch.push if watch.needed else None
    made = run(model, ids, request)
    return [
        watch.result(number * chosen.num_return_sequences + copy, result, number)
        for number, results in enumerate(made)
        for copy, result in enumerate(results)
    ]


def stream(model: Model, prompt: str, **settings: Any) -> Iterator[str]:
    """The continuation of one prompt, piece by piece as it is written; arguments as for `generate_text`.

    The pieces together are the text that `generate_text` returns. Who stops reading stops the model at the next token.
    Raises `TextError`, when the first piece is asked for.
    """
    return pieces(lambda emit: generate_text(model, prompt, streamer=emit, **settings))


def pieces(write: Callable[[Streamer], object]) -> Iterator[str]:
    """What a function gives the callable it is called with, as an iterator; the function's own errors come out too."""
    waiting: queue.Queue[tuple[str, BaseException | None] | None] = queue.Queue(maxsize=1)
    closed = threading.Event()

    def emit(piece: str) -> None:
        waiting.put((piece, None))
        if closed.is_set():
            raise _Closed

    def work() -> None:
        try:
            write(emit)
        except _Closed:
            pass
        except BaseException as error:
            waiting.put(("", error))
        waiting.put(None)

    thread = threading.Thread(target=work, name="generation", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if item[1] is not None:
                raise item[1]
            yield item[0]
    finally:
        closed.set()
        while thread.is_alive():
            # The writer may be waiting for room.
            try:
                waiting.get(timeout=0.05)
            except queue.Empty:
                continue


class _Closed(Exception):
    """Nobody reads any more."""


class Watching:
    """Turns the tokens of several results to text as they come: streams it, and ends results at stop strings."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        settings: GenerationSettings,
        prompts: int,
        streamer: Streamer | Sequence[Streamer] | None = None,
    ) -> None:
        count = prompts * settings.num_return_sequences
        streamers = [streamer] if callable(streamer) else list(streamer or ())
        if streamers and len(streamers) != count:
            raise TextError(
                f"there are {count} results but {len(streamers)} streamers; give a list with one callable for each"
            )
        self.needed = bool(streamers or settings.stop_strings)
        self._tokenizer, self._ends = tokenizer, frozenset(settings.eos_token_id)
        self._streams = [
            TextStream(tokenizer, settings.stop_strings, streamers[number] if streamers else None)
            for number in range(count)
        ]

    def push(self, result: int, token: int) -> bool:
        """A `Watch`."""
        return token not in self._ends and self._streams[result].push(token)

    def result(self, number: int, made: Made, prompt: int) -> Generated:
        """The finished text of one result, whose last pieces are emitted now."""
        own = self._streams[number]
        if not self.needed:
            for token in made.ids:
                if token not in self._ends:
                    own.push(token)
        return Generated(own.finish(), made.ids, made.ended_by, made.score, prompt, made.drafted, made.accepted)


def tokenizer_of(model: Model, tokenizer: Tokenizer | None = None) -> Tokenizer:
    """The tokenizer to use. Raises `TextError` where there is none."""
    found = tokenizer or model.tokenizer
    if found is None:
        raise TextError("this model came without a tokenizer; give one with tokenizer=")
    return found


def encode_prompt(
    model: Model, tokenizer: Tokenizer, text: str, allow_special: bool = True, bounded: bool = True
) -> list[int]:
    """A prompt's tokens, framed as the model was trained; a decoder's prompt is left open at the end.

    An empty prompt is the decoder's begin token. Raises `TextError` for a prompt without any token, or one that leaves
    no position for an answer, unless it is not to be `bounded`.
    """
    ids = list(tokenizer.encode(text, allow_special=allow_special).ids)
    if model.encoder is None:
        frame = tokenizer.frame()
        if frame and frame[-1].token_id is not None and frame[-1].sequence is None and ids[-1:] == [frame[-1].token_id]:
            ids.pop()
        start = model.spec.bos_id if model.spec.bos_id is not None else tokenizer.bos_id
        if not ids and start is not None:
            ids = [start]
        ids += _opening(model, ids)
    if not ids:
        raise TextError("the prompt is empty and the model has no token to begin a text with; write a word")
    room = positions_of(model)
    if bounded and model.encoder is None and room is not None and len(ids) > room:
        raise TextError(f"the prompt has {len(ids)} tokens, but this model has {room} positions; shorten it")
    return ids


def _opening(model: Model, ids: list[int]) -> list[int]:
    """What a model of texts with blanks needs before it can write: a blank to fill, and the answer's start token."""
    infilling = model.spec.infilling
    if infilling is None or not ids or infilling.start in ids:
        return []
    if any(token in infilling.blanks for token in ids):
        return [infilling.start]
    # The blank for open ends is the one that counts on, or the first in the list.
    return [(infilling.running or infilling.blanks)[0], infilling.start]
