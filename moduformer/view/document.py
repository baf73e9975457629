"""The page as HTML: served, where it asks, and as one file, which holds all it needs and no reader's network.

Nothing that comes from a text, a label or a file's name is ever markup: it stands in JSON whose `<` are escaped, and
the page puts it into text nodes. The policy allows the page's own style and script only, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import zlib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from moduformer.errors import DataError, ModuformerError, TextError
from moduformer.report.files import write_text_atomically
from moduformer.view.record import Recording
from moduformer.view.source import Source

MOST_BYTES = 192 * 2**20
"""What layers may take in a file; of longer texts those that fit are embedded, the first attention's first."""

MOST_PARTS = 24 * 2**20
"""What queries and keys, from which a page tells the parts of a score, may take beside them."""

WHOLE = 32 * 2**20
"""Weights of a layer above which a page asks for its heads one by one."""

EMBEDDED = ("rollout", "effects")
"""Questions whose answers are embedded whole, where the recording has them."""

WORK = 2**39
"""Parameters times tokens that may be read to switch every head off once."""

MOST_TARGETS = 6
"""Labels of a prediction whose gradients are embedded."""

_SIZES = {"rollout": 512, "lens": 128}
"""Tokens up to which that is done; the answers grow faster than the text."""


def resource(name: str) -> str:
    """A file of the page. Raises `DataError` where this installation has none."""
    try:
        return files("moduformer.view").joinpath("page", name).read_text(encoding="utf-8").replace("\r\n", "\n")
    except FileNotFoundError:
        raise DataError(
            f"this installation has no {name} of the viewer's page; in a checkout, `npm ci && npm run build` in "
            "viewer/ makes it"
        ) from None


def policy(script: str, style: str, connect: str) -> str:
    """The Content-Security-Policy of a page with these sources; nothing inline, nothing evaluated, no base, no form."""
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; img-src data: blob:; connect-src {connect}; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def served_page(language: str = "") -> str:
    """The page that a server sends, whose module and style it serves beside it."""
    lang = language if language in ("en", "ko") else "en"
    return (
        f'<!doctype html>\n<html lang="{lang}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        "<title>moduformer view</title>\n"
        '<link rel="icon" href="data:,">\n<link rel="stylesheet" href="viewer.css">\n</head>\n<body>\n'
        f'<main data-viewer="http"{_language(language)}></main>\n'
        '<script type="module" src="viewer.js"></script>\n</body>\n</html>\n'
    )


def exported_page(source: Source, language: str = "", most_bytes: int = MOST_BYTES) -> str:
    """The page as one file that needs no network.

    Arguments:
        source: the recordings; their layers and the answers to small questions are computed now.
        language: "en" or "ko"; "" lets the page choose.
        most_bytes: layers are embedded up to so many bytes of the file.
    """
    style, script = resource("viewer.css"), resource("viewer.js")
    for name, content, end in (("viewer.js", script, "</script"), ("viewer.css", style, "</style")):
        if end in content.lower() or "<!--" in content:
            raise DataError(f"{name} holds {end!r} or '<!--', so it cannot stand inside a page; build it again")
    lang = language if language in ("en", "ko") else "en"
    layers, complete = _layers(source, most_bytes)
    pairs, told = _pairs(source, complete)
    answers = _answers(source)
    data = [_embedded(recording, complete, told, answers) for recording in source.recordings.values()]
    content = _json({"recordings": data, "answers": answers})
    rules = policy(_hash(script), _hash(style), "'none'")
    title = html.escape(" · ".join(dict.fromkeys(recording.name for recording in source.recordings.values())))
    return (
        f'<!doctype html>\n<html lang="{lang}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{rules}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f'<title>moduformer view: {title}</title>\n<link rel="icon" href="data:,">\n<style>{style}</style>\n</head>\n'
        f'<body>\n<main data-viewer="embedded"{_language(language)}></main>\n'
        f'<script type="application/json" data-recordings>{content}</script>\n'
        f'{layers}{pairs}<script type="module">{script}</script>\n</body>\n</html>\n'
    )


def save_page(source: Source, path: str | Path, language: str = "") -> Path:
    """Writes `exported_page`. Raises `DataError` if the place cannot be written to; an older file is then untouched."""
    return write_text_atomically(path, exported_page(source, language))


def _layers(source: Source, room: int) -> tuple[str, set[tuple[str, str]]]:
    """Layers as elements, deflated and in letters, as many as there is room for; and which attentions are all there."""
    elements: list[str] = []
    complete: set[tuple[str, str]] = set()
    for recording in source.recordings.values():
        for attention in recording.attentions:
            for place, content in _blocks(recording, attention):
                elements.append(_element("data-layer", place, content))
                room -= len(elements[-1])
                if room < 0:
                    return "".join(elements[:-1]), complete
            complete.add((recording.id, attention))
    return "".join(elements), complete


def _pairs(source: Source, complete: set[tuple[str, str]]) -> tuple[str, set[tuple[str, str]]]:
    """Queries and keys of attentions whose layers are there and of which all layers fit; and which these are."""
    elements: list[str] = []
    told: set[tuple[str, str]] = set()
    room = MOST_PARTS
    for recording in source.recordings.values():
        for entry in recording.data["attentions"]:
            name = entry["name"]
            if "pair" not in entry["can"] or (recording.id, name) not in complete:
                continue
            own: list[str] = []
            for layer in range(entry["layers"]):
                own.append(_element("data-pairs", [recording.id, name, layer], recording.parts(name, layer)))
                if sum(map(len, own)) > room:
                    break
            else:
                room -= sum(map(len, own))
                elements += own
                told.add((recording.id, name))
    return "".join(elements), told


def _element(attribute: str, place: list[Any], content: bytes) -> str:
    """Bytes, deflated and in letters, as an element that says what they are of."""
    packed = base64.b64encode(zlib.compress(content, 6)).decode()
    name = html.escape(json.dumps(place, separators=(",", ":")))
    return f'<script type="text/plain" {attribute}="{name}">{packed}</script>\n'


def _blocks(recording: Recording, attention: str) -> Iterator[tuple[list[Any], bytes]]:
    """An attention's layers and where they belong; a layer that a page would not take whole comes head by head."""
    found = recording.attentions[attention]
    queries, keys = (len(recording.inputs.readings[name]) for name in (found.queries, found.keys))
    whole = found.layers.heads * queries * keys <= WHOLE
    for layer in range(len(found.layers)):
        if whole:
            yield [recording.id, attention, layer], recording.layer(attention, layer)
            continue
        for head in range(found.layers.heads):
            yield [recording.id, attention, layer, head], recording.layer(attention, layer, head)


def _answers(source: Source) -> dict[str, list[Any]]:
    """The answers to small questions: what does not grow too large, and costs no more than opening the page."""
    found: dict[str, list[Any]] = {}
    for recording in source.recordings.values():
        longest = max(len(reading) for reading in recording.inputs.readings.values())
        can = {name: set(entry["can"]) for name, entry in zip(recording.attentions, recording.data["attentions"])}
        asked: list[tuple[str, dict[str, Any]]] = []
        for attention, questions in can.items():
            base = {"recording": recording.id, "attention": attention}
            work = len(recording.attentions[attention].layers) * recording.attentions[attention].layers.heads
            work *= longest * recording.model.num_parameters()
            asked += [(name, base) for name in EMBEDDED if name in questions and (name != "effects" or work <= WORK)]
            if "gradient" in questions and longest <= _SIZES["rollout"]:
                # Of classes a reader wants the others, too; of a vocabulary the likeliest token.
                labels = recording.asked.labels
                targets = 1 if labels is None else min(len(recording.prediction.listed), MOST_TARGETS)
                asked += [("gradient", base | {"target": target}) for target in range(targets)]
        if "lens" in recording.can:
            asked.append(("lens", {"recording": recording.id}))
        for question, parameters in asked:
            if longest > _SIZES.get(question, math.inf):
                continue
            try:
                found.setdefault(question, []).append([parameters, source.ask(question, parameters)])
            except ModuformerError as error:
                raise TextError(f"{question} of {recording.name}: {error}") from None
    return found


def _embedded(
    recording: Recording, layers: set[tuple[str, str]], pairs: set[tuple[str, str]], answers: dict[str, list[Any]]
) -> dict[str, Any]:
    """A recording's data whose `can` names what is in the file."""
    data = recording.data
    given = {
        (name, parameters.get("attention"))
        for name, entries in answers.items()
        for parameters, _ in entries
        if parameters["recording"] == recording.id
    }
    for entry in data["attentions"]:
        own = [name for name in entry["can"] if (name, entry["name"]) in given]
        place = (recording.id, entry["name"])
        entry["can"] = ["layer"] * (place in layers) + ["pair"] * (place in pairs) + own
    everywhere = {name for entry in data["attentions"] for name in entry["can"]}
    data["can"] = [name for name in data["can"] if name in everywhere or (name, None) in given]
    return data


def _json(value: Any) -> str:
    """JSON that may stand inside a script element, whatever the texts in it are."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    signs = {
        "<": "\\u003c",
        ">": "\\u003e",
        "&": "\\u0026",
        "\u2028": "\\u2028",
        "\u2029": "\\u2029",
        "\x00": "\\u0000",
    }
    return text.translate({ord(sign): spelled for sign, spelled in signs.items()})


def _language(language: str) -> str:
    return f' data-language="{language}"' if language in ("en", "ko") else ""


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
