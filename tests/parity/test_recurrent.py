"""Recurrent models against the papers' formulas, one row and one token at a time (`oracles.recurrent`)."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from core_models import randomise
from oracles import recurrent as oracle

from moduformer.architecture import (
    AdditiveAttention,
    Bridge,
    Embedding,
    Head,
    MultiplicativeAttention,
    Readout,
    Recurrent,
    RecurrentDecoder,
    Spec,
    Summary,
    Transform,
)
from moduformer.batch import Batch
from moduformer.blocks.recurrent import Recurrent as RecurrentBlock
from moduformer.errors import SpecError, TextError
from moduformer.generate.decoding import Decoding
from moduformer.model import Model, build
from moduformer.trace import Trace

VOCAB, PAD = 29, 0
DRAWS = (1, 2, 3)
DTYPES = [pytest.param(torch.float64, 1e-9, id="double"), pytest.param(torch.float32, 1e-5, id="single")]


def tokens(lengths: list[int], seed: int) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(3, VOCAB) for _ in range(length)] for length in lengths]


def padded(rows: list[list[int]], side: str) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    gaps = [[PAD] * (width - len(row)) for row in rows]
    ids = [gap + row if side == "left" else row + gap for row, gap in zip(rows, gaps)]
    mask = [[int(i >= len(gap)) if side == "left" else int(i < len(row)) for i in range(width)]
            for row, gap in zip(rows, gaps)]  # fmt: skip
    return torch.tensor(ids), torch.tensor(mask)


def weights(model: Model) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().double() for name, tensor in model.named_parameters()}


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected).abs().max() / expected.abs().max())


# Language models --------------------------------------------------------------------------------------------------


def language_model(seed: int) -> Spec:
    rng = random.Random(seed)
    dim, layers = rng.randint(4, 9), rng.choice((1, 2, 3))
    cells = Recurrent(
        rng.choice(("lstm", "gru")), layers, rng.randint(5, 11), dim, rng.choice(("forward", "backward")),
        bias=rng.random() < 0.7, input_dropout=0.3, dropout=0.2 if layers > 1 else 0.0, weight_dropout=0.5,
        final_dropout=0.1, variational=True,
    )  # fmt: skip
    return Spec(VOCAB, dim, Embedding(dim, token_dropout=0.1), None, cells, (Head("language-model", tied=True),))


@pytest.mark.parametrize(("dtype", "bound"), DTYPES)
@pytest.mark.parametrize("seed", [*DRAWS, 4, 5, 6])
@torch.no_grad()
def test_a_language_model_is_the_papers(seed: int, dtype: torch.dtype, bound: float) -> None:
    spec = language_model(seed)
    model = randomise(build(spec).to(dtype), seed)
    cells = spec.decoder
    for lengths, side in (([5, 5, 5], "right"), ([3, 7, 1, 4], "right"), ([3, 7, 1, 4], "left")):
        rows = tokens(lengths, seed)
        ids, mask = padded(rows, side)
        out = model(ids, mask)
        for row, found, states, real in zip(rows, out.logits, out.last_hidden_state, mask.bool()):
            widths = [cells.width_of(i) for i in range(cells.layers)]
            hidden, logits = oracle.language_model(weights(model), cells.cell, cells.direction, widths, row)
            assert error(found[real], logits) <= bound
            assert error(states[real], hidden) <= bound
            assert not states[~real].any()


@torch.no_grad()
def test_the_loss_is_of_the_next_token_read() -> None:
    for direction in ("forward", "backward"):
        spec = language_model(1)
        spec = replace(spec, decoder=replace(spec.decoder, direction=direction))
        model = randomise(build(spec).double(), 3)
        row = tokens([6], 3)[0]
        ids = torch.tensor([row])
        logits = model(ids).logits[0]
        pairs = list(zip(range(5), row[1:])) if direction == "forward" else list(zip(range(1, 6), row[:-1]))
        expected = -sum(logits[place].log_softmax(0)[token] for place, token in pairs) / 5
        assert abs(model(ids, labels=ids).loss - expected) <= 1e-6  # the loss is of single precision
        assert spec.reads_backward is (direction == "backward")


@torch.no_grad()
def test_the_classifier_reads_last_maximum_and_mean() -> None:
    for direction in ("forward", "backward"):
        spec = language_model(2)
        head = Head("classify", "concat", transform=Transform(7, "relu"), outputs=3)
        spec = replace(spec, decoder=replace(spec.decoder, direction=direction), heads=(head,))
        model = randomise(build(spec).double(), 2)
        assert spec.num_parameters() == model.num_parameters()
        rows = tokens([4, 1, 6], 2)
        out = model(*padded(rows, "left"))
        named = weights(model)
        for row, logits, hidden in zip(rows, out.logits, out.last_hidden_state):
            pooled = oracle.concat_pool(hidden[6 - len(row) :], -1 if direction == "forward" else 0)
            inner = oracle.affine(named, "heads.classify.transform.dense", pooled).relu()
            assert error(logits, oracle.affine(named, "heads.classify", inner)) <= 1e-9


# Encoder-decoders -------------------------------------------------------------------------------------------------


def attention(kind: str, rng: random.Random) -> Summary | AdditiveAttention | MultiplicativeAttention | None:
    if kind == "summary":
        return Summary(rng.randint(3, 8), bias=rng.random() < 0.5)
    if kind == "additive":
        return AdditiveAttention(rng.randint(3, 8), bias=rng.random() < 0.5)
    return None if kind == "none" else MultiplicativeAttention(kind)


def translator(kind: str, context_at: str, seed: int) -> Spec:
    """Random sizes around one way of reading the source."""
    rng = random.Random(f"{kind} {context_at} {seed}")
    dim, width, layers, cell = rng.randint(4, 7), rng.randint(5, 9), rng.choice((1, 2)), rng.choice(("lstm", "gru"))
    both = rng.random() < 0.5
    context = attention(kind, rng)
    copies = rng.random() < 0.5
    direction = "both" if both else rng.choice(("forward", "backward"))
    encoder = Recurrent(
        cell, layers if copies else rng.choice((1, 2)), width, direction=direction, bias=rng.random() < 0.7
    )
    own = width * (2 if both else 1)
    cells = Recurrent(cell, layers, own if copies or kind == "dot" else rng.randint(5, 9), bias=rng.random() < 0.7)
    names = ["last"] + (["backward"] if both else []) + (["summary"] if kind == "summary" else [])
    bridge = None if copies else Bridge(rng.choice(names), bias=rng.random() < 0.5)
    parts = [p for p in ("state", "previous", "input") if rng.random() < 0.6 or p == "state"]
    parts += ["context"] if context_at == "output" or (context and rng.random() < 0.7) else []
    readout = None
    if context_at == "output" or rng.random() < 0.7:
        readout = Readout(rng.randint(3, 8), rng.choice(("tanh", "maxout")), tuple(parts), bias=rng.random() < 0.5)
    decoder = RecurrentDecoder(cells, bridge, context, context_at, readout, bool(readout) and rng.random() < 0.5)
    return Spec(VOCAB, dim, Embedding(dim), encoder, decoder, (Head("language-model"),), Embedding(dim), VOCAB + 2,
                pad_id=PAD, eos_id=2, decoder_start_id=1)  # fmt: skip


WAYS = [
    ("none", "input"),
    *((kind, at) for kind in ("summary", "additive", "dot", "general") for at in ("input", "output")),
]


def expected(spec: Spec, named: dict[str, torch.Tensor], source: list[int], target: list[int]):
    """Logits and alignments of one row."""
    encoder, decoder = spec.encoder, spec.decoder
    table = named["embedding.tokens.weight"]
    memory, last = oracle.layers(
        named, "encoder", encoder.cell, encoder.direction, [encoder.width] * encoder.layers, [table[t] for t in source]
    )
    kind = {Summary: "summary", AdditiveAttention: "additive", type(None): None}.get(
        type(decoder.context), getattr(decoder.context, "score", None)
    )
    outputs, alphas = oracle.decoder(
        named, decoder.cells.cell, [decoder.cells.width] * decoder.cells.layers, memory, last,
        [named["target_embedding.tokens.weight"][t] for t in target],
        bridge=decoder.bridge.reads if decoder.bridge else None, context=kind, context_at=decoder.context_at,
        readout=(decoder.readout.activation, decoder.readout.reads) if decoder.readout else None,
        input_feeding=decoder.input_feeding,
    )  # fmt: skip
    logits = torch.stack([oracle.affine(named, "heads.language-model", output) for output in outputs])
    return logits, torch.stack(alphas) if alphas else None


@pytest.mark.parametrize(("dtype", "bound"), DTYPES)
@pytest.mark.parametrize("seed", [*DRAWS, 4])
@pytest.mark.parametrize(("kind", "at"), WAYS)
@torch.no_grad()
def test_a_translator_is_the_papers(
    kind: str, at: str, seed: int, dtype: torch.dtype, bound: float, seen: Callable[..., None]
) -> None:
    spec = translator(kind, at, seed)
    model = randomise(build(spec).to(dtype), seed)
    assert spec.num_parameters() == model.num_parameters()
    named = weights(model)
    for sources, targets, side in (
        ([4, 4], [3, 3], "right"),
        ([2, 6, 1, 6], [5, 2, 1, 4], "right"),
        ([2, 6, 1, 6], [5, 2, 1, 4], "left"),
    ):
        source, target = tokens(sources, seed), tokens(targets, seed + 1)
        ids, mask = padded(source, side)
        told, told_mask = padded(target, side)
        trace = Trace("*")
        out = model(ids, mask, decoder_input_ids=told, decoder_attention_mask=told_mask, trace=trace)
        plain = model(ids, mask, decoder_input_ids=told, decoder_attention_mask=told_mask)
        assert torch.equal(out.logits, plain.logits), "reading changed the numbers"
        name = f"decoder.{spec.decoder.cells.layers - 1}.cross_attention.weights"
        assert (name in trace) is (kind in ("additive", "dot", "general"))
        for i, (row, wanted) in enumerate(zip(source, target)):
            logits, alphas = expected(spec, named, row, wanted)
            real = told_mask[i].bool()
            worst = error(out.logits[i][real], logits)
            assert worst <= bound
            seen("recurrent_seq2seq", f"{kind} at {at}", float(worst), str(dtype).removeprefix("torch."))
            if alphas is not None:
                found = trace[name][i, 0][real][:, mask[i].bool()]
                assert error(found, alphas) <= bound
                assert not trace[name][i, 0][:, ~mask[i].bool()].any()
        top = trace[f"decoder.{spec.decoder.cells.layers - 1}.hidden"]
        assert top.shape == (*told.shape, spec.decoder.cells.width)


@pytest.mark.parametrize(("kind", "at"), WAYS)
@torch.no_grad()
def test_every_parameter_takes_part(kind: str, at: str) -> None:
    spec = translator(kind, at, 1)
    model = randomise(build(spec).double(), 1)
    ids, told = torch.tensor(tokens([5, 5], 1)), torch.tensor(tokens([4, 4], 2))
    before = model(ids, decoder_input_ids=told).logits
    for name, parameter in model.named_parameters():
        kept = parameter.clone()
        parameter.zero_()
        assert (model(ids, decoder_input_ids=told).logits - before).abs().max() > 1e-8, name
        parameter.copy_(kept)


# Step by step -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", DRAWS)
@torch.no_grad()
def test_a_language_model_goes_on_where_it_stopped(seed: int) -> None:
    spec = language_model(seed)
    spec = replace(spec, decoder=replace(spec.decoder, direction="forward"))
    model = randomise(build(spec).double(), seed)
    rows = tokens([6, 6, 6], seed)
    whole = model(torch.tensor(rows)).logits
    cache = model.cache(3)
    for start, end in ((0, 3), (3, 4), (4, 6)):
        batch = Batch.following([row[start:end] for row in rows], cache.seen)
        found = model.run(batch, cache=cache).heads["language-model"].view(3, end - start, -1)
        assert error(found, whole[:, start:end]) <= 1e-12
    with pytest.raises(TextError, match="forgets nothing"):
        cache.truncate([6, 5, 6])
    cache.truncate([6, 6, 6])
    uneven = model.cache(3)
    model.run(Batch.following([rows[0][:4], rows[1][:1], rows[2][:3]], uneven.seen), cache=uneven)
    states = model.run(Batch.following([rows[0][4:], rows[1][1:3], rows[2][3:]], uneven.seen), cache=uneven)
    parts = states.heads["language-model"].split(states.batch.rows.lengths)
    for found, row, (start, end) in zip(parts, whole, ((4, 6), (1, 3), (3, 6))):
        assert error(found, row[start:end]) <= 1e-12


@torch.no_grad()
def test_a_backward_model_goes_on_towards_the_beginning() -> None:
    spec = language_model(1)
    spec = replace(spec, decoder=replace(spec.decoder, direction="backward"))
    model = randomise(build(spec).double(), 1)
    rows = tokens([5, 5], 1)
    whole, cache = model(torch.tensor(rows)).logits, model.cache(2)
    for start, end in ((3, 5), (2, 3), (0, 2)):
        batch = Batch.following([row[start:end] for row in rows], cache.seen)
        found = model.run(batch, cache=cache).heads["language-model"].view(2, end - start, -1)
        assert error(found, whole[:, start:end]) <= 1e-12


@pytest.mark.parametrize(("kind", "at"), WAYS)
@torch.no_grad()
def test_a_translator_goes_on_where_it_stopped(kind: str, at: str) -> None:
    spec = translator(kind, at, 2)
    model = randomise(build(spec).double(), 2)
    sources, targets = tokens([3, 6, 2], 2), tokens([5, 5, 5], 3)
    whole = model(*padded(sources, "right"), decoder_input_ids=torch.tensor(targets)).logits
    source, cache, encoded = Batch.from_lists(sources, order=range(3)), model.cache(3), None
    for step in range(2):
        target = Batch.following([row[step : step + 1] for row in targets], cache.seen)
        states = model.run(source, target, cache, encoded=encoded)
        encoded = states.encoder_hidden
        assert error(states.heads["language-model"], whole[:, step]) <= 1e-12
    # Beams change places within one source; then rows end and others stay.
    chosen = [2, 0]
    cache.select(chosen, source.rows)
    encoded, source = encoded[source.rows.places(chosen)], source.select(chosen)
    trace = Trace("*.weights")
    states = model.run(
        source, Batch.following([targets[i][2:] for i in chosen], cache.seen), cache, trace, encoded=encoded
    )
    assert error(states.heads["language-model"].view(2, 3, -1), whole[chosen, 2:]) <= 1e-12
    for weights_ in trace.items():
        assert weights_[1].shape == (2, 1, 3, 6)
        assert not weights_[1][0, ..., 2:].any()
    if not spec.decoder.input_feeding:
        with pytest.raises(TextError, match="leave `encoded` out"):
            model.run(source, Batch.from_lists([[3], [4]], order=range(2)), encoded=encoded)


@pytest.mark.parametrize(("kind", "at"), WAYS)
@torch.no_grad()
def test_rows_may_go_on_by_different_lengths(kind: str, at: str) -> None:
    spec = translator(kind, at, 2)
    model = randomise(build(spec).double(), 2)
    sources, targets = tokens([3, 6, 2], 2), tokens([5, 5, 5], 3)
    whole = model(*padded(sources, "right"), decoder_input_ids=torch.tensor(targets)).logits
    source, cache, encoded = Batch.from_lists(sources, order=range(3)), model.cache(3), None
    for spans in (((0, 1), (0, 3), (0, 2)), ((1, 5), (3, 4), (2, 5))):
        target = Batch.following([row[slice(*span)] for row, span in zip(targets, spans)], cache.seen)
        states = model.run(source, target, cache, encoded=encoded)
        encoded = states.encoder_hidden
        parts = states.heads["language-model"].split(target.rows.lengths)
        for found, row, span in zip(parts, whole, spans):
            assert error(found, row[slice(*span)]) <= 1e-12


@pytest.mark.parametrize(("kind", "at"), WAYS)
@torch.no_grad()
def test_batch_mates_change_nothing(kind: str, at: str) -> None:
    spec = translator(kind, at, 3)
    model = randomise(build(spec), 3)
    sources, targets = tokens([3, 6, 1, 2], 2), tokens([5, 1, 4, 5], 3)
    (ids, mask), (told, told_mask) = padded(sources, "left"), padded(targets, "right")
    together = model(ids, mask, decoder_input_ids=told, decoder_attention_mask=told_mask).logits
    for i, (source, target) in enumerate(zip(sources, targets)):
        alone = model(torch.tensor([source]), decoder_input_ids=torch.tensor([target])).logits[0]
        assert error(together[i, : len(target)], alone.double()) <= 1e-5


def test_an_edit_of_the_alignment_changes_the_translation() -> None:
    for kind, at in (("additive", "input"), ("general", "output")):
        spec = translator(kind, at, 1)
        model = randomise(build(spec).double(), 1)
        name = f"decoder.{spec.decoder.cells.layers - 1}.cross_attention.weights"

        def first(alpha: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(alpha).index_fill(-1, torch.tensor([0]), 1.0)

        ids, told = torch.tensor(tokens([5], 1)), torch.tensor(tokens([4], 2))
        trace = Trace(name, edit={name: first})
        with torch.no_grad():
            plain, edited = model(ids, decoder_input_ids=told), model(ids, decoder_input_ids=told, trace=trace)
        assert not torch.allclose(plain.logits, edited.logits)
        assert trace[name][..., 0].eq(1).all()


def test_a_backward_model_is_not_asked_to_continue_a_text() -> None:
    spec = language_model(1)
    model = build(replace(spec, decoder=replace(spec.decoder, direction="backward")), seed=0)
    with pytest.raises(TextError, match="writes none"):
        model.generate(torch.tensor([[3, 4]]))


@pytest.mark.parametrize(("kind", "at"), WAYS)
def test_beams_change_places(kind: str, at: str) -> None:
    spec = translator(kind, at, 1)
    model = randomise(build(spec).double(), 1)
    sources = tokens([4, 2], 1)
    decoding = Decoding(model, sources)
    decoding.select([0, 0, 1, 1])
    decoding.advance([3, 4, 5, 6])
    decoding.select([1, 0, 3, 3])
    found = decoding.advance([7, 8, 9, 10])
    texts = [[1, 4, 7], [1, 3, 8], [1, 6, 9], [1, 6, 10]]
    rows = [sources[0], sources[0], sources[1], sources[1]]
    with torch.no_grad():
        whole = model(*padded(rows, "right"), decoder_input_ids=torch.tensor(texts)).logits
    assert error(found, whole[:, -1]) <= 1e-12


# Training ---------------------------------------------------------------------------------------------------------


def test_weight_drop_is_one_mask_for_all_tokens() -> None:
    """With a state so long that a fresh mask each step would show: the outputs are those of one dropped matrix."""
    spec = Recurrent("lstm", 1, 6, weight_dropout=0.5)
    block = RecurrentBlock(spec, 4, "encoder")
    batch = Batch.from_lists(tokens([7, 3], 1))
    hidden = torch.randn(10, 4)
    block.train()
    torch.manual_seed(5)
    found = block(hidden, batch.rows)
    torch.manual_seed(5)
    layer = getattr(block, "0")
    dropped = torch.nn.functional.dropout(layer.weight_hh_l0, 0.5)
    assert 0 < (dropped == 0).sum() < dropped.numel()
    named = {f"decoder.{name}": p.detach().double() for name, p in block.named_parameters()}
    named["decoder.0.weight_hh_l0"] = dropped.detach().double()
    for row in (hidden.split(batch.rows.lengths),):
        made = [oracle.layers(named, "decoder", "lstm", "forward", [6], list(part.double()))[0] for part in row]
        assert error(found.detach(), torch.cat([torch.stack(part) for part in made])) <= 1e-5
    found.sum().backward()
    assert not layer.weight_hh_l0.grad[dropped == 0].any()
    assert layer.weight_hh_l0.grad[dropped != 0].any()
    assert not torch.allclose(found, block(hidden, batch.rows))
    block.eval()
    assert torch.equal(block(hidden, batch.rows), block(hidden, batch.rows))


@pytest.mark.parametrize("variational", [True, False])
def test_variational_dropout_is_one_mask_a_row(variational: bool) -> None:
    block = RecurrentBlock(Recurrent("gru", 1, 40, final_dropout=0.5, variational=variational), 4, "encoder").train()
    batch = Batch.from_lists(tokens([7, 6, 3], 1))
    zero = block(torch.randn(16, 4), batch.rows) == 0
    alike = [bool((part == part[0]).all()) for part in zero.split(batch.rows.lengths)]
    assert alike == [variational] * 3
    assert not torch.equal(zero[0], zero[7])


def test_token_dropout_takes_words_out_wherever_they_stand() -> None:
    spec = replace(language_model(1), embedding=Embedding(language_model(1).dim, token_dropout=0.5))
    model = build(spec, seed=0).train()
    batch = Batch.from_lists([[5, 6, 5, 7, 8, 9, 10, 11, 5]] * 2)
    hidden = model.embedding(batch)
    gone = (hidden == 0).all(1)
    assert 0 < gone.sum() < len(gone)
    places = batch.tokens == 5
    assert gone[places].all() or not gone[places].any()


def test_gradients_reach_every_parameter() -> None:
    for kind, at in WAYS:
        spec = translator(kind, at, 1)
        model = randomise(build(spec), 1).train()
        (ids, mask), (labels, _) = padded(tokens([3, 5], 1), "right"), padded(tokens([4, 4], 2), "right")
        model(ids, mask, labels=labels).loss.backward()
        for name, parameter in model.named_parameters():
            gradient = parameter.grad
            assert gradient is not None, (kind, at, name)
            assert gradient.abs().sum() > 0, (kind, at, name)


# Specs and files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "at"), WAYS)
def test_a_spec_is_data_and_files_give_it_back(kind: str, at: str, tmp_path: Path) -> None:
    from moduformer.weights.checkpoint import load_checkpoint

    spec = translator(kind, at, 3)
    assert Spec.from_dict(spec.to_dict()) == spec
    model = randomise(build(spec), 3)
    folder = model.save(tmp_path / "one")
    again = load_checkpoint(folder)
    assert again.spec == spec
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name)), name
    twice = again.save(tmp_path / "two")
    for file in ("config.json", "model.safetensors"):
        assert (twice / file).read_bytes() == (folder / file).read_bytes()
    groups = model.layer_groups()
    assert sorted(id(p) for _, part in groups for p in part) == sorted(id(p) for p in model.parameters())
    assert [name for name, _ in groups][-1] == "head"
    assert groups[1][0] == "encoder.0"


LSTM = Recurrent("lstm", 1, 8)
WRONG = {
    "give the decoder a Bridge": (RecurrentDecoder(Recurrent("lstm", 2, 8)), LSTM),
    "of one width": (RecurrentDecoder(Recurrent("lstm", 1, 9), Bridge(), MultiplicativeAttention("dot")), LSTM),
    "backward half": (RecurrentDecoder(LSTM, Bridge("backward")), LSTM),
    "not a Summary": (RecurrentDecoder(LSTM, Bridge("summary"), AdditiveAttention(4)), LSTM),
    "the decoder has none": (RecurrentDecoder(LSTM, readout=Readout(4)), LSTM),
    "reads the context": (RecurrentDecoder(LSTM, context=AdditiveAttention(4), context_at="output"), LSTM),
    "feeds the readout back": (RecurrentDecoder(LSTM, input_feeding=True), LSTM),
    "none twice": (RecurrentDecoder(LSTM, readout=Readout(4, reads=())), LSTM),
    "write forward": (RecurrentDecoder(replace(LSTM, direction="backward")), LSTM),
    "both directions": (replace(LSTM, direction="both"), None),
    "says how it reads it": (LSTM, LSTM),
    "beside a Recurrent encoder": (RecurrentDecoder(LSTM), None),
    "weight_dropout": (replace(LSTM, weight_dropout=1.0), None),
    "no published recurrent model": (replace(LSTM, layers=20_000), None),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_built_is_named(message: str) -> None:
    decoder, encoder = WRONG[message]
    with pytest.raises(SpecError, match=message):
        Spec(VOCAB, 8, Embedding(8), encoder, decoder)


def test_reading_both_ways_has_no_cache() -> None:
    model = build(Spec(VOCAB, 8, Embedding(8), replace(LSTM, direction="both")), seed=0)
    with pytest.raises(TextError, match="no cache"):
        model.cache(2)
