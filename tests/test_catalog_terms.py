"""The terms a row uses for its positions, norms, activations and attention are those of its architecture."""

import pytest

from moduformer.architecture import (
    ALiBi,
    LearnedPositions,
    MixtureOfExperts,
    RelativeSinusoids,
    Rotary,
    Sinusoids,
    Spec,
    Stack,
)
from moduformer.catalog.row import Row, rows
from moduformer.errors import SpecError

POSITIONS = {LearnedPositions: "learned", Sinusoids: "sinusoidal"}
DISTANCES = {Rotary: "rotary", ALiBi: "ALiBi", RelativeSinusoids: "relative sinusoids"}
PLAIN = {"gelu_tanh": "GELU", "gelu": "GELU", "gelu_sigmoid": "quick GELU", "relu": "ReLU", "silu": "SiLU"}
GATED = {"gelu_tanh": "GeGLU", "gelu": "GeGLU", "silu": "SwiGLU"}
NAMES = ("positions", "norms", "activations", "attention")


def terms_of_stack(stack: Stack) -> set[tuple[str, str]]:
    found = set()
    if stack.position_bias:
        found.add(("positions", "relative buckets"))
    for name, there in (("two-stream", stack.two_streams), ("top query", stack.top_query)):
        if there:
            found.add(("attention", name))
    for block in stack.pattern:
        attention, inner = block.attention, block.feed_forward
        if type(attention.position) in DISTANCES:
            found.add(("positions", DISTANCES[type(attention.position)]))
        shared = {attention.heads: "multi-head", 1: "multi-query"}.get(attention.kv_heads, "grouped-query")
        found.add(("attention", shared))
        if attention.window:
            found.add(("attention", "banded"))
        if isinstance(inner, MixtureOfExperts):
            inner = inner.expert
        found.add(("activations", (GATED if inner.gated else PLAIN)[inner.activation]))
        norm = {"layer": "LayerNorm", "rms": "RMSNorm"}[block.norm.kind]
        scaled = block.residual_scale != 1 or block.residual == "normed"
        found.add(("norms", "DeepNorm" if scaled else f"{norm} {'before' if 'in' in block.norm_at else 'after'}"))
    return found


def terms(spec: Spec) -> set[tuple[str, str]]:
    found = set()
    for embedding in (spec.embedding, spec.target_embedding):
        if embedding and type(embedding.positions) in POSITIONS:
            found.add(("positions", POSITIONS[type(embedding.positions)]))
        if embedding and embedding.block_positions:
            found = {("positions", "two-dimensional learned")}
    for stack in (spec.encoder, spec.decoder):
        if isinstance(stack, Stack):
            found |= terms_of_stack(stack)
    return found


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in rows().values() if row.sizes])
def test_terms_are_those_of_the_architecture(row: Row) -> None:
    seen, beside = set(), set()
    for size in row.sizes:
        try:
            spec = row.spec(size.label)
        except SpecError:
            continue
        seen |= terms(spec)
        if spec.vision:
            positions = spec.vision.patches
            beside |= terms_of_stack(spec.vision.stack) | ({("positions", "learned")} if positions else set())
    if row.kind == "recurrent" or not seen:
        return
    said = {(name, word) for name in NAMES for word in getattr(row, name)}
    unsaid = {name for name, word in said if word == "unpublished"}
    if row.id == "vit":  # all of it is its image encoder
        seen, beside = beside, set()
    assert {term for term in seen if term[0] not in unsaid} <= said
    assert {term for term in said if term[0] not in unsaid} <= seen | beside
