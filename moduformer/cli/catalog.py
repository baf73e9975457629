"""`moduformer models`: the model table, one of its rows as a card, what each row can claim, and who builds on whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moduformer.cli.output import facts, grid, result, say

if TYPE_CHECKING:
    from moduformer.catalog.row import Row


def models(
    name: Annotated[str | None, typer.Argument(help="A row's id or name, a hub id or a published name.")] = None,
    year: Annotated[int | None, typer.Option(help="Only models of that year.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="encoder, decoder, encoder-decoder, recurrent, vision-language or unpublished.")
    ] = None,
    access: Annotated[
        str | None, typer.Option(help="open-weights, published-architecture, recipe or api-only.")
    ] = None,
    korean: Annotated[
        bool | None, typer.Option(help="Only models that were made to read Korean, or that were not.")
    ] = None,
    max_memory: Annotated[str | None, typer.Option(help="Only models whose smallest weights fit, such as 8GB.")] = None,
    dtype: Annotated[str, typer.Option(help="The type of those weights: fp32, bf16, int8 or int4.")] = "bf16",
    show_status: Annotated[
        bool, typer.Option("--status", help="What every row can claim, and the test behind it.")
    ] = False,
    tree: Annotated[Path | None, typer.Option(help="Draw who builds on whom into this .svg or .html file.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write the table as a page of Markdown into this file.")] = None,
    language: Annotated[str | None, typer.Option(help="en or ko; default: that of the environment.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """The model table: 76 models from recurrent translation to GPT-4, each with the one line that runs it."""
    from moduformer import catalog
    from moduformer.catalog.words import locale_language

    language = language or locale_language()
    _one_of("--language", language, ("en", "ko"))
    _one_of("--kind", kind, {row.kind for row in catalog})
    _one_of("--access", access, {row.access for row in catalog})
    if name is not None:
        _card(catalog.find(name), language, as_json)
        return
    if tree or page:
        _write(tree, page, language)
        return
    found = catalog.filter(year, kind, access, korean, max_memory, dtype)
    if show_status:
        _status(found, language, as_json)
    elif as_json:
        result([_facts(row) for row in found])
    else:
        _list(found, language)


def _list(found: Sequence[Row], language: str) -> None:
    from moduformer.catalog.page import span
    from moduformer.catalog.words import term

    columns = ["model", "year", "kind", "access", "parameters", "Korean"]
    korean = {True: "yes", False: "no", None: "-"}
    rows = [
        [
            f"{row.id} *" if row.footnotes else row.id,
            str(row.year),
            term(row.kind, language),
            term(row.access, language),
            span(row),
            term(korean[row.korean], language),
        ]
        for row in found
    ]
    if rows:
        grid("", [term(column, language) for column in columns], rows)
    for row in found:
        for note in row.footnotes:
            print(f"* {row.name}: {note.in_language(language)}")
    say(
        f"{len(found)}개 모델; `moduformer models 이름`은 카드"
        if language == "ko"
        else f"{len(found)} models; `moduformer models NAME` shows one"
    )


def _card(row: Row, language: str, as_json: bool) -> None:
    from moduformer.catalog import card

    if as_json:
        result(_facts(row) | _computed(row))
        return
    print(f"{row.name} ({row.id})")
    print(row.summary.in_language(language))
    print()
    facts("", [], [*card.lines(row, language)])
    tables, notes = card.sizes(row, language)
    for columns, table in tables:
        print()
        grid("", columns, table)
    for note in notes:
        print(note)


def _status(found: Sequence[Row], language: str, as_json: bool) -> None:
    from moduformer.catalog.status import status
    from moduformer.catalog.words import term

    every = [status(row) for row in found]
    if as_json:
        result(
            [
                {
                    "id": each.row.id,
                    "access": each.row.access,
                    "full": each.full,
                    "checks": [asdict(c) for c in each.checks],
                }
                for each in every
            ]
        )
        return
    rows: list[tuple[str, ...]] = [
        (
            each.row.id,
            term(each.row.access, language),
            term("full" if each.full else "partly", language),
            each.in_language(language),
            ", ".join(each.tests),
        )
        for each in every
    ]
    if rows:
        facts("", [term(word, language) for word in ("model", "access", "status", "", "test")], rows)
    for access, number in Counter(each.row.access for each in every).items():
        full = sum(each.full for each in every if each.row.access == access)
        print(f"{term(access, language)}: {number}, {term('full', language)}: {full}")


def _write(tree: Path | None, page: Path | None, language: str) -> None:
    from moduformer.atomic import write_text
    from moduformer.catalog import page as pages
    from moduformer.catalog import tree as trees

    if tree is not None:
        if tree.suffix not in (".svg", ".html"):
            raise typer.BadParameter("must end in .svg or .html", param_hint="--tree")
        write_text(tree, trees.svg(language) if tree.suffix == ".svg" else trees.html(language))
        print(tree)
    if page is not None:
        write_text(page, pages.markdown(language))
        print(page)


def _facts(row: Row) -> dict[str, Any]:
    """What a row says, without what nobody said."""
    footnotes = [asdict(note) for note in row.footnotes]
    said = {name: value for name, value in asdict(row).items() if value not in (None, "", (), [])}
    return said | {"run": row.run, "footnotes": footnotes}


def _computed(row: Row) -> dict[str, Any]:
    from moduformer.catalog.row import BITS
    from moduformer.catalog.status import counted, status

    sizes = [
        {
            "label": each.size.label,
            "parameters": each.parameters or None,
            "verdict": each.verdict,
            "weight_bytes": {name: each.parameters * bits // 8 for name, bits in BITS.items()}
            if each.parameters
            else None,
        }
        for each in counted(row)
    ]
    claims = status(row)
    return {"counted": sizes, "status": {"full": claims.full, "checks": [asdict(check) for check in claims.checks]}}


def _one_of(option: str, value: str | None, known: Any) -> None:
    if value is not None and value not in known:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(sorted(known))}", param_hint=option)
