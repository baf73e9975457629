"""A notebook as one HTML page that needs no network, for readers without Jupyter."""

from __future__ import annotations

import html
from itertools import pairwise
from pathlib import Path
from typing import Any

from moduformer.course.alt_text import alt_text
from moduformer.course.notebooks import Notebook, read

STYLE = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def page(notebook: Notebook, language: str) -> str:
    """The page. Only for notebooks of this project: what their cells hold is shown as it is, HTML included."""
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"highlight": _highlighted}).enable("table")
    parts, heading = [], notebook.title
    for cell in read(notebook.path)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(markdown.render(source).replace("<pre>", '<pre tabindex="0">'))
            heading = (_headings(markdown, source) or [heading])[-1]
        else:
            parts.append(f'<pre class="code" tabindex="0">{_highlighted(source, "python", "")}</pre>')
            outputs = cell.get("outputs", ())
            pictures = [output for output in outputs if "image/png" in output.get("data", {})]
            for output in outputs:
                number = pictures.index(output) + 1 if output in pictures else 1
                parts.append(_output(output, alt_text(source, heading, language, number, len(pictures))))
    title = html.escape(notebook.title)
    return (
        f'<!doctype html>\n<html lang="{language}">\n<head><meta charset="utf-8"><title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}{_code_style()}</style></head>\n<body><main>\n" + "\n".join(parts) + "\n</main></body></html>\n"
    )


def _headings(markdown: Any, source: str) -> list[str]:
    tokens = markdown.parse(source)
    return [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]


def _output(output: dict[str, Any], alt: str) -> str:
    data = {
        kind: "".join(value) if isinstance(value, list) else value for kind, value in output.get("data", {}).items()
    }
    if "image/png" in data:
        return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{"".join(data["image/png"].split())}">'
    if "image/svg+xml" in data:
        return str(data["image/svg+xml"])
    if "text/html" in data:
        return f'<div class="table" tabindex="0">{data["text/html"]}</div>'
    text = data.get("text/plain") or "".join(output.get("text", ()))
    return f'<pre class="output" tabindex="0">{html.escape(text)}</pre>' if text else ""


def _highlighted(code: str, language: str, attributes: str) -> str:
    if language != "python":
        return html.escape(code)
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    marked: str = highlight(code, PythonLexer(stripnl=False), HtmlFormatter(nowrap=True))
    return marked


def _code_style() -> str:
    from pygments.formatters import HtmlFormatter

    light = HtmlFormatter(style="default").get_style_defs("pre")
    dark = HtmlFormatter(style="github-dark").get_style_defs("pre")
    return f"\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
