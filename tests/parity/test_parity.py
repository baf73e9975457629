"""Every family against `transformers`: same files in, same numbers out, same files back."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

from moduformer.weights.checkpoint import load_checkpoint
from parity.drawn import REFERENCES
from parity.references import Inputs, Reference, inputs, make, save

transformers.logging.set_verbosity_error()

DRAWS = (1, 2, 3)
CASES = [
    pytest.param(reference, name, seed, id=f"{name}-{seed}")
    for reference in REFERENCES
    for name in reference.classes
    for seed in DRAWS
]


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, relative to the largest expected value."""
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30))


def compare(ours: object, theirs: object, given: Inputs, skip: tuple[str, ...] = ()) -> float | None:
    """The largest relative error over all outputs both sides have, at real tokens; None if all were skipped."""
    errors = {}
    for field in ours.keys():  # noqa: SIM118
        if field not in theirs or field in skip or not isinstance(theirs[field], torch.Tensor):
            continue
        found, expected = ours[field], theirs[field]
        for real in (given.real, given.decoder_real):
            if real is not None and expected.dim() >= 2 and expected.shape[:2] == real.shape:
                found, expected = found[real], expected[real]
                break
        assert found.shape == expected.shape, field
        errors[field] = relative_error(found, expected)
    assert errors or skip, "nothing was compared"
    return max(errors.values(), default=None)


def unlike_on_the_left(ours: object) -> tuple[str, ...]:
    """Outputs that `transformers` reads from column 0, which is padding when that stands on the left."""
    if any(head.reads == "first" for head in ours.spec.heads):
        fields = ["pooler_output", "seq_relationship_logits"]
        return (*fields, *(("logits",) if not any(h.reads == "tokens" for h in ours.spec.heads) else ()))
    return ()


@pytest.mark.parametrize(("reference", "name", "seed"), CASES)
def test_same_numbers_and_same_files(
    reference: Reference, name: str, seed: int, tmp_path: Path, seen: Callable[..., None]
) -> None:
    theirs = make(reference, name, seed)
    folder = save(theirs, tmp_path / "theirs")
    ours = load_checkpoint(folder)
    for padding in ("equal", "right", "left"):
        if name in {"left": reference.no_left, "right": reference.no_right}.get(padding, ()):
            continue  # the reference's decoder reads left padding as text
        given = inputs(reference, theirs, padding, seed)
        skip = unlike_on_the_left(ours) if padding == "left" else ()
        with torch.no_grad():
            error = compare(ours(**given.ours), theirs(**given.theirs), given, skip)
        assert error is None or error <= 1e-5, padding
        seen(reference.family, name, error)

    again = ours.save(tmp_path / "ours")
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    back = getattr(transformers, name).from_pretrained(again, attn_implementation=reference.attention).eval()
    given = inputs(reference, theirs, "right", seed)
    with torch.no_grad():
        assert compare(back(**given.theirs), theirs(**given.theirs), given) <= 1e-6


@pytest.mark.parametrize(("reference", "name"), [pytest.param(r, r.classes[-1], id=r.family) for r in REFERENCES])
@pytest.mark.parametrize("seed", DRAWS)
def test_double_precision(
    reference: Reference, name: str, seed: int, tmp_path: Path, seen: Callable[..., None]
) -> None:
    theirs = make(reference, name, seed, torch.float64)
    ours = load_checkpoint(save(theirs, tmp_path), dtype=torch.float64)
    for padding in ("equal", "right") if reference.padded_double else ("equal",):
        given = inputs(reference, theirs, padding, seed)
        with torch.no_grad():
            error = compare(ours(**given.ours), theirs(**given.theirs), given)
        assert error <= reference.double
        seen(reference.family, name, error, "float64")


@pytest.mark.parametrize("reference", [pytest.param(r, id=r.family) for r in REFERENCES])
def test_batch_mates_change_nothing(reference: Reference, tmp_path: Path) -> None:
    theirs = make(reference, reference.classes[0], 5)
    ours = load_checkpoint(save(theirs, tmp_path))
    given = inputs(reference, theirs, "right", 5)
    with torch.no_grad():
        together = ours(**given.ours).last_hidden_state
        for row in range(together.shape[0]):
            length = int(given.real[row].sum())
            alone_inputs = {
                field: value[row : row + 1, : (length if value.shape[1] == given.real.shape[1] else None)]
                for field, value in given.ours.items()
            }
            alone = ours(**alone_inputs).last_hidden_state[0]
            assert relative_error(together[row, : alone.shape[0]], alone) <= 1e-5
