"""The model table as a page of Markdown, in English or Korean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from moduformer.catalog.row import Row, rows
from moduformer.catalog.words import term

_TITLE = {"en": "The model table", "ko": "모델 표"}
_OPENING = {
    "en": "Written by `moduformer models --page docs/catalog.md`. {n} models: {kinds}. What each row can claim today "
    "is computed: `moduformer models --status`. A row's card, with every size: `moduformer models bert`.",
    "ko": "`moduformer models --language ko --page docs/catalog.ko.md`가 쓴다. 모델 {n}개: {kinds}. "
    "각 행이 지금 무엇을 보장하는지는 계산한다: `moduformer models --status`. "
    "모든 크기가 담긴 카드: `moduformer models bert`.",
}
_TREE = {
    "en": "Who builds on whom. A full line took weights, a long dash architecture, dots an idea, data or a tokenizer.",
    "ko": "누가 누구를 바탕으로 했는가. 실선은 가중치, 긴 점선은 구조, 점은 발상, 데이터, 토크나이저를 가져온 것이다.",
}
_NOTES = {"en": "Footnotes to the table", "ko": "표의 각주"}
_CORRECTED = {"en": "Corrected here", "ko": "바로잡은 것"}
_COLUMNS = ("model", "kind", "access", "parameters", "Korean", "builds on", "run it")


def markdown(language: str = "en") -> str:
    """The page."""
    every = list(rows().values())
    kinds = ", ".join(f"{term(access, language)} {n}" for access, n in Counter(row.access for row in every).items())
    picture = "pictures/family-tree.svg" if language == "en" else "pictures/family-tree.ko.svg"
    written = [
        f"# {_TITLE[language]}",
        "",
        _OPENING[language].format(n=len(every), kinds=kinds),
        "",
        f"[![{_TREE[language]}]({picture})]({picture})",
        "",
        _TREE[language],
    ]
    for year in sorted({row.year for row in every}):
        written += [
            "",
            f"## {year}",
            "",
            _line(term(name, language) for name in _COLUMNS),
            "|" + " --- |" * len(_COLUMNS),
        ]
        for row in every:
            if row.year == year:
                written += [_line(_cells(row, language))]
    for title, texts in ((_NOTES, _footnotes(language)), (_CORRECTED, _corrections(language))):
        written += ["", f"## {title[language]}", "", *(f"- {text}" for text in texts)]
    return "\n".join([*written, ""])


def span(row: Row) -> str:
    """The smallest and the largest published count of a row, as its makers wrote them."""
    found = sorted((size for size in row.sizes if size.published), key=lambda size: size.published_parameters)
    figures = list(dict.fromkeys(_short(found[i].published) for i in (0, -1) if found))
    return " – ".join(figures)


def _short(figure: str) -> str:
    """ "6,053,381,344" as "6.05B"; other figures as they are."""
    if "," not in figure:
        return figure
    value = int(figure.replace(",", ""))
    return f"{value / 1e9:.3g}B" if value >= 1e9 else f"{value / 1e6:.3g}M"


def _cells(row: Row, language: str) -> list[str]:
    korean = {True: term("yes", language), False: term("no", language), None: "-"}[row.korean]
    name = f"[{row.name}](https://arxiv.org/abs/{row.arxiv})" if row.arxiv else row.name
    star = " \\*" if row.footnotes else ""
    summary = row.summary.in_language(language)
    builds = ", ".join(rows()[link.id].name for link in row.builds_on)
    return [
        f"{name}{star}<br>{summary}",
        term(row.kind, language),
        term(row.access, language),
        span(row),
        korean,
        builds,
        f"`{row.run}`" if row.run else "",
    ]


def _footnotes(language: str) -> list[str]:
    return [f"{row.name}: {note.in_language(language)}" for row in rows().values() for note in row.footnotes]


def _corrections(language: str) -> list[str]:
    return [f"{row.name}: {words.in_language(language)}" for row in rows().values() for words in row.corrections]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
