"""An architecture in words: a line an idea, with everything that is not as the part's defaults have it."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable
from typing import Any

from moduformer.architecture.parts import (
    ALiBi,
    Attention,
    Block,
    Embedding,
    FeedForward,
    Head,
    LearnedPositions,
    MixtureOfExperts,
    Norm,
    Rotary,
    Sinusoids,
    Stack,
    TaskModule,
)
from moduformer.architecture.recurrent import (
    AdditiveAttention,
    Bridge,
    MultiplicativeAttention,
    Readout,
    Recurrent,
    RecurrentDecoder,
    Summary,
)
from moduformer.architecture.spec import Spec

Lines = list[tuple[str, str]]
"""Labels, and what is to be said of each."""

FLOWS = {
    "sequential": "attention, then feed-forward",
    "parallel": "attention beside feed-forward, a norm each",
    "parallel-shared": "attention beside feed-forward, one norm for both",
}
PLACES = {"in": "before each", "out": "on each result", "res": "after each addition"}


def describe(spec: Spec) -> Lines:
    """All of a spec; two specs that differ are described differently."""
    lines = [("vocabulary", f"{spec.vocab:,}"), ("width", f"{spec.dim:,}")]
    for name in ("embedding", "target_embedding"):
        if (table := getattr(spec, name)) is not None and (told := _embedded(table, spec.dim)):
            lines.append((name.replace("_", " "), told))
    named = ["vocab", "dim", "embedding", "target_embedding", "encoder", "decoder", "heads"]
    for name in ("encoder", "decoder"):
        stack = getattr(spec, name)
        if isinstance(stack, Stack):
            lines += [(name, words(stack)), *_blocks(stack)]
        elif stack is not None:
            lines.append((name, words(stack)))
    for head in spec.heads:
        lines.append(("head", words(head)))
        if head.module is not None:
            lines += [("  module", words(head.module)), *_blocks(head.module.stack)]
    ids = [f.name for f in dataclasses.fields(spec) if f.name.endswith("_id")]
    known = ", ".join(f"{name[:-3].replace('_', ' ')} {getattr(spec, name)}" for name in ids if _is_set(spec, name))
    lines += [("special tokens", known)] if known else []
    rest = [f.name for f in dataclasses.fields(spec) if f.name not in (*named, *ids) and _is_set(spec, f.name)]
    return lines + [(name.replace("_", " "), words(getattr(spec, name))) for name in rest]


def compare(left: Spec, right: Spec) -> list[tuple[str, str, str]]:
    """The lines in which two descriptions differ: label, left, right. A stack's own lines stand below its name."""
    sides = [_in_sections(describe(spec)) for spec in (left, right)]
    rows: list[tuple[str, str, str]] = []
    begun = ""
    for section, label in _merged(*sides):
        told = [side.get((section, label), "-") for side in sides]
        if told[0] == told[1]:
            continue
        if label.startswith("  ") and begun != section:
            rows.append((section, "", ""))
        begun = section
        rows.append((label, told[0], told[1]))
    return rows


def _merged(left: Iterable[tuple[str, str]], right: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """All of both in order; what only the right has follows what it follows there."""
    merged, place = list(left), 0
    for key in right:
        if key not in merged:
            merged.insert(place, key)
        place = merged.index(key) + 1
    return merged


def _in_sections(lines: Lines) -> dict[tuple[str, str], str]:
    """Lines by the line without indentation that they stand below, and their own label."""
    found: dict[tuple[str, str], str] = {}
    section = ""
    for label, told in lines:
        section = section if label.startswith("  ") else label
        while (section, label) in found:  # a second head
            section = label = f"{label} "
        found[section, label] = told
    return found


def words(value: Any) -> str:
    """One part, or one value of a field."""
    if isinstance(value, tuple):
        return ", ".join(words(item) for item in value) or "none"
    if not dataclasses.is_dataclass(value):
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return f"{value:,.0f}" if whole else f"{value:g}" if isinstance(value, float) else str(value)
    phrase, said = PHRASES[type(value)](value) if type(value) in PHRASES else _plain(value)
    rest = (_of_field(f, getattr(value, f.name)) for f in dataclasses.fields(value) if f.name not in said)
    return ", ".join(filter(None, (phrase, *rest)))


def idle_parameters(spec: Spec) -> int:
    """How many numbers a token passes by: those of the experts that it does not take."""
    idle = 0
    stacks = [(stack, spec.dim) for stack in (spec.encoder, spec.decoder) if isinstance(stack, Stack)]
    stacks += [(head.module.stack, head.module.dim) for head in spec.heads if head.module is not None]
    for stack, dim in stacks:
        for block in (stack.block(i) for i in range(stack.weight_sets)):
            inner = block.feed_forward
            if isinstance(inner, MixtureOfExperts):
                idle += (inner.experts - inner.active) * inner.expert.num_parameters(dim)
    return idle


def _is_set(part: Any, name: str) -> bool:
    field = next(f for f in dataclasses.fields(part) if f.name == name)
    return bool(getattr(part, name) != field.default)


def _of_field(field: dataclasses.Field[Any], value: Any) -> str:
    """What is said of a field: nothing where it has its default, which may not be known."""
    name = field.name.replace("_", " ")
    if value == field.default or (field.default is dataclasses.MISSING and value is None):
        return ""
    if isinstance(value, bool):
        return name if value else f"no {name}"
    if value is None:
        return f"no {name}"
    text = words(value)
    if dataclasses.is_dataclass(value):
        return f"{name} ({text.removeprefix(name).removeprefix(', ')})"
    return f"{name} {text}"


def _plain(part: Any) -> tuple[str, set[str]]:
    """A part in its own names: the class, and all that is set, be it by default."""
    name = re.sub("(?<=[a-z])(?=[A-Z])", " ", type(part).__name__).lower()
    fields = [(f.name.replace("_", " "), getattr(part, f.name)) for f in dataclasses.fields(part)]
    told = [f"{label} {words(value)}" for label, value in fields if value is not None and not isinstance(value, bool)]
    told += [label if value else f"no {label}" for label, value in fields if isinstance(value, bool)]
    return ", ".join((name, *told)), {f.name for f in dataclasses.fields(part)}


def _embedded(embedding: Embedding, dim: int) -> str:
    """An embedding's line; its width goes without saying where it is the model's."""
    return words(embedding) if embedding.width == dim else f"width {embedding.width:,}, {words(embedding)}"


def _norm(norm: Norm) -> tuple[str, set[str]]:
    names = {"layer": "layer norm", "rms": "RMS norm"}
    return f"{names[norm.kind]}, eps {norm.eps:g}", {"kind", "eps"} | ({"bias"} if norm.kind == "rms" else set())


def _rotary(rotary: Rotary) -> tuple[str, set[str]]:
    return f"rotary, {rotary.dim} of each head, {rotary.pairing}, base {words(rotary.base)}", {"dim", "pairing", "base"}


def _alibi(alibi: ALiBi) -> tuple[str, set[str]]:
    return f"ALiBi, slopes down to 2^-{alibi.max_bias:g}", {"max_bias"}


def _learned(positions: LearnedPositions) -> tuple[str, set[str]]:
    return f"learned positions for {positions.max:,} tokens", {"max"}


def _sinusoids(sinusoids: Sinusoids) -> tuple[str, set[str]]:
    return "sinusoids", set()


def _attention(attention: Attention) -> tuple[str, set[str]]:
    heads = "key-value heads" if attention.kv_heads > 1 else "key-value head"
    shared = f", {attention.kv_heads} {heads}" if attention.kv_heads != attention.heads else ""
    biases = {
        (True, True): "biases",
        (False, False): "no biases",
        (True, False): "biases on q, k and v",
        (False, True): "a bias on the output",
    }[attention.bias, attention.out_bias]
    said = {"heads", "head_dim", "kv_heads", "bias", "out_bias", "position", "window"}
    return f"{attention.heads} heads of {attention.head_dim}{shared}, {biases}", said


def _feed_forward(inner: FeedForward) -> tuple[str, set[str]]:
    gate = ", gated" if inner.gated else ""
    biases = "biases" if inner.bias else "no biases"
    return f"{inner.width:,}, {inner.activation}{gate}, {biases}", {"width", "activation", "gated", "bias"}


def _experts(mixture: MixtureOfExperts) -> tuple[str, set[str]]:
    experts = f"{mixture.active} of {mixture.experts} experts a token, each {words(mixture.expert)}"
    return experts, {"active", "experts", "expert"}


def _embedding(embedding: Embedding) -> tuple[str, set[str]]:
    place = words(embedding.positions) if embedding.positions is not None else ""
    return place, {"positions", "width"}


def _stack(stack: Stack) -> tuple[str, set[str]]:
    return f"{stack.layers} layers{', causal' if stack.causal else ''}", {"layers", "causal", "pattern"}


def _recurrent(part: Recurrent) -> tuple[str, set[str]]:
    ways = {"forward": "", "backward": ", read from the end", "both": " each way"}[part.direction]
    bias = "biases" if part.bias else "no biases"
    noun = "layer" if part.layers == 1 else "layers"
    said = {"cell", "layers", "width", "direction", "bias"}
    return f"{part.layers} {noun} of {part.width:,} {part.cell} cells{ways}, {bias}", said


def _recurrent_decoder(part: RecurrentDecoder) -> tuple[str, set[str]]:
    start = "begins with the encoder's states" if part.bridge is None else f"begins with a {words(part.bridge)}"
    told = [words(part.cells), start]
    if part.context is not None:
        told.append(f"{words(part.context)} for the {'cells' if part.context_at == 'input' else 'readout'}")
    return ", ".join(told), {"cells", "bridge", "context", "context_at"}


def _bridge(part: Bridge) -> tuple[str, set[str]]:
    made = {"last": "last state", "backward": "backward state", "summary": "summary"}[part.reads]
    return f"projection of the {made}", {"reads"}


def _readout(part: Readout) -> tuple[str, set[str]]:
    return f"{part.width:,}, {part.activation} of {', '.join(part.reads)}", {"width", "activation", "reads"}


def _summary(part: Summary) -> tuple[str, set[str]]:
    return f"a summary of {part.width:,}", {"width"}


def _additive(part: AdditiveAttention) -> tuple[str, set[str]]:
    return f"additive attention of {part.width:,}", {"width"}


def _multiplicative(part: MultiplicativeAttention) -> tuple[str, set[str]]:
    return f"{part.score} attention", {"score"}


def _head(head: Head) -> tuple[str, set[str]]:
    bias = "" if head.kind == "pool" else ", a bias" if head.bias else ", no bias"
    tie = ", tied to the token vectors" if head.tied else ""
    module = " of a module's states" if head.module is not None else ""
    return f"{head.kind}{module}{tie}{bias}", {"kind", "tied", "bias", "module"}


def _task_module(module: TaskModule) -> tuple[str, set[str]]:
    bias = "" if module.bias else ", projected into it without a bias"
    return f"width {module.dim:,}, {words(module.stack)}{bias}", {"dim", "stack", "bias"}


PHRASES: dict[type, Callable[[Any], tuple[str, set[str]]]] = {
    Norm: _norm,
    Rotary: _rotary,
    ALiBi: _alibi,
    LearnedPositions: _learned,
    Sinusoids: _sinusoids,
    Attention: _attention,
    FeedForward: _feed_forward,
    MixtureOfExperts: _experts,
    Embedding: _embedding,
    Stack: _stack,
    Recurrent: _recurrent,
    RecurrentDecoder: _recurrent_decoder,
    Bridge: _bridge,
    Readout: _readout,
    Summary: _summary,
    AdditiveAttention: _additive,
    MultiplicativeAttention: _multiplicative,
    Head: _head,
    TaskModule: _task_module,
}
"""How a part is said, and which of its fields that covers; what is left is said field by field."""


def _block(block: Block) -> dict[str, str]:
    said = {"attention", "feed_forward", "norm", "norm_at", "flow", "cross_attention"}
    rest = (_of_field(f, getattr(block, f.name)) for f in dataclasses.fields(block) if f.name not in said)
    attention, places = block.attention, [PLACES[place] for place in block.norm_at]
    lines = {
        "order": ", ".join(filter(None, (FLOWS[block.flow], *rest))),
        "norms": f"{words(block.norm)}, {' and '.join(places)}" if places else "none",
        "attention": words(attention),
        "positions": "" if attention.position is None else words(attention.position),
        "window": "all tokens" if attention.window is None else f"{attention.window:,} tokens",
        "feed-forward": words(block.feed_forward),
    }
    if (crossed := block.cross_attention) is not None:
        lines["cross-attention"] = words(crossed)
    return lines


def _blocks(stack: Stack) -> Iterable[tuple[str, str]]:
    """The lines of all blocks of a pattern, each told once where they agree."""
    blocks = [_block(block) for block in stack.pattern]
    for label in dict.fromkeys(label for block in blocks for label in block):
        told = [block.get(label, "") for block in blocks]
        if len(set(told)) > 1:
            runs = [(text, len(list(same))) for text, same in itertools.groupby(told)]
            turns = "; ".join((f"{count} x " if count > 1 else "") + (text or "none") for text, count in runs)
            yield f"  {label}", turns if len(told) == stack.layers else f"in turn {turns}"
        elif told[0] and told[0] != "all tokens":
            yield f"  {label}", told[0]
