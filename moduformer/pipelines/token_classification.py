"""The token-classification pipeline: entities (or other tags) of texts and where they stand, whatever their length."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from moduformer.errors import PipelineError, TextError
from moduformer.pipelines.entity_grouping import Entity, Grouping, Piece, longest_of_overlapping
from moduformer.pipelines.pipeline import Pipeline, text_of
from moduformer.pipelines.token_reading import TokenizedText, Words, gathered, tokenized, window_logits
from moduformer.pipelines.windowing import LONGEST, best_windows, longest_row, windower
from moduformer.text.tags import OUTSIDE, TagScheme, best_path

STRATEGIES = ("none", "simple", "first", "average", "max", "bio")
"""Ways of gathering tokens into entities: those of `transformers` 4, and "bio", which obeys the scheme of the tags."""


@dataclass(frozen=True)
class TaggingOptions:
    """What a call may say.

    Attributes:
        aggregation_strategy: how tokens become entities. "none": every token by itself; "simple", "first", "average"
            and "max" as in `transformers` 4; "bio": the likeliest sequence of tags that their scheme allows, with
            `word == text[start:end]`. `predict` always does the last.
        grouped_entities, ignore_subwords: older spellings of "simple" and "first".
        ignore_labels: tags or types to leave out; None: O.
        stride: tokens that neighbouring windows over a long text share. Said in a call, entities of windows are
            gathered as in `transformers` 4, the longest where they overlap; unsaid, windows share a quarter and every
            token is read where it has most context.
        offset_mapping: characters of each token, the frame's included, in place of what the tokenizer says; one list a
            text.
        is_split_into_words: each input is a list of words; offsets are those of the words with `delimiter` between.
        delimiter: what stands between words; a space unless said.
        max_length: tokens of a window at most; None takes what the model reads.
        truncation: keep only the first window of a long text.
        whole_words: entities of `predict` and "bio" begin and end where words of letters and digits do; None: where the
            model's config says so, because it was trained on words.
        scheme: "bio", "iob1", "bioes", "io" or "plain": what the tags obey; None takes what the model's config or
            their names say.
        details: also tell `window` (in which the entity's first token was read), `windows` and `truncated`.
    """

    aggregation_strategy: str | None = None
    grouped_entities: bool | None = None
    ignore_subwords: bool | None = None
    ignore_labels: Sequence[str] | None = None
    stride: int | None = None
    offset_mapping: Sequence[Any] | None = None
    is_split_into_words: bool = False
    delimiter: str | None = None
    max_length: int | None = None
    truncation: bool = False
    whole_words: bool | None = None
    scheme: str | None = None
    details: bool = False

    def __post_init__(self) -> None:
        strategy = self.aggregation_strategy
        if strategy is not None and str(strategy).lower() not in STRATEGIES:
            near = difflib.get_close_matches(str(strategy), STRATEGIES, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(STRATEGIES)}"
            raise PipelineError(f"aggregation_strategy is {strategy!r}; {hint}")
        if self.stride is not None and self.strategy == "none" and strategy is not None:
            raise PipelineError('stride needs entities: choose another aggregation_strategy than "none"')

    @property
    def strategy(self) -> str:
        """The strategy in small letters."""
        return str(self.aggregation_strategy or "none").lower()

    @property
    def ignored(self) -> frozenset[str]:
        """Tags and types to leave out."""
        return frozenset((OUTSIDE,) if self.ignore_labels is None else self.ignore_labels)


@dataclass(frozen=True)
class TaggedSpan:
    """An entity, or for tags without marks a word: `text` is what stands from character `start` to `end - 1`.

    Attributes:
        type: of the entity, such as "PER"; for tags without marks the tag.
        start, end: its first and last + 1 character.
        text: what stands there.
        score: the mean probability of its tags.
    """

    type: str
    start: int
    end: int
    text: str
    score: float


@dataclass(frozen=True, eq=False)
class Tagged:
    """What a text's tokens were found to be.

    Attributes:
        text: the text, or the words with what stands between them.
        tokens: its tokens and windows.
        parts: the probability of each tag for each token of each window, frames included.
        scheme: the tags and what they obey.
        whole_words: whether entities begin and end where words do.
        offsets: characters of each token, the frame's included, where the call gave them.
    """

    text: str
    tokens: TokenizedText
    parts: Sequence[np.ndarray]
    scheme: TagScheme
    whole_words: bool = False
    offsets: np.ndarray | None = None

    @property
    def windows(self) -> int:
        """How many windows the text was read in."""
        return len(self.tokens.windows)

    @property
    def truncated(self) -> bool:
        """Whether some of the text was not read."""
        return self.tokens.windows.report.truncated

    @cached_property
    def scores(self) -> np.ndarray:
        """The probability of each tag for each token, read in the window with most context, `[tokens, tags]`."""
        return gathered(self.tokens, self.parts)

    @cached_property
    def window_of(self) -> np.ndarray:
        """The window in which each token is read, `[tokens]`."""
        return best_windows(self.tokens.windows)

    @cached_property
    def units(self) -> np.ndarray:
        """The first token of each stretch of tokens that has one tag, `[units]`: a given word, else a character."""
        places = self._places
        if self.tokens.words is not None:
            words = self.tokens.word_of()[: len(places)]
            return np.flatnonzero((words >= 0) & (np.diff(words, prepend=-1) != 0))
        # A byte-level token may be a part of a character, and some tokens are nothing but white space.
        written = np.flatnonzero(places[:, 1] > places[:, 0])
        reached = np.maximum.accumulate(places[written, 1])
        begins = places[written, 0] >= np.concatenate([[0], reached[:-1]])[: len(written)]
        if self.whole_words or self.scheme.kind == "plain":
            begins &= ~np.array([_in_a_word(self.text, start) for start in places[written, 0].tolist()], bool)
        return written[begins]

    @cached_property
    def path(self) -> np.ndarray:
        """The number of each unit's tag in the likeliest sequence that the scheme allows, `[units]`."""
        with np.errstate(divide="ignore"):
            return best_path(np.log(self.scores[self.units]), self.scheme)

    @cached_property
    def spans(self) -> list[TaggedSpan]:
        """The entities, or words, in order."""
        return [span for span, _ in self.placed]

    @cached_property
    def placed(self) -> list[tuple[TaggedSpan, int]]:
        """The entities, each with the number of its first token."""
        places = self._unit_places
        found = []
        for type_, first, end in self.scheme.stretches(self.path.tolist()):
            start, stop = int(places[first, 0]), int(places[end - 1, 1])
            chosen = self.scores[self.units[first:end], self.path[first:end]]
            span = TaggedSpan(type_, start, stop, self.text[start:stop], float(chosen.mean()))
            found.append((span, int(self.units[first])))
        return found

    @cached_property
    def _places(self) -> np.ndarray:
        return self.tokens.trimmed()[: self.tokens.seen]

    @cached_property
    def _unit_places(self) -> np.ndarray:
        """First and last + 1 character of each unit, `[units, 2]`."""
        if self.tokens.words is not None:
            return self.tokens.words[self.tokens.word_of()[self.units]]
        if not len(self.units):
            return np.zeros((0, 2), np.int64)
        ends = np.where(self._places[:, 1] > self._places[:, 0], self._places[:, 1], 0)
        return np.stack([self._places[self.units, 0], np.maximum.reduceat(ends, self.units)], 1)

    def word_tags(self) -> list[str]:
        """A tag for each given word; a word of which the tokenizer keeps nothing, or that was not read, has O."""
        assert self.tokens.words is not None
        blank = OUTSIDE if OUTSIDE in self.scheme.labels else self.scheme.labels[0]
        tags = [blank] * len(self.tokens.words)
        numbers = self.tokens.word_of()[self.units]
        for word, tag in zip(numbers.tolist(), self.path.tolist()):
            tags[word] = self.scheme.labels[tag]
        return tags


@dataclass(frozen=True)
class TaggingInput:
    """A text, or words, and perhaps the characters of its tokens."""

    text: str | Words
    offsets: Sequence[tuple[int, int]] | None = None


class TokenClassification(Pipeline[TaggingInput, Tagged, TaggingOptions]):
    """Entities of texts, or tags of words; `predict` gives a `Tagged` a text, with its `spans`."""

    task = "token-classification"
    head = "token-classification"
    options_type = TaggingOptions

    def check(self) -> None:
        """Raises `PipelineError` if the model has no tags to give."""
        super().check()
        if self.model.spec.head("tag") is None:
            raise PipelineError("this model gives no tags to tokens; fine-tune it with `moduformer train --task tag`")

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The model's tags; numbered where its config names none."""
        head = self.model.spec.head("tag")
        assert head is not None
        return tuple(self.model.labels or (f"LABEL_{number}" for number in range(head.outputs or 0)))

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """See `Pipeline.__call__`. With `is_split_into_words`, a list of words is one input in a list."""
        return super().__call__(self._inputs(inputs, options), **options)

    def stream(self, inputs: Any, **options: Any) -> Iterator[Tagged]:
        """See `Pipeline.stream`."""
        return super().stream(self._inputs(inputs, options), **options)

    def configured(self, given: Mapping[str, Any]) -> TaggingOptions:
        """The options of a call. The older spellings of a strategy say it wherever they are said."""
        before, self.given = self.given, _with_strategy(self.given)
        try:
            return super().configured(_with_strategy(given))
        finally:
            self.given = before

    def read(self, value: Any, options: TaggingOptions) -> TaggingInput:
        """A text, or a list of words where inputs are split."""
        if isinstance(value, TaggingInput):
            inner = self.read(value.text, options)
            return TaggingInput(inner.text, value.offsets)
        if not options.is_split_into_words:
            return TaggingInput(text_of(value))
        if not isinstance(value, list | tuple):
            raise PipelineError("is no list of words, though is_split_into_words was said")
        delimiter = " " if options.delimiter is None else options.delimiter
        return TaggingInput(Words(tuple(map(text_of, value)), delimiter))

    def find(self, items: Sequence[TaggingInput], options: TaggingOptions) -> Iterator[Tagged]:
        """The probability of each tag for each token of each text."""
        limit = longest_row(self.model)
        read = windower(self.model, options.max_length or limit or LONGEST, options.stride)
        if options.stride is not None and options.stride >= read.max_length:
            raise PipelineError(
                f"stride is {options.stride}; it must be below the {read.max_length} tokens of a window"
            )
        scheme, whole = self._scheme(options), options.whole_words
        if whole is None:
            whole = self._config.get("whole_words") is True
        texts = tokenized(read, [item.text for item in items], options.truncation)
        for item, text, logits in zip(items, texts, window_logits(self.model, texts, read.segments)):
            written = item.text.text if isinstance(item.text, Words) else item.text
            given = None if item.offsets is None else np.array(item.offsets, np.int64).reshape(-1, 2)
            yield Tagged(written, text, [_softmax(part) for part in logits], scheme, whole, given)

    def shape(self, found: Tagged, options: TaggingOptions) -> Any:
        """A list of dicts, one a token or an entity."""
        if options.strategy == "bio":
            listed = [
                {"entity_group": span.type, "score": span.score, "word": span.text, "start": span.start,
                 "end": span.end} | self._details(found, token, options)
                for span, token in found.placed
            ]  # fmt: skip
            return [entity for entity in listed if entity["entity_group"] not in options.ignored]
        if options.stride is None or found.windows == 1:
            return self._entities(found, self._pieces(found, None), options)
        every = [
            entity
            for number in range(found.windows)
            for entity in self._entities(found, self._pieces(found, number), options)
        ]
        return longest_of_overlapping(every)

    def _entities(self, found: Tagged, pieces: list[Piece], options: TaggingOptions) -> list[Entity]:
        tokenizer = self.tokenizer
        assert tokenizer is not None
        entities = Grouping(self.labels, tokenizer.join)(pieces, options.strategy)
        name = "entity" if options.strategy == "none" else "entity_group"
        kept = [entity for entity in entities if entity[name] not in options.ignored]
        if options.details:
            starts = {piece.start: number for number, piece in reversed(list(enumerate(pieces)))}
            kept = [entity | self._details(found, starts[entity["start"]], options) for entity in kept]
        return kept

    def _details(self, found: Tagged, token: int, options: TaggingOptions) -> dict[str, Any]:
        if not options.details:
            return {}
        return {"window": int(found.window_of[token]), "windows": found.windows, "truncated": found.truncated}

    def _pieces(self, found: Tagged, window: int | None) -> list[Piece]:
        """The tokens of one window, or of all of them, each read where it has most context."""
        text, before = found.tokens, found.tokens.before
        if window is None:
            first, scores = 0, found.scores
        else:
            first = text.windows[window].start_token
            count = text.windows[window].stop_token - first
            scores = found.parts[window][before : before + count]
        tokenizer = self.tokenizer
        assert tokenizer is not None
        of_words = bool(getattr(tokenizer.to_tokenizers().model, "continuing_subword_prefix", None))
        pieces = []
        for place, own in enumerate(scores):
            number = text.ids[first + place]
            spelled = tokenizer.id_to_token(number) or ""
            given = text.offsets[first + place] if found.offsets is None else found.offsets[before + place]
            start, end = int(given[0]), int(given[1])
            written = found.text[start:end]
            if of_words:
                continues = len(spelled) != len(written)
            else:
                continues = start > 0 and " " not in found.text[start - 1 : start + 1]
            if number == tokenizer.unk_id:
                spelled, continues = written, False
            pieces.append(Piece(spelled, own, start, end, before + place, continues))
        return pieces

    @property
    def _config(self) -> Mapping[str, Any]:
        return {} if self.model.origin is None else self.model.origin.config

    def _scheme(self, options: TaggingOptions) -> TagScheme:
        stored = self._config.get("tag_scheme")
        try:
            if options.scheme is None and isinstance(stored, str):
                return TagScheme.of(self.labels, stored.lower())
            return TagScheme.of(self.labels, options.scheme)
        except TextError as error:
            raise PipelineError(str(error)) from None

    def _inputs(self, inputs: Any, options: dict[str, Any]) -> Any:
        chosen = self.configured({name: value for name, value in options.items() if name != "batch_size"})
        listed = isinstance(inputs, list | tuple)
        if chosen.is_split_into_words and listed and not all(isinstance(entry, list | tuple) for entry in inputs):
            inputs = [list(inputs)]
        mapping = options.pop("offset_mapping", None)
        if not mapping:
            return inputs
        given = [mapping] if isinstance(mapping, list) and isinstance(mapping[0], tuple) else list(mapping)
        one = isinstance(inputs, str)
        values = [inputs] if one else list(inputs)
        if len(given) != len(values):
            raise PipelineError(f"offset_mapping has {len(given)} lists for {len(values)} inputs; give one for each")
        wrapped = [TaggingInput(value, offsets) for value, offsets in zip(values, given)]
        return wrapped[0] if one else wrapped

    def is_one(self, inputs: Any) -> bool:
        """Whether this is a single input rather than many."""
        return isinstance(inputs, TaggingInput) or super().is_one(inputs)


def _with_strategy(given: Mapping[str, Any]) -> dict[str, Any]:
    kept = dict(given)
    grouped, subwords = kept.pop("grouped_entities", None), kept.pop("ignore_subwords", None)
    if grouped is not None or subwords is not None:
        kept["aggregation_strategy"] = ("first" if subwords else "simple") if grouped else "none"
    return kept


def _softmax(logits: np.ndarray) -> np.ndarray:
    raised: np.ndarray = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
    return raised / raised.sum(axis=-1, keepdims=True)


def _in_a_word(text: str, at: int) -> bool:
    return at > 0 and _is_wordly(text[at - 1]) and _is_wordly(text[at])


def _is_wordly(character: str) -> bool:
    return character.isalnum() or character == "_"
