"""`moduformer generate` and `moduformer chat`: a model writes."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moduformer.cli import standard_input
from moduformer.cli.output import line, result, say

if TYPE_CHECKING:
    from moduformer.generate.text import Generated

Model = Annotated[str, typer.Option(help="Folder, .gguf file, hub id, or smollm2.")]
Temperature = Annotated[float | None, typer.Option(min=0, help="Chance: 0 always takes the most probable token.")]
TopP = Annotated[float | None, typer.Option(min=0, max=1, help="Sample from the likeliest tokens of this share.")]
TopK = Annotated[int | None, typer.Option(min=0, help="Sample from this many of the likeliest tokens; 0 from all.")]
MinP = Annotated[
    float | None, typer.Option(min=0, max=1, help="Leave out what is this much less likely than the best.")
]
Penalty = Annotated[float | None, typer.Option(help="Above 1 makes repetition less likely.")]
Stop = Annotated[list[str] | None, typer.Option("--stop", help="End before this text; may be given several times.")]
Seed = Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="Makes sampling repeatable.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda.")]
Packing = Annotated[
    str | None,
    typer.Option(help="Weights in memory: float32, float16 (faster, computed in float32), int8 or int4 (fastest)."),
]


def generate(
    prompt: Annotated[str, typer.Argument(help="Text to continue; - reads standard input.")],
    model: Model = "smollm2",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens to write.")] = 100,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    min_p: MinP = None,
    repetition_penalty: Penalty = None,
    stop: Stop = None,
    seed: Seed = None,
    beams: Annotated[
        int | None, typer.Option("--num-beams", "--beams", min=1, help="Beam search with this many beams.")
    ] = None,
    results: Annotated[int, typer.Option(min=1, help="How many different results.")] = 1,
    as_chat: Annotated[bool, typer.Option("--chat", help="Give the prompt as a message of a conversation.")] = False,
    system: Annotated[str | None, typer.Option(help="With --chat, what the model is told first.")] = None,
    regex: Annotated[str | None, typer.Option(help="The text must match this regular expression.")] = None,
    json_schema: Annotated[Path | None, typer.Option(help="File with a JSON schema that the text must follow.")] = None,
    prompt_lookup: Annotated[
        int | None, typer.Option(min=1, help="Faster: draft so many tokens from what followed the last ones before.")
    ] = None,
    draft: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Faster: a smaller model of the same tokens drafts.")
    ] = None,
    stream: Annotated[bool | None, typer.Option("--stream/--no-stream", help="Print while writing.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    device: Device = None,
    quantization: Packing = None,
) -> None:
    """Continue a text (or answer it, with an encoder-decoder), printing it as it is written."""
    text = standard_input.text() if prompt == "-" else prompt
    settings = _settings(temperature, top_p, top_k, min_p, repetition_penalty, stop, seed)
    settings |= {"max_new_tokens": max_new_tokens, "num_return_sequences": results}
    chosen = {"num_beams": beams, "regex": regex, "prompt_lookup_num_tokens": prompt_lookup}
    settings |= {name: value for name, value in chosen.items() if value is not None}
    if results > 1 and beams is None:
        settings["do_sample"] = True
    if beams is not None and results > beams:
        raise typer.BadParameter(f"{beams} beams give no {results} different results", param_hint="--results")
    if draft is not None and prompt_lookup is not None:
        raise typer.BadParameter("--draft and --prompt-lookup both draft; choose one")
    if regex is not None and json_schema is not None:
        raise typer.BadParameter("--regex and --json-schema both bind the text; choose one")
    if "" in (stop or ()):
        raise typer.BadParameter("is empty; give the text to end before", param_hint="--stop")
    if system is not None and not as_chat:
        raise typer.BadParameter("--system needs --chat")
    live = (stream is None and not as_json and beams is None and results == 1) or bool(stream)
    if live and (as_json or beams is not None or results > 1):
        raise typer.BadParameter("--stream prints one text as it is written: not with --json, --num-beams or --results")
    if as_chat and results > 1:
        raise typer.BadParameter("--chat gives one answer: not with --results")
    if as_chat and draft is not None:
        raise typer.BadParameter("--draft is not for --chat; use --prompt-lookup")
    if json_schema is not None:
        settings["json_schema"] = _read(json_schema)
    from moduformer.loading import load
    from moduformer.quantize import prepare

    loaded = prepare(load(model, device=device, quantization=quantization))
    begin = time.perf_counter()
    echo = "" if as_chat or loaded.encoder is not None else text
    emit = _Echoing(echo) if live else None
    if as_chat:
        from moduformer.generate.chat import Chat

        found = [Chat(loaded, system, **settings).say(text, emit)]
    else:
        from moduformer.generate.text import generate_text

        small = None if draft is None else load(draft, device=device)
        found = generate_text(loaded, text, streamer=emit, assistant_model=small, **settings)
    seconds = time.perf_counter() - begin
    if as_json:
        result(
            {"model": model, "prompt": text, "results": [_plain(one) for one in found], "seconds": round(seconds, 3)}
        )
        return
    if emit is not None:
        emit("\n")
    else:
        print("\n\n".join(echo + one.text for one in found))
    say(_speed(found, seconds))


def chat(
    model: Model = "smollm2",
    system: Annotated[str | None, typer.Option(help="What the model is told first.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 512,
    temperature: Temperature = 0.6,
    top_p: TopP = 0.9,
    top_k: TopK = None,
    min_p: MinP = None,
    repetition_penalty: Penalty = None,
    stop: Stop = None,
    seed: Seed = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line an answer, when it is complete.")] = False,
    device: Device = None,
    quantization: Packing = None,
) -> None:
    """Talk with a model: a line is a message; /reset begins anew, /exit or the end of the input ends."""
    settings = _settings(temperature, top_p, top_k, min_p, repetition_penalty, stop, seed)
    settings["max_new_tokens"] = max_new_tokens
    from moduformer.errors import TextError
    from moduformer.generate.chat import Chat
    from moduformer.loading import load
    from moduformer.quantize import prepare

    loaded = prepare(load(model, device=device, quantization=quantization))
    talk = Chat(loaded, system, **settings)
    talks = sys.stdin.isatty()
    if talks:
        say(f"{model}: write a line; /reset begins anew, /exit ends")
    heard = standard_input.lines()
    while True:
        if talks:
            print("> ", end="", file=sys.stderr, flush=True)
        text = next(heard, "/exit").strip()
        if text == "/exit":
            break
        if text == "/reset":
            talk = Chat(loaded, system, **settings)
        elif text:
            try:
                answer = talk.say(text, None if as_json else _print)
            except TextError as error:
                if not talks:
                    raise
                # Somebody sits there who can say it in another way; the conversation is as it was before.
                say(str(error))
                continue
            if as_json:
                line(_plain(answer) | {"read": talk.fed})
            else:
                print(flush=True)


def _read(path: Path) -> str:
    """The JSON of a schema's file."""
    import json

    from moduformer.errors import DataError

    try:
        content = path.read_text("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text; convert it first") from None
    try:
        json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON: {error}; correct the schema") from None
    return content


def _settings(
    temperature: float | None,
    top_p: float | None,
    top_k: int | None,
    min_p: float | None,
    repetition_penalty: float | None,
    stop: list[str] | None,
    seed: int | None,
) -> dict[str, Any]:
    sampling = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "min_p": min_p}
    given = {name: value for name, value in sampling.items() if value is not None}
    settings: dict[str, Any] = {}
    if temperature == 0:
        settings["do_sample"] = False
        for name in given.keys() - {"temperature"}:
            say(f"--{name.replace('_', '-')} has no effect at --temperature 0, which takes the most probable token")
    elif given:
        settings = {"do_sample": True, **given}
    others = {"repetition_penalty": repetition_penalty, "stop_strings": stop or None, "seed": seed}
    return settings | {name: value for name, value in others.items() if value is not None}


class _Echoing:
    """Prints pieces, and the prompt before the first: only when the model has begun to write is all well."""

    def __init__(self, prompt: str) -> None:
        self._prompt = prompt

    def __call__(self, piece: str) -> None:
        _print(self._prompt + piece)
        self._prompt = ""


def _print(piece: str) -> None:
    print(piece, end="", flush=True)


def _plain(one: Generated) -> dict[str, Any]:
    data = {"text": one.text, "ended_by": one.ended_by, "tokens": len(one.tokens)}
    if one.drafted:
        data |= {"drafted": one.drafted, "accepted": one.accepted}
    return data if one.score is None else data | {"score": one.score}


def _speed(found: list[Generated], seconds: float) -> str:
    tokens = sum(len(one.tokens) for one in found)
    ends = {"eos": "the model ended it", "stop": "a stop text came", "length": "--max-new-tokens reached"}
    why = "; ".join(dict.fromkeys(ends.get(one.ended_by, "the model has no further positions") for one in found))
    drafted, accepted = sum(one.drafted for one in found), sum(one.accepted for one in found)
    kept = f"; {accepted:,} of {drafted:,} drafted tokens kept" if drafted else ""
    return f"{tokens:,} tokens in {seconds:.1f} s ({tokens / max(seconds, 1e-9):.1f} a second){kept}; {why}"
