"""Every decoder of every family, step by step with its cache, against one pass over the whole text."""

from pathlib import Path

import pytest
import torch
import transformers

from moduformer.batch import Batch
from moduformer.model import Model
from moduformer.weights.checkpoint import load_checkpoint
from parity.drawn import REFERENCES
from parity.references import VOCAB, Reference, make, save

transformers.logging.set_verbosity_error()

LENGTHS = (13, 6, 17, 9)
CHUNKS = {
    "token by token": ((1, 1, 1, 1),) * 6,
    "in chunks": ((3, 1, 5, 2), (4, 2, 1, 3), (2, 1, 4, 1)),
    "a prompt, then tokens": ((7, 3, 11, 5), (1, 1, 1, 1), (1, 1, 1, 1)),
}


def in_steps(
    model: Model, rows: list[list[int]], chunks: tuple[tuple[int, ...], ...], source: Batch | None
) -> list[torch.Tensor]:
    """The hidden states of each row, made chunk by chunk through a cache."""
    cache = model.cache(len(rows))
    parts: list[list[torch.Tensor]] = [[] for _ in rows]
    begin, encoded = [0] * len(rows), None
    for lengths in chunks:
        end = [a + n for a, n in zip(begin, lengths)]
        batch = Batch.following([row[a:b] for row, a, b in zip(rows, begin, end)], cache.seen)
        if source is None:
            states = model.run(batch, cache=cache)
        else:
            states = model.run(source, batch, cache, encoded=encoded)
            encoded = states.encoder_hidden
        for part, new in zip(parts, states.hidden.split(lengths)):
            part.append(new)
        begin = end
    return [torch.cat(part) for part in parts]


@pytest.mark.parametrize("reference", [pytest.param(r, id=r.family) for r in REFERENCES])
@pytest.mark.parametrize("seed", [1, 2, 3])
@torch.no_grad()
def test_steps_equal_one_pass(reference: Reference, seed: int, tmp_path: Path) -> None:
    model = load_checkpoint(save(make(reference, reference.classes[0], seed), tmp_path))
    if model.spec.decoder is None or not model.spec.decoder.causal:
        pytest.skip("no decoder that sees only what came before")
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(5, VOCAB, (n,), generator=generator).tolist() for n in LENGTHS]
    whole, source = Batch.from_lists(rows, order=range(len(rows))), None
    if model.spec.encoder is not None:
        texts = [torch.randint(5, VOCAB, (n,), generator=generator).tolist() for n in (5, 2, 7, 7)]
        source = Batch.from_lists(texts, order=range(len(rows)))
    states = model.run(whole) if source is None else model.run(source, whole)
    expected = states.hidden.split(LENGTHS)
    for name, chunks in CHUNKS.items():
        for row, found in zip(expected, in_steps(model, rows, chunks, source)):
            error = (found - row[: len(found)]).abs().max() / row.abs().max()
            assert error <= 1e-5, name
