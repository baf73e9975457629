"""A row as lines that a person reads: labels and values, and the table of its sizes. Colours and columns are the
caller's."""

from __future__ import annotations

from collections.abc import Iterable

from moduformer.catalog.row import BITS, Row, Size, rows
from moduformer.catalog.status import Counted, counted, status
from moduformer.catalog.words import term

SHAPE = ("size", "layers", "hidden", "heads", "feed-forward", "vocabulary", "context")
WEIGHT = ("size", "published", "counted", *BITS)


def lines(row: Row, language: str = "en") -> list[tuple[str, str]]:
    """Everything but the sizes, as label and value."""

    def terms(words: Iterable[str]) -> str:
        return ", ".join(term(word, language) for word in words)

    korean = {True: "yes", False: "no", None: "not said"}[row.korean]
    found = [
        ("year", str(row.year) + (" *" if row.footnotes else "")),
        ("organisation", row.organisation),
        ("paper", " · ".join(filter(None, (row.paper, f"arXiv {row.arxiv}" if row.arxiv else "")))),
        ("access", term(row.access, language)),
        ("kind", term(row.kind, language)),
        ("trained by", terms(row.objectives)),
        ("positions", terms(row.positions)),
        ("norms", terms(row.norms)),
        ("activations", terms(row.activations)),
        ("attention", terms(row.attention)),
        ("tokenizer", terms(row.tokenizers)),
        ("Korean", term(korean, language)),
        ("family", row.family),
        ("builds on", "; ".join(f"{rows()[link.id].name} ({terms(link.taken)})" for link in row.builds_on)),
        ("used by", ", ".join(other.name for other in used_by(row))),
        *((("recipe" if i == 0 else ""), stage) for i, stage in enumerate(_stages(row, language))),
        ("run it", row.run),
        ("files", ", ".join(row.hub)),
        ("needs a base", ", ".join(row.partial)),
        ("status", status(row).in_language(language)),
        *(("note", "* " + note.in_language(language)) for note in row.footnotes),
        *(("corrected", words.in_language(language)) for words in row.corrections),
        ("sources", "; ".join(row.sources)),
        ("confidence", term(row.confidence, language)),
    ]
    return [(term(label, language), value) for label, value in found if value]


def sizes(row: Row, language: str = "en") -> tuple[list[tuple[list[str], list[list[str]]]], list[str]]:
    """The sizes: a table of shapes and one of counts and memory, each as columns and lines, without columns that hold
    nothing; and what explains counts that differ from the published ones."""
    found = counted(row)
    tables = []
    for columns, cells in ((SHAPE, _shape), (WEIGHT, _weight)):
        every = [cells(each) for each in found]
        used = [i for i in range(len(columns)) if any(line[i] for line in every)]
        if len(used) > 1:
            tables.append(([term(columns[i], language) for i in used], [[line[i] for i in used] for line in every]))
    notes = [_note(each, language) for each in found]
    return tables, [note for note in notes if note]


def used_by(row: Row) -> tuple[Row, ...]:
    """The rows that took something from this one."""
    return tuple(other for other in rows().values() if any(link.id == row.id for link in other.builds_on))


def _stages(row: Row, language: str) -> list[str]:
    found = []
    for number, stage in enumerate(row.stages, 1):
        settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in stage.settings.items())
        base = "" if stage.base == row.id else f" ({term('from', language)}: {rows()[stage.base].name})"
        line = f"{number}. {term(stage.name, language)}{base}: {stage.data.in_language(language)}"
        found.append(f"{line} [{settings}]" if settings else line)
    return found


def _shape(each: Counted) -> list[str]:
    size = each.size
    layers = f"{size.layers}+{size.decoder_layers}" if size.decoder_layers else _number(size.layers)
    heads = f"{size.heads}/{size.kv_heads}" if size.kv_heads else _number(size.heads)
    width = f"{size.ffn:,} ×{size.experts}" if size.experts else _number(size.ffn)
    return [size.label, layers, _number(size.hidden), heads, width, _number(size.vocab), _number(size.context)]


def _weight(each: Counted) -> list[str]:
    memory = [weight(each.parameters * bits // 8) if each.parameters else "" for bits in BITS.values()]
    return [each.size.label, each.size.published, _number(each.parameters), *memory]


def _note(each: Counted, language: str) -> str:
    size = each.size
    if size.because:
        return f"{size.label}: {size.because.in_language(language)}"
    if each.verdict == "not built":
        return _unbuilt(size, each.why, language)
    if size.assumed:
        assumed = term(size.assumed, language)
        return f"{size.label}: {f'{assumed} 값은 추정' if language == 'ko' else f'{assumed} are assumed'}"
    return ""


def _unbuilt(size: Size, why: str, language: str) -> str:
    if language != "ko":
        return why
    return f"{size.label}: {'여기서는 아직 만들 수 없음' if size.released else '설명만 있고 공개되지 않음'}"


def weight(amount: float) -> str:
    """Bytes as a person says them."""
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB" if amount < 1000 else f"{amount:,.0f} TB"


def _number(value: int) -> str:
    return f"{value:,}" if value else ""
