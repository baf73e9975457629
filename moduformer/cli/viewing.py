"""`moduformer view` and `moduformer heads`: what a model looks at."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from moduformer.cli import standard_input
from moduformer.cli.output import grid, line, result, say

Model = Annotated[str, typer.Option(help="Folder, hub id or alias.")]
Task = Annotated[str | None, typer.Option(help="Which head to load, such as text-classification.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda.")]

_SAID = {
    "previous": "look at the previous token",
    "next": "look at the next token",
    "self": "look at the token itself",
    "first": "look at the first token",
    "separator": "look at separators such as [SEP]",
    "induction": "induction: look at what followed the same token before",
}


def view(
    text: Annotated[str | None, typer.Argument(help="What the model reads; - reads standard input.")] = None,
    model: Model = "minilm",
    compare: Annotated[str | None, typer.Option(metavar="MODEL", help="Another model beside it.")] = None,
    second: Annotated[str | None, typer.Option("--second", "--text2", help="Another text beside it.")] = None,
    pair: Annotated[str | None, typer.Option(help="A text that belongs to the first, as a question's context.")] = None,
    target: Annotated[
        str | None, typer.Option(help="An encoder-decoder's second text; without it, it writes one.")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="A picture, for a model that sees.")] = None,
    generate: Annotated[int, typer.Option(min=0, max=10_000, help="Tokens that a decoder writes after the text.")] = 0,
    task: Task = None,
    out: Annotated[Path | None, typer.Option(help="Write one HTML file that needs no network.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the local page; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    language: Annotated[str, typer.Option(help="Of the page: en, ko; without it, the browser's.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the recordings as JSON lines, and no page.")] = False,
    device: Device = None,
) -> None:
    """See what every head of a model looks at, and what changes without it."""
    if language not in ("", "en", "ko"):
        raise typer.BadParameter("is en or ko", param_hint="--language")
    words = standard_input.text() if text == "-" else text
    for given in (words, words if second is None else second):
        if image is None and not (given or "").strip():
            raise typer.BadParameter(
                "give a text, or --image with a picture" + ("; this one is empty" * (given is not None))
            )
    from moduformer.loading import load
    from moduformer.view.opening import View, open_in_browser
    from moduformer.view.opening import view as look
    from moduformer.view.pictures import processor_beside

    names = [name for name in (model, compare) if name is not None]
    loaded = [load(name, task, device=device) for name in names]
    for made, name in zip(loaded, names):
        say(f"{name}: {made.num_parameters():,} parameters")
    shown = look(
        words,
        model=loaded[0],
        compare=loaded[1] if compare is not None else None,
        second=second,
        pair=pair,
        target=target,
        image=image,
        generate=generate,
        language=language,
        notebook=False,
        names=names,
        processors=[None if image is None else processor_beside(name) for name in names],
    )
    assert isinstance(shown, View)
    if as_json:
        for recording in shown.recordings:
            line(recording.data)
        return
    if out is not None:
        say("computing every layer, and what each head changes; a long text takes a while")
        missing = not out.parent.exists()
        path = shown.save(out)
        print(path)
        if missing:
            say(f"made the folder {path.parent}")
        say(f"{path.stat().st_size / 1e6:.1f} MB; opens in any browser, without network")
        return
    server = shown.serve(port)
    print(server.address, flush=True)
    if browser and not open_in_browser(server.address):
        say("no browser was found; open this address in one")
    say("Ctrl-C ends it")
    try:
        server.wait()
    except KeyboardInterrupt:
        say("")
    finally:
        server.close()


def heads(
    model: Annotated[str, typer.Argument(help="Folder, hub id or alias.")] = "minilm",
    by: Annotated[str | None, typer.Option(help="List all heads by this score, such as previous or induction.")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Heads of each list.")] = 5,
    text: Annotated[
        list[str] | None, typer.Option(help="Text to try the heads on; may be given several times; - reads lines.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="Of the random tokens for induction.")] = 0,
    check: Annotated[bool, typer.Option("--check", help="Switch the best induction heads off and compare.")] = False,
    task: Task = None,
    as_json: Annotated[bool, typer.Option("--json", help="All heads and all scores as JSON.")] = False,
    device: Device = None,
) -> None:
    """Find which heads look at the previous token, at separators, or back to what came before (induction)."""
    from moduformer.view.heads import COLUMNS, TEXTS, best, check_induction, head_scores

    if by is not None and by not in COLUMNS:
        raise typer.BadParameter(f"is one of {', '.join(COLUMNS)}", param_hint="--by")
    texts: list[str] = []
    for given in text or TEXTS:
        texts += [each for each in standard_input.lines() if each.strip()] if given == "-" else [given]
    from moduformer.loading import load

    loaded = load(model, task, device=device)
    found = head_scores(loaded, texts, seed)
    if check:
        tried = check_induction(loaded, found, count, seed)
        names = ", ".join(f"{each.name} ({each.scores['induction']:.2f})" for each in tried.heads)
        print(f"induction heads switched off: {names}")
        print("random tokens that come a second time, nats a token:")
        print(f"  with all heads {tried.all_heads:.2f}")
        print(f"  without these {tried.without:.2f}")
        print(f"  without as many others of their layers {tried.without_others:.2f}")
        return
    if as_json:
        result(
            [
                {"attention": each.attention, "layer": each.layer, "head": each.head}
                | {name: round(value, 4) for name, value in each.scores.items()}
                for each in found
            ]
        )
        return
    if not found:
        say("this model has no attention")
        sys.exit(1)
    for attention in dict.fromkeys(each.attention for each in found):
        own = [each for each in found if each.attention == attention]
        columns = [name for name in COLUMNS if any(name in each.scores for each in own)]
        if by is not None:
            if by not in columns:
                continue
            rows = [
                [each.name, *(f"{each.scores[name]:.2f}" if name in each.scores else "-" for name in columns)]
                for each in best(own, by, count)
            ]
            grid(f"{attention}, highest {by} first", ["layer.head", *columns], rows)
            continue
        print(attention)
        for name in columns:
            if name in _SAID:
                shown = "  ".join(f"{each.name} {each.scores[name]:.2f}" for each in best(own, name, count))
                print(f"  {_SAID[name]}\n    {shown}")
