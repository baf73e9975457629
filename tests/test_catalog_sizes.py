"""Every size of the table as an architecture: its shape, its count, and that it can be built."""

import pytest

from moduformer.architecture import MixtureOfExperts, Spec, Stack
from moduformer.catalog.row import Row, Size, rows
from moduformer.catalog.status import counted, rounds_to
from moduformer.errors import SpecError
from moduformer.model import build

ROWS = [pytest.param(row, id=row.id) for row in rows().values()]
SIZES = [pytest.param(row, size, id=f"{row.id}-{size.label}") for row in rows().values() for size in row.sizes]
UNBUILT = {"cohere", "llama-2 34b", "internlm 104b"}
"""What no architecture here builds: shapes nobody published, and sizes never released."""


@pytest.mark.parametrize(("row", "size"), SIZES)
def test_a_size_has_the_shape_and_the_count_it_says(row: Row, size: Size) -> None:
    try:
        spec = row.spec(size.label)
    except SpecError:
        assert {row.id, f"{row.id} {size.label}"} & UNBUILT
        return
    assert not {row.id, f"{row.id} {size.label}"} & UNBUILT, "it builds: take it off the list"
    stack = spec.decoder or spec.encoder
    if isinstance(stack, Stack) and row.kind not in ("recurrent",):
        assert shape(spec) == published_shape(row, size)


def shape(spec: Spec) -> dict[str, object]:
    stacks = [stack for stack in (spec.encoder, spec.decoder) if isinstance(stack, Stack)]
    inner = [block.feed_forward for stack in stacks for block in stack.pattern]
    attention = stacks[-1].pattern[0].attention
    assert attention is not None
    return {
        # A last layer that asks with a learned query counts as a layer to its makers.
        "layers": [stack.layers + bool(stack.top_query) for stack in stacks],
        "hidden": spec.dim,
        "heads": (attention.heads, attention.head_dim, attention.kv_heads),
        "ffn": {each.expert.width if isinstance(each, MixtureOfExperts) else each.width for each in inner if each},
        "experts": max((each.experts for each in inner if isinstance(each, MixtureOfExperts)), default=0),
        "vocab": spec.vocab,
    }


def published_shape(row: Row, size: Size) -> dict[str, object]:
    return {
        "layers": [layers for layers in (size.layers, size.decoder_layers) if layers],
        "hidden": size.hidden,
        "heads": (size.heads, size.head_dim or size.hidden // size.heads, size.kv_heads or size.heads),
        "ffn": {size.ffn},
        "experts": size.experts,
        "vocab": size.vocab,
    }


@pytest.mark.parametrize("row", ROWS)
def test_a_count_is_the_published_one_or_the_row_says_why(row: Row) -> None:
    for each in counted(row):
        assert each.verdict != "unexplained", (each.size.label, each.size.published, each.parameters)


@pytest.mark.parametrize(
    "row", [param for param in ROWS if param.values[0].sizes and param.values[0].id not in UNBUILT]
)
def test_a_row_builds(row: Row) -> None:
    """Its smallest size, as modules without memory; the rest are `slow`."""
    least = min((each for each in counted(row) if each.parameters), key=lambda each: each.parameters)
    model = build(row.spec(least.size.label), device="meta")
    assert model.num_parameters() == sum(parameter.numel() for parameter in model.parameters()) == least.parameters


@pytest.mark.slow
@pytest.mark.parametrize(("row", "size"), SIZES)
def test_every_size_builds(row: Row, size: Size) -> None:
    if not {row.id, f"{row.id} {size.label}"} & UNBUILT:
        assert build(row.spec(size.label), device="meta").num_parameters() == row.parameters(size.label)


@pytest.mark.parametrize(
    ("parameters", "figure", "same"),
    [
        (6_738_415_616, "7B", True),
        (6_738_415_616, "6.7B", True),
        (6_738_415_616, "6.6B", False),
        (13_015_864_320, "13.0B", True),
        (12_448_000_000, "13B", False),
        (124_439_808, "117M", False),
        (41_303_293_952, "40B", True),
        (99_600_000, "100M", True),
        (449_000_000, "1B", False),
    ],
)
def test_rounding(parameters: int, figure: str, same: bool) -> None:
    assert rounds_to(parameters, figure) == same
