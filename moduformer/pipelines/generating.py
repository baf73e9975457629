"""What the pipelines that write text share: settings as Hugging Face's pipelines take them, and ragged batches."""

from __future__ import annotations

import dataclasses
import difflib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from moduformer.errors import PipelineError
from moduformer.generate.decoding import check_writes
from moduformer.generate.settings import GenerationSettings
from moduformer.generate.strategies import EndedBy, Made, Request, run
from moduformer.generate.text import Watching, pieces
from moduformer.model import Model
from moduformer.pipelines.pipeline import Pipeline
from moduformer.text.tokenizer import Tokenizer

Item = TypeVar("Item")
Found = TypeVar("Found")
Options = TypeVar("Options")

ROWS = 64
"""Texts written together at most, beams and copies counted: each keeps a cache of its own."""

_BROKEN = "\N{REPLACEMENT CHARACTER}"
_GENERATION = frozenset(field.name for field in dataclasses.fields(GenerationSettings))
_LENGTH_UNSAID = 20
"""`max_length` of a `transformers` 4 configuration that says nothing about it."""

# Of a call of Hugging Face's `generate`: how it works inside, or what it returns besides ids.
_NEEDLESS = {"num_workers", "padding", "framework", "use_cache", "return_dict_in_generate", "output_scores",
             "output_logits", "output_attentions", "output_hidden_states", "synced_gpus", "tokenizer",
             "cache_implementation", "return_legacy_cache", "disable_compile"}  # fmt: skip


@dataclass(frozen=True)
class Written:
    """One text that a model wrote.

    Attributes:
        text: without the prompt; a character whose bytes did not all come is left out.
        tokens: as the model made them, an end token among them.
        ended_by: "eos", "stop", "length" or "context" (see `moduformer.generate.text.Generated`).
        score: of the beam, where there are beams.
    """

    text: str
    tokens: list[int]
    ended_by: EndedBy
    score: float | None = None


class Generating(Pipeline[Item, Found, Options]):
    """A pipeline that writes. Options beside its own are settings of generation (`GenerationSettings`).

    A setting comes from the call; else from `task_specific_params` of config.json; else from the construction; else
    it is the pipeline's own (`usual`); else the checkpoint's: the order of `transformers` 4.57. Its oddities are
    kept and said: where the pipeline's own `max_new_tokens` stands, a `max_length` has no effect.
    """

    head = "text-generation"
    chunk = 16

    def usual(self) -> dict[str, Any]:
        """Settings that the pipeline brings along, `max_new_tokens` among them."""
        raise NotImplementedError

    def check(self) -> None:
        """Raises `PipelineError` for a model without tokenizer, and `TextError` for one that cannot write."""
        super().check()
        check_writes(self.model)

    def task_name(self, options: Mapping[str, Any]) -> str:
        """The name under which config.json keeps settings of this task."""
        return self.task

    def stored(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Settings and prefix that config.json keeps for this task (`task_specific_params`)."""
        every = self._config.get("task_specific_params")
        found = every.get(self.task_name(options)) if isinstance(every, Mapping) else None
        return dict(found) if isinstance(found, Mapping) else {}

    def stored_prefix(self, options: Mapping[str, Any]) -> str:
        """What config.json puts before every text of this task, such as T5's "summarize: "."""
        prefix = self.stored(options).get("prefix", self._config.get("prefix"))
        return prefix if isinstance(prefix, str) else ""

    @property
    def _config(self) -> Mapping[str, Any]:
        return {} if self.model.origin is None else self.model.origin.config

    def configured(self, given: Mapping[str, Any]) -> Options:
        """The options of a call, with `settings` made of everything that has a say in generation."""
        own = {field.name for field in dataclasses.fields(self.options_type)} - {"settings"}
        parts = []
        for source in (self.given, given):
            rest = {
                name: value
                for name, value in source.items()
                # A length may bound a prompt and a result at once.
                if (name not in own or name in _GENERATION) and name not in _NEEDLESS
            }
            for name in rest:
                if name not in _GENERATION | {"generation_config"}:
                    near = difflib.get_close_matches(name, [*own, *_GENERATION], 1)
                    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(own))}"
                    raise PipelineError(f"{self.task} has no option called {name!r}{hint}")
            parts.append(rest)
        options = {name: value for name, value in {**self.given, **given}.items() if name in own}
        settings = self._settings(parts[0], parts[1], self.adjusted(options), self.stored(options))
        made: Options = self.options_type(**options, settings=settings)
        return made

    def adjusted(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of generation that a pipeline's own options mean, such as a stop sequence."""
        return {}

    def _settings(
        self, constructed: dict[str, Any], called: dict[str, Any], meant: dict[str, Any], stored: Mapping[str, Any]
    ) -> GenerationSettings:
        values, own = self.usual(), GenerationSettings.of(self.model)
        if own.max_length is not None and own.max_length != _LENGTH_UNSAID:
            values["max_length"] = own.max_length
        values.update(constructed)
        unsaid = values.get("max_new_tokens") == self.usual()["max_new_tokens"]
        if unsaid and values.get("max_length") not in (None, _LENGTH_UNSAID):
            values["max_new_tokens"] = None
        kept = {name: value for name, value in stored.items() if name in _GENERATION and value is not None}
        overruled = sorted(name for name in kept if name in constructed and constructed[name] != kept[name])
        if overruled:
            _once(
                f"task_specific_params of this model's config.json overrule {', '.join(overruled)} given to "
                "pipeline(...), as in transformers 4; say it in the call"
            )
        values.update(kept)
        for source in (constructed.get("generation_config"), called.get("generation_config")):
            if source is not None:
                values = _plain(source)
        values.update(called)
        values.update(meant)
        values.pop("generation_config", None)
        asked = called.get("max_length", constructed.get("max_length"))
        if (
            values.get("max_new_tokens") is not None
            and values.pop("max_length", None) is not None
            and asked is not None
        ):
            _once(
                f"max_length={asked} has no effect, since max_new_tokens={values['max_new_tokens']} has the last word "
                f"as in transformers 4.57; say max_new_tokens={asked} instead"
            )
        if not values.get("do_sample"):
            said = constructed.keys() | called.keys()
            values = {
                name: value for name, value in values.items() if name not in ("temperature", "top_p") or name in said
            }
        return GenerationSettings.of(self.model, **values)


def write(
    model: Model,
    rows: Sequence[Sequence[int]],
    settings: GenerationSettings,
    new_tokens: Sequence[int],
    assistant: Model | None = None,
) -> list[list[Made]]:
    """What a model writes after (or, with an encoder, about) rows of ids; `new_tokens` bounds each row.

    Rows of any lengths are read together, and each is written as it would be alone. Returns the
    `num_return_sequences` results of every row.
    """
    found: list[list[Made]] = [[] for _ in rows]
    width = max(settings.num_beams, settings.num_return_sequences)
    for bound in sorted(set(new_tokens)):
        own = [number for number, wanted in enumerate(new_tokens) if wanted == bound]
        for first in range(0, len(own), max(1, ROWS // width)):
            part = own[first : first + max(1, ROWS // width)]
            made = run(model, [rows[i] for i in part], request(model, settings, bound, assistant))
            for number, results in zip(part, made):
                found[number] = results
    return found


def request(model: Model, settings: GenerationSettings, new_tokens: int, assistant: Model | None = None) -> Request:
    """A request to a strategy; an encoder-decoder's text begins as its settings say."""
    start = settings.decoder_start_token_id if settings.decoder_start_token_id is not None else settings.bos_token_id
    prefix = [start] if model.spec.has_source and start is not None else None
    return Request(settings, new_tokens, assistant=assistant, prefix=prefix, tokenizer=model.tokenizer)


def streamed(
    model: Model, row: Sequence[int], settings: GenerationSettings, new_tokens: int, assistant: Model | None = None
) -> Iterator[str]:
    """What a model writes after one row, piece by piece; a character that stays unfinished at the end is left out."""
    if settings.num_return_sequences > 1 or settings.num_beams > 1:
        raise PipelineError("one text is streamed as it is chosen; num_beams and num_return_sequences must be 1")
    made: list[Made] = []
    asked = request(model, settings, new_tokens, assistant)
    assert model.tokenizer is not None

    def work(emit: Any) -> None:
        watch = Watching(model.tokenizer, settings, 1, emit)
        asked.watch = watch.push
        made.append(run(model, [row], asked)[0][0])
        watch.result(0, made[0], 0)

    held = ""
    for piece in pieces(work):
        text = held + piece
        whole = text.rstrip(_BROKEN)
        held = text[len(whole) :]
        if whole:
            yield whole
    if made and not _unfinished(made[0]) and held:
        yield held


def text_of_ids(tokenizer: Tokenizer, ids: Sequence[int], skip_special: bool = True, clean_up: bool = False) -> str:
    """The text of ids; `clean_up` takes the spaces away that English does not write before marks and short forms."""
    text = tokenizer.decode(ids, skip_special_tokens=skip_special)
    if clean_up:
        for spaced, joined in _CLEAN_UPS:
            text = text.replace(spaced, joined)
    return text


_CLEAN_UPS = ((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
              (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"))  # fmt: skip


def whole_characters(text: str, made: Made) -> str:
    """A text without the character that a bound on tokens cut in two, so that no syllable is split."""
    if not _unfinished(made):
        return text
    # A byte-level decoder writes one mark for the bytes of an unfinished character, one of byte tokens up to three.
    for _ in range(3):
        text = text.removesuffix(_BROKEN)
    return text


def _unfinished(made: Made) -> bool:
    return made.ended_by in ("length", "context")


def padded(rows: Sequence[Sequence[int]], settings: GenerationSettings, tokenizer: Tokenizer | None) -> list[list[int]]:
    """Rows of ids filled up to the longest, as `generate` gives several results of one text."""
    ends, pad = settings.eos_token_id, settings.pad_token_id
    if pad is None and tokenizer is not None:
        pad = tokenizer.pad_id
    filler = pad if pad is not None else ends[0] if ends else 0
    width = max(map(len, rows), default=0)
    return [[*row, *[filler] * (width - len(row))] for row in rows]


def assistant_of(given: Any) -> Model | None:
    """A model that drafts (`assistant_model=`): a loaded one, or what `mf.load` takes."""
    if given is None or isinstance(given, Model):
        return given
    from moduformer.loading import load

    return load(given)


def _plain(config: Any) -> dict[str, Any]:
    """A generation configuration, as a mapping or Hugging Face's object, without what it leaves as it is."""
    if not isinstance(config, Mapping) and hasattr(config, "to_diff_dict"):
        config = config.to_diff_dict()
    if not isinstance(config, Mapping):
        raise PipelineError(f"generation_config is a {type(config).__name__}; give a dict of settings")
    return {name: value for name, value in config.items() if name in _GENERATION and value is not None}


_said: set[str] = set()


def _once(message: str) -> None:
    if message not in _said:
        _said.add(message)
        warnings.warn(message, UserWarning, stacklevel=4)
