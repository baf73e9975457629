"""The text2text-generation pipeline, and what summarization and translation share with it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from moduformer.architecture import LearnedPositions
from moduformer.errors import PipelineError
from moduformer.generate.settings import GenerationSettings
from moduformer.generate.strategies import Made
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
from moduformer.pipelines.passages import Passage, join
from moduformer.pipelines.pipeline import text_of


@dataclass(frozen=True)
class TextToTextOptions:
    """What a call may say, beside any setting of generation.

    Attributes:
        settings: of generation, made of the rest.
        return_tensors: give token ids, the decoder's start token among them, in place of text.
        return_text: what Hugging Face's call has; it changes nothing here.
        clean_up_tokenization_spaces: take spaces before English punctuation away.
        truncation: keep only as many first tokens of a text as the model reads at once.
        stop_sequence: a text whose first token ends the result.
        assistant_model: a smaller model that drafts (speculative decoding).
        details: also tell `windows`, and as `truncated` whether a text was cut or an answer reached its bound.
    """

    settings: GenerationSettings = field(default_factory=GenerationSettings)
    return_tensors: bool | None = None
    return_text: bool | None = None
    clean_up_tokenization_spaces: bool | None = None
    truncation: bool | str | None = None
    stop_sequence: str | None = None
    assistant_model: Any = None
    details: bool = False


Options = TypeVar("Options", bound=TextToTextOptions)


@dataclass(frozen=True)
class Source:
    """A text and the windows it is read in: where each stands and the ids the model reads.

    `cut` says whether some of the text is not read; `forced_first` is a token every answer begins with.
    """

    text: str
    windows: tuple[Passage, ...]
    ids: tuple[list[int], ...]
    cut: bool = False
    forced_first: int | None = None


@dataclass(frozen=True)
class Answered:
    """A text's answers.

    Attributes:
        texts: `num_return_sequences` of them, each joined over the windows.
        written: for every window its results, best first.
        windows: where each window stands in the text; `text[start:end]` is what was read.
        truncated: whether some of the text was not read, or an answer ended at the bound on tokens.
    """

    texts: tuple[str, ...]
    written: tuple[tuple[Written, ...], ...]
    windows: tuple[Passage, ...]
    truncated: bool


class Answering(Generating[Source, Answered, Options]):
    """A pipeline whose model reads a text whole and writes another. A subclass says the name of its result.

    Attributes:
        returns: what results are called: `{returns}_text` and `{returns}_token_ids`.
    """

    returns: ClassVar[str]

    def usual(self) -> dict[str, Any]:
        """What `transformers` 4.57 brings along: 256 new tokens, four beams."""
        return {"max_new_tokens": 256, "num_beams": 4}

    def check(self) -> None:
        """Raises `PipelineError` for a model without an encoder."""
        super().check()
        if self.model.encoder is None:
            raise PipelineError(
                f"this model continues a text and has no encoder to read one with, so it cannot do {self.task}; "
                "use text-generation"
            )

    def adjusted(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The first token of a stop sequence ends a text, as in `transformers` 4."""
        stop = options.get("stop_sequence")
        if stop is None:
            return {}
        assert self.tokenizer is not None
        ids = self.tokenizer.encode(stop, add_special_tokens=False).ids
        if len(ids) > 1:
            warnings.warn(
                f"stop_sequence {stop!r} has {len(ids)} tokens, and the first alone ends a text, as in transformers "
                "4; stop_strings=[...] with num_beams=1 stops at the whole",
                UserWarning,
                stacklevel=4,
            )
        return {"eos_token_id": ids[:1]}

    # What a subclass may say -----------------------------------------------------------------------------------------

    def frame_ids(self, text: str, options: Options) -> list[int]:
        """A text's ids, framed as the model was trained to read it."""
        assert self.tokenizer is not None
        return list(self.tokenizer.encode(self.stored_prefix(_languages(options)) + text).ids)

    def windows_of(self, text: str, options: Options) -> list[Passage]:
        """Where the windows of a text stand: by default one, however long it is."""
        return [Passage(0, len(text))]

    def forced_first(self, options: Options) -> int | None:
        """The token that an answer begins with, such as its language."""
        return None

    def language_ids(self) -> frozenset[int]:
        """Tokens that name languages; none for most models."""
        return frozenset()

    # Reading ---------------------------------------------------------------------------------------------------------

    def read(self, value: Any, options: Options) -> Source:
        """A text with the ids of its windows."""
        text = text_of(value)
        cut = False
        if options.truncation not in (None, False, "do_not_truncate"):
            ids = self.frame_ids(text, options)
            limit = self.limit
            if limit is not None and len(ids) > limit:
                cut, ids = True, self.shortened(ids, limit, options)
            windows, rows = [Passage(0, len(text))], [ids]
        else:
            windows = self.windows_of(text, options)
            rows = [self.frame_ids(text[w.start : w.end] if len(windows) > 1 else text, options) for w in windows]
        room = self.positions
        for ids in rows:
            if not ids:
                raise PipelineError("is empty, and this tokenizer adds no token; write a word")
            if room is not None and len(ids) > room:
                raise PipelineError(
                    f"has {len(ids)} tokens, but this model reads at most {room} at once; shorten it, or say "
                    "truncation=True to keep its beginning"
                )
        return Source(text, tuple(windows), tuple(rows), cut, self.forced_first(options))

    @property
    def positions(self) -> int | None:
        """Tokens the model has positions for; None where there is no such bound."""
        places = self.model.spec.embedding.positions
        return places.max if isinstance(places, LearnedPositions) else None

    @property
    def limit(self) -> int | None:
        """Tokens the model was made to read at once: what its positions or its tokenizer's files allow."""
        assert self.tokenizer is not None
        longest = self._config.get("max_position_embeddings") if self.positions is None else None
        given = (self.positions, self.tokenizer.model_max_length, longest)
        return min((n for n in given if isinstance(n, int) and n > 0), default=None)

    def shortened(self, ids: list[int], limit: int, options: Options) -> list[int]:
        """The ids of a text's beginning, `limit` of them, in the same frame."""
        assert self.tokenizer is not None
        # The frame stands at both ends; it is what an empty text leaves.
        frame = self.frame_ids("", options)
        behind = next((n for n in range(len(frame), 0, -1) if ids[-n:] == frame[-n:]), 0)
        return [*ids[: max(limit - behind, 0)], *ids[len(ids) - behind :]]

    # Writing ---------------------------------------------------------------------------------------------------------

    def find(self, items: Sequence[Source], options: Options) -> Iterator[Answered]:
        """An answer to each text, joined over its windows."""
        flat = [(item, ids) for item in items for ids in item.ids]
        results: list[list[Made]] = [[] for _ in flat]
        for first in dict.fromkeys(item.forced_first for item in items):
            own = [number for number, (item, _) in enumerate(flat) if item.forced_first == first]
            settings = options.settings if first is None else options.settings.override(forced_bos_token_id=first)
            rows = [flat[number][1] for number in own]
            bounds = [self.new_tokens(row, settings) for row in rows]
            made = write(self.model, rows, settings, bounds, assistant_of(options.assistant_model))
            for number, found in zip(own, made):
                results[number] = found
        answers = iter(results)
        for item in items:
            yield self._answered(item, [next(answers) for _ in item.ids], options)

    def new_tokens(self, row: Sequence[int], settings: GenerationSettings) -> int:
        """How many tokens an answer may have; with an encoder the start token counts as given."""
        return settings.new_tokens(1 if self.model.spec.has_source else len(row))

    def _answered(self, item: Source, results: Sequence[Sequence[Made]], options: Options) -> Answered:
        written = tuple(tuple(self._written(made, options) for made in window) for window in results)
        between = [window.before for window in item.windows]
        if len(written) == 1:
            texts = tuple(one.text for one in written[0])
        else:
            texts = tuple(join([one.text for one in copies], between) for copies in zip(*written))
        reached = any(one.ended_by in ("length", "context") for window in written for one in window)
        return Answered(texts, written, item.windows, item.cut or reached)

    def _written(self, made: Made, options: Options) -> Written:
        assert self.tokenizer is not None
        text = text_of_ids(self.tokenizer, made.ids, True, bool(options.clean_up_tokenization_spaces))
        return Written(whole_characters(text, made), made.ids, made.ended_by, made.score)

    def shape(self, found: Answered, options: Options) -> list[dict[str, Any]]:
        """A dict for every answer: its text, or its ids."""
        records: list[dict[str, Any]]
        if options.return_tensors:
            start = options.settings.decoder_start_token_id
            begin = [start] if self.model.spec.has_source and start is not None else []
            rows = [[*begin, *(token for one in copies for token in one.tokens)] for copies in zip(*found.written)]
            filled = padded(rows, options.settings, self.tokenizer)
            records = [{f"{self.returns}_token_ids": row} for row in filled]
        else:
            records = [{f"{self.returns}_text": text} for text in found.texts]
        if options.details:
            for record in records:
                record |= {"windows": len(found.windows), "truncated": found.truncated}
        return records

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """See `Pipeline.__call__`. A list of texts with one answer each gives a flat list, as in `transformers` 4."""
        found = super().__call__(inputs, **options)
        listed = isinstance(inputs, list | tuple) or hasattr(inputs, "tolist")
        if listed and all(len(results) == 1 for results in found):
            return [results[0] for results in found]
        return found

    def stream_text(self, value: Any, **options: Any) -> Iterator[str]:
        """The answer to one text, piece by piece as it is written; one beam unless a call asks for what cannot be.

        Windows of a long text are written one after another. Raises `PipelineError`.
        """
        chosen = self.configured({"num_beams": 1, **options})
        try:
            item = self.read(value, chosen)
        except PipelineError as error:
            raise PipelineError(f"the text {error}") from None
        settings = chosen.settings
        if item.forced_first is not None:
            settings = settings.override(forced_bos_token_id=item.forced_first)
        return self._pieces(item, settings, chosen)

    def _pieces(self, item: Source, settings: GenerationSettings, chosen: Options) -> Iterator[str]:
        assistant, said = assistant_of(chosen.assistant_model), ""
        for window, ids in zip(item.windows, item.ids):
            bound, fresh = self.new_tokens(ids, settings), True
            for piece in streamed(self.model, ids, settings, bound, assistant):
                if fresh and said:
                    piece = piece.lstrip()
                    if not piece:
                        continue
                    piece = join([said[-1], piece[0]], ["", window.before])[1:] + piece[1:]
                fresh = False
                said += piece
                yield piece


def _languages(options: Any) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("src_lang", "tgt_lang") if getattr(options, name, None)}


class TextToText(Answering[TextToTextOptions]):
    """What an encoder-decoder writes about texts."""

    task = "text2text-generation"
    returns = "generated"
    options_type = TextToTextOptions
