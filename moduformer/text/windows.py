"""Overlapping windows over text that is longer than a model can read.

No token is lost: every window is framed with the tokenizer's own special tokens, knows which tokens of the text it
holds and where they stand in the Python string, and the report says what was seen. The method is the sliding window of
Devlin et al. 2019 (section on SQuAD), there for question answering.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, overload

from ..errors import TextError
from .tokenizer import Encoding, FrameStep

_SPECIAL = -1


@dataclass(frozen=True)
class Window:
    """One framed stretch of a token run.

    Attributes:
        index: number of the window.
        ids: token ids, special tokens included; at most `max_length`.
        type_ids: segment of each token.
        special_tokens_mask: 1 where the frame put a token.
        sequence_ids: 0 text (or question), 1 pair (or context), None frame.
        offsets: `(start, end)` of each token in its own Python string; `(0, 0)` for the frame.
        source_tokens: number of each token in the run that is cut into windows; -1 for the frame and the question.
        start_token, stop_token: the window holds tokens `start_token` to `stop_token - 1` of that run.
        text_range: `(start, end)` in the Python string of what the window holds of that run.
    """

    index: int
    ids: list[int]
    type_ids: list[int]
    special_tokens_mask: list[int]
    sequence_ids: list[int | None]
    offsets: list[tuple[int, int]]
    source_tokens: list[int]
    start_token: int
    stop_token: int
    text_range: tuple[int, int]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class WindowReport:
    """What became of a token run.

    Attributes:
        tokens_total: tokens in the run.
        tokens_seen: tokens that are in at least one window.
        windows: number of windows.
        truncated: whether any token is in no window, which happens only where `max_windows` was given.
    """

    tokens_total: int
    tokens_seen: int
    windows: int
    truncated: bool


class Windows(Sequence[Window]):
    """The windows of one text, in order."""

    def __init__(self, windows: list[Window], tokens_total: int) -> None:
        self._windows = windows
        seen = windows[-1].stop_token if windows else 0
        self.report = WindowReport(tokens_total, seen, len(windows), seen < tokens_total)

    @overload
    def __getitem__(self, index: int) -> Window: ...
    @overload
    def __getitem__(self, index: slice) -> list[Window]: ...
    def __getitem__(self, index: int | slice) -> Window | list[Window]:
        return self._windows[index]

    def __len__(self) -> int:
        return len(self._windows)

    def __iter__(self) -> Iterator[Window]:
        return iter(self._windows)

    def of_token(self, token: int) -> range:
        """Numbers of the windows that hold a token of the run; empty where none does.

        Raises:
            TextError: the run has no such token.
        """
        if not 0 <= token < self.report.tokens_total:
            raise TextError(f"token {token} is not among the {self.report.tokens_total} tokens of this text.")
        holding = [window.index for window in self._windows if window.start_token <= token < window.stop_token]
        return range(holding[0], holding[-1] + 1) if holding else range(0)

    def best_for_token(self, token: int) -> int | None:
        """The window in which a token has most context on its poorer side; None where no window holds it.

        A prediction for a token is best read there (Devlin et al. 2019, "maximum context").
        """
        holding = self.of_token(token)
        if not holding:
            return None

        def context(index: int) -> tuple[int, int]:
            window = self._windows[index]
            left, right = token - window.start_token, window.stop_token - 1 - token
            return min(left, right), -index

        return max(holding, key=context)


@dataclass(frozen=True)
class MergedScores:
    """Scores of one text made out of the scores of its windows.

    Attributes:
        scores: one number a class.
        window: the window that decided: for "max" the one the winning score comes from, for "mean" the one that gave
            most to the winning class.
    """

    scores: list[float]
    window: int


def windows(
    encoding: Encoding,
    max_length: int,
    stride: int,
    template: Sequence[FrameStep],
    *,
    question: Encoding | None = None,
    max_windows: int | None = None,
) -> Windows:
    """Cut a token run into overlapping windows, each with the special tokens the model expects.

    Args:
        encoding: the run, encoded with `add_special_tokens=False`; for pairs the second text (the context).
        max_length: tokens of a window at most, special tokens (and question) included.
        stride: tokens that two neighbouring windows share.
        template: `Tokenizer.frame()`, or `Tokenizer.frame(pair=True)` with a question.
        question: encoded with `add_special_tokens=False`, repeated whole in every window.
        max_windows: stop after so many windows; the report then says what was left out.

    Returns:
        the windows (one, only a frame, for an empty text) with their `report`.

    Raises:
        TextError: `max_length` leaves no room for the text, or `stride` is not below that room.
    """
    sequences = [step.sequence for step in template if step.sequence is not None]
    windowed = 0 if question is None else 1
    if sorted(sequences) != list(range(windowed + 1)):
        kind = "a single text" if question is None else "a question and a text"
        raise TextError(f"the template does not frame {kind}; take it from `Tokenizer.frame(pair=...)`.")
    frame_length = sum(step.token_id is not None for step in template)
    room = max_length - frame_length - (len(question) if question is not None else 0)
    total = len(encoding)
    if room < 1 and not (total == 0 and room == 0):
        asked = "" if question is None else f" and {len(question)} tokens of the question"
        raise TextError(
            f"a window of {max_length} tokens has no room for text beside {frame_length} special tokens{asked}; raise "
            f"`max_length` or shorten the question."
        )
    if stride < 0 or (stride >= room and total > room):
        raise TextError(f"windows of {room} text tokens cannot share {stride}; choose a stride from 0 to {room - 1}.")
    if max_windows is not None and max_windows < 1:
        raise TextError(f"max_windows is {max_windows}; at least one window is needed.")
    build = _Builder(encoding, question, template, windowed)
    listed: list[Window] = []
    start = 0
    while True:
        stop = min(start + room, total)
        listed.append(build.window(len(listed), start, stop))
        if stop == total or len(listed) == max_windows:
            return Windows(listed, total)
        start = stop - stride


class _Builder:
    """Fetches every list once, however many windows are cut out of them."""

    def __init__(
        self, encoding: Encoding, question: Encoding | None, template: Sequence[FrameStep], windowed: int
    ) -> None:
        self._ids, self._offsets = encoding.ids, encoding.offsets
        self._question = None if question is None else (question.ids, question.offsets)
        self._template = template
        self._windowed = windowed

    def window(self, index: int, start: int, stop: int) -> Window:
        ids: list[int] = []
        type_ids: list[int] = []
        special: list[int] = []
        sequence_ids: list[int | None] = []
        offsets: list[tuple[int, int]] = []
        source: list[int] = []
        for step in self._template:
            if step.token_id is not None:
                new_ids, new_offsets, new_source = [step.token_id], [(0, 0)], [_SPECIAL]
            elif step.sequence == self._windowed:
                new_ids, new_offsets = self._ids[start:stop], self._offsets[start:stop]
                new_source = list(range(start, stop))
            else:
                assert self._question is not None
                new_ids, new_offsets = self._question
                new_source = [_SPECIAL] * len(new_ids)
            ids += new_ids
            offsets += new_offsets
            source += new_source
            type_ids += [step.type_id] * len(new_ids)
            special += [int(step.token_id is not None)] * len(new_ids)
            sequence_ids += [step.sequence] * len(new_ids)
        held = self._offsets[start:stop]
        text_range = (min(a for a, _ in held), max(b for _, b in held)) if held else (0, 0)
        return Window(index, ids, type_ids, special, sequence_ids, offsets, source, start, stop, text_range)


def merge(
    scores: Sequence[Sequence[float]],
    how: Literal["mean", "max"] = "mean",
    weights: Sequence[float] | None = None,
) -> MergedScores:
    """Merge the scores of a text's windows into one.

    Args:
        scores: one row a window, one number a class (`[windows, classes]`).
        how: "mean" weighs windows, "max" takes the largest score of each class.
        weights: of the windows for "mean", for example their numbers of text tokens; equal where not given.

    Returns:
        the scores and the window that decided.

    Raises:
        TextError: no rows, rows of different length, or weights that do not fit.
    """
    rows = [[float(value) for value in row] for row in scores]
    if not rows or not rows[0] or any(len(row) != len(rows[0]) for row in rows):
        raise TextError("scores to merge need at least one window, and as many classes in each window.")
    if how == "max":
        merged = [max(column) for column in zip(*rows)]
        winner = max(range(len(merged)), key=merged.__getitem__)
        return MergedScores(merged, max(range(len(rows)), key=lambda index: rows[index][winner]))
    if how != "mean":
        raise TextError(f"{how!r} is no way to merge windows; choose 'mean' or 'max'.")
    shares = [1.0] * len(rows) if weights is None else [float(weight) for weight in weights]
    total = sum(shares)
    if len(shares) != len(rows) or any(share < 0 for share in shares):
        raise TextError(f"{len(shares)} weights for {len(rows)} windows; give one that is not negative for each.")
    if total == 0:
        # An empty text has one window without tokens.
        shares, total = [1.0] * len(rows), float(len(rows))
    merged = [sum(share * row[index] for share, row in zip(shares, rows)) / total for index in range(len(rows[0]))]
    winner = max(range(len(merged)), key=merged.__getitem__)
    return MergedScores(merged, max(range(len(rows)), key=lambda index: shares[index] * rows[index][winner]))
