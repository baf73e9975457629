"""What a row of the model table says, and what follows from it. The files of `models/` hold the rows; nothing here
imports torch before a spec is asked for."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

from moduformer.errors import SpecError

if TYPE_CHECKING:
    from moduformer.architecture import Spec

Access = Literal["open-weights", "published-architecture", "recipe", "api-only"]
Kind = Literal["encoder", "decoder", "encoder-decoder", "recurrent", "vision-language", "unpublished"]

BITS = {"fp32": 32, "bf16": 16, "int8": 8, "int4": 4}
"""Bits of a weight in each type that weights are stored in."""


@dataclass(frozen=True)
class Words:
    """A text in the languages of the table."""

    en: str
    ko: str

    def in_language(self, language: str) -> str:
        """The text in "en" or "ko"."""
        return self.ko if language == "ko" else self.en


@dataclass(frozen=True)
class Note:
    """A footnote of the table. `kind` is "size", "name" or "not a model"."""

    kind: str
    en: str
    ko: str

    in_language = Words.in_language


@dataclass(frozen=True)
class Link:
    """What a model took from another: "weights", "architecture", "idea", "data", "tokenizer" or "objective"."""

    id: str
    taken: tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """One stage of a recipe: which row it starts from, on what data, with which settings."""

    name: str
    base: str
    data: Words
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Size:
    """One size of a model as its makers published it; 0 is what they did not say or what does not apply.

    `layers` and `decoder_layers` are of the encoder and the decoder where there are both. `published` and `active` are
    counts in the makers' figures ("6.7B"), `preset` the architecture of the same name here. `because` explains a count
    that differs. `released` is False for a size described but never given out where others were; `assumed` names the
    field that had to be guessed. `module` are the sizes of the stack that each head has of its own above the shared
    one, where heads have one.
    """

    label: str
    layers: int = 0
    decoder_layers: int = 0
    hidden: int = 0
    heads: int = 0
    head_dim: int = 0
    kv_heads: int = 0
    ffn: int = 0
    embedding: int = 0
    experts: int = 0
    vocab: int = 0
    context: int = 0
    published: str = ""
    active: str = ""
    preset: str = ""
    released: bool = True
    assumed: str = ""
    because: Words | None = None
    module: Size | None = None

    @property
    def published_parameters(self) -> int:
        """The published count as a number, 0 if there is none."""
        return count(self.published)


@dataclass(frozen=True)
class Row:
    """A model of the table. `korean` is None where nobody said whether it was made to read Korean."""

    id: str
    name: str
    year: int
    organisation: str
    access: Access
    kind: Kind
    summary: Words
    objectives: tuple[str, ...]
    positions: tuple[str, ...]
    norms: tuple[str, ...]
    activations: tuple[str, ...]
    attention: tuple[str, ...]
    tokenizers: tuple[str, ...]
    sources: tuple[str, ...]
    confidence: Literal["high", "medium", "low"]
    year_in_table: int = 0
    paper: str = ""
    arxiv: str = ""
    korean: bool | None = None
    builds_on: tuple[Link, ...] = ()
    family: str = ""
    shape_of: str = ""
    presets: tuple[str, ...] = ()
    hub: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    task: str = ""
    api: str = ""
    note: Note | None = None
    corrections: tuple[Words, ...] = ()
    sizes: tuple[Size, ...] = ()
    stages: tuple[Stage, ...] = ()

    def size(self, label: str | None = None) -> Size:
        """A size by its label or preset; the one called "base", or else the first that can be built, if none is named.

        Raises `SpecError` for an unknown one, or for a row whose sizes were not published.
        """
        named = {name.lower(): size for size in reversed(self.sizes) for name in (size.label, size.preset) if name}
        found = named.get(label.lower()) if label is not None else named.get("base")
        if label is None and found is None:
            found = next((size for size in self.sizes if size.preset or size.layers), None)
        if found is None:
            if not self.sizes:
                raise SpecError(f"the sizes of {self.name} were not published, so it has no architecture to show")
            raise SpecError(
                f"{self.id} has no size {label or ''!r}; it has {', '.join(size.label for size in self.sizes)}"
            )
        return found

    def spec(self, size: str | None = None) -> Spec:
        """The architecture of a size (a label, or a preset of this row); the first if none is named.

        Raises `SpecError` for a size that is unknown, or too little of which was published.
        """
        from moduformer import families

        if size in self.presets:
            return families.spec(size)
        chosen = self.size(size)
        if chosen.preset:
            return families.spec(chosen.preset)
        from moduformer.catalog import published

        source = self.shape_of or self.id
        if source not in published.ARCHITECTURES:
            why = "no architecture here builds it yet" if chosen.released else "it was described but never released"
            raise SpecError(f"{self.id} {chosen.label}: {why}")
        if missing := [name for name in ("layers", "hidden", "heads", "ffn", "vocab") if not getattr(chosen, name)]:
            raise SpecError(f"{self.id} {chosen.label}: its makers did not publish {', '.join(missing)}")
        return published.published(source, _line(chosen))

    def parameters(self, size: str | None = None) -> int:
        """How many parameters a size has, counted on its spec."""
        return self.spec(size).num_parameters()

    def memory(self, size: str | None = None) -> dict[str, int]:
        """Bytes that the weights of a size take in fp32, bf16, int8 and int4."""
        parameters = self.parameters(size)
        return {name: parameters * bits // 8 for name, bits in BITS.items()}

    @property
    def run(self) -> str:
        """The one line of Python that runs it, or builds it where there are no weights to fetch; "" if nothing can."""
        from moduformer.catalog.published import ARCHITECTURES

        if self.api:
            return f'mf.pipeline("text-generation", model="{self.api}")'
        if self.hub:
            task = self.task or {"encoder": "fill-mask", "decoder": "text-generation"}.get(self.kind, "")
            if task and task != "image":
                return f'mf.pipeline("{task}", model="{self.hub[0]}")'
            return f'mf.load("{self.hub[0]}")'
        first = self.size()
        if first.preset:
            return f'mf.build(mf.spec("{first.preset}"))'
        known = (self.shape_of or self.id) in ARCHITECTURES
        return f'mf.build(mf.catalog["{self.id}"].spec("{first.label}"))' if known else ""

    @property
    def footnotes(self) -> tuple[Words, ...]:
        """What to know about the table's own line: another year, another size, another name."""
        found = []
        if self.year_in_table and self.year_in_table != self.year:
            found.append(
                Words(
                    f"The table says {self.year_in_table}; it came out in {self.year}.",
                    f"표에는 {self.year_in_table}년이지만 {self.year}년에 나왔다.",
                )
            )
        if self.note:
            found.append(Words(self.note.en, self.note.ko))
        return tuple(found)


def count(figure: str) -> int:
    """A published count as a number: "6.7B" as 6,700,000,000; "" as 0."""
    match = re.fullmatch(r"([\d.,]+)([MBT]?)", figure)
    if match is None:
        return 0
    number, unit = match.groups()
    return round(float(number.replace(",", "")) * {"": 1, "M": 1e6, "B": 1e9, "T": 1e12}[unit])


@cache
def rows() -> Mapping[str, Row]:
    """Every row by its id, oldest first."""
    folder = files("moduformer.catalog").joinpath("models")
    found: list[Row] = []
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            found += [_row(table) for table in tomllib.loads(file.read_text(encoding="utf-8"))["model"]]
    return {row.id: row for row in sorted(found, key=lambda row: row.year)}


def _row(table: dict[str, Any]) -> Row:
    """A row of a file, its lists as tuples and its tables as objects. Unknown keys are mistakes in the file."""
    made: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}
    made["summary"] = Words(**table["summary"])
    made["builds_on"] = tuple(Link(link["id"], tuple(link["taken"])) for link in table.get("builds_on", ()))
    made["corrections"] = tuple(Words(**words) for words in table.get("corrections", ()))
    made["sizes"] = tuple(_size(size) for size in table.get("sizes", ()))
    made["stages"] = tuple(Stage(**stage | {"data": Words(**stage["data"])}) for stage in table.get("stages", ()))
    if "note" in table:
        made["note"] = Note(**table["note"])
    own = [size.preset for size in made["sizes"] if size.preset]
    made["presets"] = (*own, *table.get("presets", ()))
    if unknown := made.keys() - {each.name for each in fields(Row)}:
        raise SpecError(f"catalogue row {table['id']}: unknown keys {', '.join(sorted(unknown))}")
    return Row(**made)


def _size(table: dict[str, Any]) -> Size:
    made: dict[str, Any] = dict(table)
    if "because" in table:
        made["because"] = Words(**table["because"])
    if "module" in table:
        made["module"] = _size({"label": table["label"], **table["module"]})
    return Size(**made)


def _line(size: Size) -> Any:
    """A size as the line of a paper's table that `published` builds from."""
    from moduformer.catalog.published import Size as Line

    return Line(
        size.layers,
        size.hidden,
        size.heads,
        size.head_dim or size.hidden // size.heads,
        size.ffn,
        size.vocab,
        size.context or Line.context,
        size.kv_heads or None,
        size.decoder_layers,
        size.experts,
        None if size.module is None else _line(size.module),
    )
