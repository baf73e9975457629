"""Which strategy writes a text, what every strategy is given, and what it gives back.

A strategy is a function `(model, prompts, request) -> list[list[Made]]`: for every prompt its results, best first. To
add one, write such a function and give it a line in `STRATEGIES` and a condition in `strategy_of`.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch

from moduformer.batch import Batch
from moduformer.errors import TextError
from moduformer.generate.processors import Processor
from moduformer.generate.settings import GenerationSettings

if TYPE_CHECKING:
    from moduformer.generate.prefixes import Prefixes
    from moduformer.model import Model
    from moduformer.text.tokenizer import Tokenizer

EndedBy = Literal["eos", "stop", "length", "context"]
"""An end token; a stop string; `max_new_tokens` are there; the model has no further positions."""

Watch = Callable[[int, int], bool]
"""`(result, token) -> whether to end it`, called with every new token; results are numbered prompt after prompt."""


@dataclass
class Made:
    """One result: its new tokens (the end token among them, where one came), why it ended, and its score if it has.

    Of `drafted` tokens of speculative decoding, `accepted` were kept.
    """

    ids: list[int]
    ended_by: EndedBy
    score: float | None = None
    drafted: int = 0
    accepted: int = 0


@dataclass
class Request:
    """What a strategy is asked for.

    `processors` come after those of the settings and before those of sampling; `watch` sees every token as it is
    chosen; `assistant` is a smaller model that drafts; `prefix` is how an encoder-decoder's decoder begins; `tokenizer`
    spells the tokens, which a bound text needs; `prefixes` are what was read before, which
    sampling and beams do not read again.
    """

    settings: GenerationSettings
    max_new_tokens: int
    processors: Sequence[Processor] = ()
    watch: Watch | None = None
    assistant: Model | None = None
    prefix: Sequence[int] | Sequence[Sequence[int]] | None = None
    tokenizer: Tokenizer | None = None
    prefixes: Prefixes | None = None

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end a text."""
        return frozenset(self.settings.eos_token_id)

    def all_processors(self) -> list[Processor]:
        """Everything that changes logits before sampling (see `GenerationSettings.warpers`)."""
        return [*self.settings.processors(self.max_new_tokens), *self.processors]

    def generators(self, prompts: Sequence[Sequence[int]]) -> list[torch.Generator]:
        """A source of chance for every result, prompt after prompt, which no other result draws from.

        Result `k` of a prompt depends on the seed, the prompt's ids and `k`, not on other prompts nor their number.
        Without a seed all come from PyTorch's global state.
        """
        seed, copies = self.settings.seed, self.settings.num_return_sequences
        if seed is None:
            seeds = torch.randint(2**62, (len(prompts),)).tolist()
        elif isinstance(seed, tuple):
            if len(seed) != len(prompts):
                raise TextError(
                    f"there are {len(prompts)} prompts but {len(seed)} seeds; give one number, or one a prompt"
                )
            seeds = list(seed)
        else:
            seeds = [seed] * len(prompts)
        return [generator(own, ids, copy) for own, ids in zip(seeds, prompts) for copy in range(copies)]


def generator(seed: int, prompt: Sequence[int] = (), copy: int = 0) -> torch.Generator:
    """The source of chance for result `copy` of a prompt.

    The prompt takes part, or two prompts of one batch would be continued with the same luck.
    """
    # Mersenne twisters whose seeds differ in few bits begin alike; hashing tells them apart.
    words = ",".join(map(str, (seed, copy, *prompt)))
    mixed = hashlib.blake2b(words.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(mixed, "big") >> 1)


Strategy = Callable[["Model", Batch | Sequence[Sequence[int]], Request], list[list[Made]]]

STRATEGIES = {
    "sample": "moduformer.generate.sampling:generate",
    "beam": "moduformer.generate.beams:generate",
    "contrastive": "moduformer.generate.contrastive:generate",
    "speculative": "moduformer.generate.speculative:generate",
}
"""Where each strategy is; a module is imported when it is first used. Greedy search is sampling without chance."""

CONSTRAINT = "moduformer.generate.constrained:constraint"
"""`(model, request) -> Processor` for settings with a `regex` or a `json_schema`."""


def strategy_of(request: Request) -> str:
    """The name of the strategy that a request's settings mean."""
    settings = request.settings
    drafted = request.assistant is not None or settings.prompt_lookup_num_tokens is not None
    if settings.num_beams > 1:
        if drafted or settings.penalty_alpha:
            raise TextError("num_beams cannot be combined with penalty_alpha, prompt lookup or an assistant model")
        return "beam"
    if settings.penalty_alpha and settings.top_k > 1:
        if drafted or settings.do_sample:
            raise TextError("penalty_alpha cannot be combined with do_sample, prompt lookup or an assistant model")
        return "contrastive"
    return "speculative" if drafted else "sample"


def run(model: Model, prompts: Batch | Sequence[Sequence[int]], request: Request) -> list[list[Made]]:
    """The results of every prompt, by the strategy its settings mean. Raises `TextError`."""
    name = strategy_of(request)
    strategy: Strategy = _function(STRATEGIES[name], f"{name} search")
    if request.watch is not None and name == "beam":
        raise TextError("beams cannot be streamed or stopped at a text: which one is best is known at the end")
    return strategy(model, prompts, bound(model, request))


def bound(model: Model, request: Request) -> Request:
    """The request with the processor that its `regex` or `json_schema` asks for."""
    if request.settings.regex is None and request.settings.json_schema is None:
        return request
    bind = _function(CONSTRAINT, "binding a text to a form")
    # An end that is forced could come in the middle of the form; a text that is too long ends as "length" instead.
    settings = request.settings.override(forced_eos_token_id=())
    return replace(request, settings=settings, processors=[*request.processors, bind(model, request)])


def _function(place: str, what: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise TextError(f"{what} is not part of this installation") from None
