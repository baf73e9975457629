"""What every pipeline is: a model, options that each call may change, and inputs of any size that stream through.

A pipeline takes what people hand it (one input, a list, a column, a generator, an open file) and gives plain Python
values in the shapes of Hugging Face `transformers` 4. The same work in typed records, one shape for all inputs, is
`predict` and `stream`.
"""

from __future__ import annotations

import dataclasses
import difflib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from moduformer.errors import ModuformerError, PipelineError
from moduformer.model import Model
from moduformer.pipelines.inputs import in_chunks
from moduformer.text.tokenizer import Tokenizer

Item = TypeVar("Item")
Found = TypeVar("Found")
Options = TypeVar("Options")

CHUNK = 256
"""Inputs read together: enough rows of near-equal length for full batches, few enough to come out promptly."""

# What callers of Hugging Face's pipelines may say and what needs no saying here: batches hold no padding, and nothing
# is loaded by other processes.
_NEEDLESS = {"num_workers", "padding", "return_tensors", "clean_up_tokenization_spaces", "framework"}


class Pipeline(Generic[Item, Found, Options]):
    """One task on one model. A subclass names its task and options and says how to read, find and shape.

    Attributes:
        task: its name, as `mf.pipeline` takes it.
        head: for which task `mf.load` picks a head; None takes what the checkpoint names.
        options_type: a frozen dataclass of what a call may say, with defaults.
        chunk: inputs taken from a stream together where nobody says.
        model, tokenizer: what it works with.
        notes: what was loaded and from where, in words.
    """

    task: ClassVar[str]
    head: ClassVar[str | None]
    options_type: ClassVar[type[Any]]
    chunk: ClassVar[int] = CHUNK

    def __init__(
        self, model: Model, tokenizer: Tokenizer | None = None, batch_size: int | None = None, **options: Any
    ) -> None:
        """`batch_size`: inputs taken from a stream together; None takes 256. `options`: defaults of every call.

        Raises:
            PipelineError: an unknown option, or a model that cannot do the task.
        """
        if tokenizer is not None:
            model.tokenizer = tokenizer
        self.model = model
        self.notes: list[str] = list(model.notes)
        self.batch_size = _checked_size(batch_size)
        self.given = dict(options)
        self.configured({})
        self.check()

    # What a subclass says ----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises `PipelineError` if the model lacks what the task needs; by default a tokenizer is needed."""
        if self.tokenizer is None:
            raise PipelineError("this model's folder has no tokenizer; add its tokenizer.json, or give tokenizer=...")

    def read(self, value: Any, options: Options) -> Item:
        """One input as the pipeline works with it. Raises `PipelineError` if it is none."""
        raise NotImplementedError

    def find(self, items: Sequence[Item], options: Options) -> Iterable[Found]:
        """One typed result for each item, in order."""
        raise NotImplementedError

    def shape(self, found: Found, options: Options) -> Any:
        """A result as Hugging Face's pipelines give it within a list of results."""
        raise NotImplementedError

    def shape_one(self, value: Any, found: Found, options: Options) -> Any:
        """A result as they give it for a single input; by default as within a list."""
        return self.shape(found, options)

    def is_one(self, inputs: Any) -> bool:
        """Whether this is a single input rather than many."""
        return isinstance(inputs, str | Mapping)

    # What callers use ------------------------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The model's tokenizer."""
        return self.model.tokenizer

    @property
    def device(self) -> Any:
        """Where the model's weights are."""
        return self.model.device

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Results in the shapes of Hugging Face's pipelines.

        Arguments:
            inputs: one input; a list, tuple, array or column of them (a list comes back); or a generator, data set,
                open file or `Path` of a text file, a line an input (an iterator comes back, and inputs are taken from
                the source as results are asked for).
            options: for this call; see the class.

        Raises:
            PipelineError: an unknown option, or an input that is none; names its number.
        """
        size = options.pop("batch_size", None)
        chosen = self.configured(options)
        if self.is_one(inputs):
            found = next(self._stream([inputs], chosen, 1))
            return self.shape_one(inputs, found, chosen)
        shaped = (self.shape(found, chosen) for found in self._stream(many(inputs), chosen, size))
        return list(shaped) if _is_list(inputs) else shaped

    def predict(self, inputs: Any, **options: Any) -> list[Found]:
        """Typed results, always a list, for one input or many."""
        return list(self.stream(inputs, **options))

    def stream(self, inputs: Any, **options: Any) -> Iterator[Found]:
        """Typed results one after another; inputs are taken from the source as results are asked for."""
        size = options.pop("batch_size", None)
        chosen = self.configured(options)
        return self._stream([inputs] if self.is_one(inputs) else many(inputs), chosen, size)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Writes model and tokenizer in Hugging Face layout. Returns the folder."""
        self.model.save(Path(folder))
        return Path(folder)

    def configured(self, given: Mapping[str, Any]) -> Options:
        """The options of a call: those of the construction with `given` on top."""
        known = {field.name for field in dataclasses.fields(self.options_type)}
        needless = _NEEDLESS - known
        wanted = {name: value for name, value in {**self.given, **given}.items() if name not in needless}
        for name in wanted:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(known))}"
                raise PipelineError(f"{self.task} has no option called {name!r}{hint}")
        made: Options = self.options_type(**wanted)
        return made

    def _stream(self, inputs: Iterable[Any], options: Options, size: int | None) -> Iterator[Found]:
        first = 0
        for chunk in in_chunks(inputs, _checked_size(size) or self.batch_size or self.chunk):
            items = []
            for number, value in enumerate(chunk, first):
                try:
                    items.append(self.read(value, options))
                except ModuformerError as error:
                    raise type(error)(f"input {number}: {error}") from None
            yield from self.find(items, options)
            first += len(chunk)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model.spec.dim} wide, {self.model.num_parameters():,} parameters)"


def text_of(value: Any) -> str:
    """An input that must be a text. Raises `PipelineError` if it is none."""
    if not isinstance(value, str):
        shown = "no text" if value is None else f"a {type(value).__name__}, not a text"
        raise PipelineError(f"is {shown}; replace or drop missing values before")
    return value


def many(inputs: Any) -> Iterable[Any]:
    """The single inputs of a container, generator, open file or file of lines. Raises `PipelineError` for others."""
    if isinstance(inputs, Path):
        return _lines_of(inputs)
    if isinstance(inputs, io.TextIOBase):
        return (line.rstrip("\r\n") for line in inputs)
    if hasattr(inputs, "tolist"):
        values: list[Any] = inputs.tolist()
        return values
    if isinstance(inputs, bytes) or not (isinstance(inputs, Iterable) or hasattr(inputs, "__getitem__")):
        raise PipelineError(f"the inputs are a {type(inputs).__name__}; give one text, a list of texts or a generator")
    return inputs if isinstance(inputs, Iterable) else (inputs[i] for i in range(len(inputs)))


def _lines_of(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                yield line.rstrip("\r\n")
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise PipelineError(f"{path} is not UTF-8 text; save it as UTF-8") from None


def _is_list(inputs: Any) -> bool:
    return isinstance(inputs, list | tuple) or hasattr(inputs, "tolist")


def _checked_size(size: int | None) -> int | None:
    if size is not None and (not isinstance(size, int) or size < 1):
        raise PipelineError(f"batch_size is {size!r}; give a whole number from 1 on")
    return size
