"""Speculative decoding: a draft is judged in one pass, and the text is what the model would have written alone.

Drafts come from a smaller model, or from the text itself (prompt lookup): what followed its last tokens before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from moduformer.batch import Batch
from moduformer.errors import TextError
from moduformer.generate.decoding import Decoding, Row, check_writes
from moduformer.generate.processors import Processor, apply
from moduformer.generate.sampling import positions_of, sample
from moduformer.generate.strategies import EndedBy, Made, Request

if TYPE_CHECKING:
    from moduformer.model import Model


class Drafter(Protocol):
    """Guesses how a text goes on."""

    def draft(self, row: Row, most: int, generator: torch.Generator | None) -> tuple[list[int], Tensor | None]:
        """At most `most` tokens, and the probabilities `[tokens, vocab]` they were drawn from; None if by no chance."""
        ...


def generate(model: Model, prompts: Batch | Sequence[Sequence[int]], request: Request) -> list[list[Made]]:
    """The strategy: results are written one after another, each with `drafted` and `accepted` counted.

    A draft token x is kept with probability min(1, p(x) / q(x)), where p is the model's distribution as all processors
    leave it and q the draft's; the first that is not is replaced by a draw from max(p - q, 0), so the text is
    distributed exactly as without a draft (Leviathan et al. 2023, algorithm 1). Without `do_sample` the text is the
    greedy one. With both an assistant and `prompt_lookup_num_tokens`, the assistant drafts. Raises `TextError` for an
    assistant whose tokens mean something else.
    """
    settings = request.settings
    batch = prompts if isinstance(prompts, Batch) else Batch.from_lists(prompts, device=model.device)
    batch = batch.select([batch.order.index(i) for i in range(len(batch.order))])
    ids = [row.tolist() for row in batch.tokens.split(batch.rows.lengths)]
    assistant, copies = request.assistant, settings.num_return_sequences
    if assistant is not None:
        check_assistant(model, assistant)
    generators = request.generators(ids) if settings.do_sample else []
    made: list[list[Made]] = [[] for _ in ids]
    for result in range(len(ids) * copies):
        place = result // copies
        own, prefix = batch.select([place]), _prefix(request, place)
        drafter: Drafter
        if assistant is not None:
            drafter = _Assistant(Decoding(assistant, own, prefix), request, _width(model))
        else:
            source = ids[place] if model.spec.has_source else []
            drafter = PromptLookup(settings.prompt_lookup_num_tokens or 1, settings.max_matching_ngram_size, source)
        generator = generators[result] if generators else None
        made[place].append(_write(Decoding(model, own, prefix), drafter, request, result, generator))
    return made


def check_assistant(model: Model, assistant: Model) -> None:
    """Raises `TextError` unless a draft of `assistant` can be judged by `model`: same tokens, same kind of model."""
    check_writes(assistant)
    if model.spec.has_source != assistant.spec.has_source:
        raise TextError("the assistant must have an encoder where the model has one, and none where it has none")
    one, other = model.tokenizer, assistant.tokenizer
    if one is not None and other is not None:
        words, drafts = one.to_tokenizers().get_vocab(), other.to_tokenizers().get_vocab()
        if words != drafts:
            odd = sorted(word for word, _ in words.items() ^ drafts.items())[0]
            raise TextError(
                f"the assistant has another tokenizer ({len(drafts):,} tokens, the model {len(words):,}; {odd!r:.40} "
                "differs), so its drafts mean something else; choose a smaller model of the same family"
            )
    elif (sizes := (_width(model), _width(assistant)))[0] != sizes[1]:
        raise TextError(
            f"the assistant has {sizes[1]:,} tokens and the model {sizes[0]:,}: they have different tokenizers, and "
            "its drafts mean something else; choose a smaller model of the same family"
        )


def _width(model: Model) -> int:
    return model.targets.tokens.weight.shape[0]


def _prefix(request: Request, place: int) -> Sequence[int] | Sequence[Sequence[int]] | None:
    if request.prefix is None:
        return None
    rows = [row for row in request.prefix if isinstance(row, Sequence)]
    return [rows[place]] if rows else request.prefix


def _write(
    decoding: Decoding, drafter: Drafter, request: Request, result: int, generator: torch.Generator | None
) -> Made:
    """One result. The text's last token is always chosen but not fed yet; it is fed with the next draft."""
    processors = [*request.all_processors(), *request.settings.warpers()]
    made, room, fed = Made([], "length"), positions_of(decoding.model), decoding.rows[0]
    logits = decoding.logits
    draft: list[int] = []
    chances: Tensor | None = None
    while True:
        kept, following = _judge(Row(list(fed.ids), fed.given), made.ids, draft, chances, logits, processors, generator)
        made.drafted += len(draft)
        made.accepted += kept
        for token in [*draft[:kept], following]:
            made.ids.append(token)
            stopped = request.watch is not None and request.watch(result, token)
            ended: EndedBy | None = None
            if token in request.ends:
                ended = "eos"
            elif stopped:
                ended = "stop"
            elif len(made.ids) >= request.max_new_tokens:
                ended = "length"
            elif room is not None and fed.given + len(made.ids) > room:
                ended = "context"
            if ended is not None:
                made.ended_by = ended
                return made
        length = fed.given + len(made.ids) - 1
        if len(fed.ids) > length:
            decoding.rollback([length])
            fed = decoding.rows[0]
        # The token that follows the draft comes for nothing, so the draft leaves room for it.
        most = request.max_new_tokens - len(made.ids) - 1
        if room is not None:
            most = min(most, room - length - 1)
        draft, chances = drafter.draft(Row(fed.ids[: fed.given] + made.ids, fed.given), most, generator)
        logits = decoding.score([[made.ids[-1], *draft]])[0]
        logits = logits if logits.dtype == torch.float64 else logits.float()


def _judge(
    row: Row,
    new: Sequence[int],
    draft: Sequence[int],
    chances: Tensor | None,
    logits: Tensor,
    processors: Sequence[Processor],
    generator: torch.Generator | None,
) -> tuple[int, int]:
    """How many tokens of a draft are kept, and the token that follows them; `logits` `[draft + 1, vocab]`."""
    row = Row(row.ids[: row.given] + list(new), row.given)
    for place in range(len(draft) + 1):
        own = apply(processors, [row], logits[place : place + 1])
        token = draft[place] if place < len(draft) else None
        if generator is None:
            best = int(own.argmax())
            if best != token:
                return place, best
        elif token is None:
            return place, sample(own, [generator])[0]
        else:
            p = own[0].double().softmax(-1)
            q = torch.zeros_like(p)
            if chances is None:
                q[token] = 1
            else:
                q[: chances.shape[1]] = chances[place][: len(q)].to(p)
            drawn = torch.rand((), dtype=torch.float64, generator=generator)
            if float(drawn) * float(q[token]) >= float(p[token]):
                return place, sample((p - q).clamp_min(0).log()[None], [generator])[0]
        assert token is not None
        row.ids.append(token)
    raise AssertionError("the last place has no draft")


class PromptLookup:
    """Drafts what followed the same last tokens earlier in the text (Saxena 2023).

    Arguments:
        tokens: how many to draft at most.
        longest: the last so many tokens are looked for, then fewer; the latest place with a whole draft behind it wins.
        source: an encoder's text, which is looked through too.
    """

    def __init__(self, tokens: int, longest: int = 2, source: Sequence[int] = ()) -> None:
        self._tokens, self._longest, self._source = tokens, longest, list(source)

    def draft(self, row: Row, most: int, generator: torch.Generator | None = None) -> tuple[list[int], Tensor | None]:
        """See `Drafter`."""
        wanted, text = min(self._tokens, most), self._source + row.ids
        if wanted <= 0:
            return [], None
        for size in range(min(self._longest, len(row.ids)), 0, -1):
            tail = text[-size:]
            longest: list[int] = []
            for begin in range(len(text) - size - 1, -1, -1):
                if text[begin + size - 1] == tail[-1] and text[begin : begin + size] == tail:
                    found = text[begin + size : begin + size + wanted]
                    if len(found) > len(longest):
                        longest = found
                    if len(longest) == wanted:
                        break
            if longest:
                return longest, None
        return [], None


class _Assistant:
    """Drafts with a smaller model, which reads along."""

    def __init__(self, decoding: Decoding, request: Request, vocab: int) -> None:
        self._decoding, self._request = decoding, request
        # Vocabularies may be filled up to different round numbers.
        self._vocab = min(vocab, _width(decoding.model))
        self._begin = decoding.prompts[0]
        self._processors = [*request.all_processors(), *request.settings.warpers()]
        self._room = positions_of(decoding.model)

    def draft(self, row: Row, most: int, generator: torch.Generator | None) -> tuple[list[int], Tensor | None]:
        """See `Drafter`."""
        most = min(most, self._request.settings.num_assistant_tokens)
        if self._room is not None:
            most = min(most, self._room - len(row.ids) + 1)
        if most <= 0 or max(row.new, default=0) >= self._vocab:
            return [], None
        self._follow(row)
        text, drafted, chances = Row(list(row.ids), row.given), [], []
        while True:
            logits = apply(self._processors, [text], self._decoding.logits[:, : self._vocab])
            token = int(logits.argmax()) if generator is None else sample(logits, [generator])[0]
            chances.append(logits.double().softmax(-1))
            drafted.append(token)
            text.ids.append(token)
            if len(drafted) == most or token in self._request.ends:
                return drafted, None if generator is None else torch.cat(chances)
            self._decoding.advance([token])

    def _follow(self, row: Row) -> None:
        """Has the assistant's decoding read exactly the text."""
        held = self._decoding.rows[0].ids
        # The last token is read in any case, for the logits of the next.
        same = min(len(held), len(row.ids) - 1)
        while held[:same] != row.ids[:same]:
            same -= 1
        if same < len(held):
            try:
                self._decoding.rollback([same])
            except TextError:
                self._read_anew(row)
                return
        self._decoding.extend([row.ids[same:]])

    def _read_anew(self, row: Row) -> None:
        """From the start, where a window has forgotten what came before."""
        model = self._decoding.model
        if model.spec.has_source:
            self._decoding = Decoding(model, [self._begin], [row.ids])
        else:
            self._decoding = Decoding(model, [row.ids])
