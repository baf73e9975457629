"""Gradient checkpointing: the same numbers to the bit, less that is held, and a model as it was."""

from dataclasses import replace

import pytest
import torch
from core_models import SPECS, randomise
from tiny_training import bert, sentences

from moduformer.architecture import ALiBi, Head, MixtureOfExperts
from moduformer.batch import Batch
from moduformer.errors import TrainingError
from moduformer.lora import Lora
from moduformer.model import Model, build
from moduformer.train.callbacks import Callback, Step
from moduformer.train.encoded import Encoded, Ragged
from moduformer.train.loop import train
from moduformer.train.objectives import Classification, NextToken, Objective, SequenceToSequence, Tagging
from moduformer.train.recipes import recipe
from moduformer.train.recomputation import recomputed
from moduformer.train.settings import Settings

TAGGED = bert(layers=4, heads=(Head("tag", outputs=4),))
LLAMA = SPECS["llama"]
LAYER = LLAMA.decoder.pattern[0]
SLOPED = replace(LAYER, attention=replace(LAYER.attention, position=ALiBi()))
MIXED = replace(LAYER, feed_forward=MixtureOfExperts(LAYER.feed_forward, 4, 2))
DEEP = {
    "classes": bert(layers=4),
    "tags": TAGGED,
    "two kinds of layers": replace(LLAMA, decoder=replace(LLAMA.decoder, layers=4, pattern=(LAYER, SLOPED))),
    "experts": replace(LLAMA, decoder=replace(LLAMA.decoder, layers=3, pattern=(MIXED,))),
    "relative bias, and across": replace(
        SPECS["t5"], encoder=replace(SPECS["t5"].encoder, layers=3), decoder=replace(SPECS["t5"].decoder, layers=3)
    ),
    "shared weights": replace(bert(layers=4), encoder=replace(bert(layers=4).encoder, groups=1)),
}


def work(name: str) -> tuple[Encoded, object, Objective]:
    """What to train on."""
    examples, labels = sentences(12)
    if name == "tags":
        return examples, Ragged.of([[-100, *([i % 4] * (n - 1))] for i, n in enumerate(examples.lengths)]), Tagging()
    if DEEP[name].encoder is not None and DEEP[name].decoder is not None:
        rows = [[5 + (token % 30) for token in examples.ids.row(i)] for i in range(12)]
        return replace(Encoded.of(rows), targets=Ragged.of([row[1:] for row in rows])), None, SequenceToSequence()
    if DEEP[name].decoder is not None:
        return Encoded.of([[token % 40 for token in examples.ids.row(i)] for i in range(12)]), None, NextToken()
    return examples, labels, Classification()


def trained(name: str, recompute: bool, precision: str = "float32", lora: bool = False) -> dict[str, torch.Tensor]:
    model = randomise(build(DEEP[name]), 1)
    adapters = Lora(model) if lora else None
    examples, labels, objective = work(name)
    settings = Settings(epochs=2, batch_size=6, learning_rate=1e-3, dropout=0.1, recompute=recompute)
    settings = replace(settings, precision=precision, embedding="dense")
    train(model, examples, labels, settings, objective=objective, adapters=adapters)
    assert not any("forward" in vars(part) for part in model.modules())
    found = dict(model.state_dict())
    return found if adapters is None else found | dict(adapters.state_dict())


@pytest.mark.parametrize("name", DEEP)
def test_weights_are_the_same_to_the_bit(name: str) -> None:
    kept, again = trained(name, False), trained(name, True)
    assert all(torch.equal(kept[part], again[part]) for part in kept)


@pytest.mark.parametrize(("precision", "lora"), [("bfloat16", False), ("float32", True)])
def test_in_half_precision_and_with_adapters(precision: str, lora: bool) -> None:
    kept, again = trained("classes", False, precision, lora), trained("classes", True, precision, lora)
    assert all(torch.equal(kept[part], again[part]) for part in kept)


def held(model: Model, wanted: bool) -> int:
    """Bytes that a forward pass keeps for its gradients."""
    batch, seen = Batch.from_lists([[4 + i % 30 for i in range(40)]] * 4), {}

    def keep(value: torch.Tensor) -> torch.Tensor:
        seen[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    model.train()
    with recomputed(model, wanted), torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        model.run(batch).heads["tag"].sum()
    return sum(size for place, size in seen.items() if place not in own)


def test_less_is_held() -> None:
    model = build(bert(layers=8, heads=(Head("tag", outputs=4),)))
    assert held(model, True) < 0.4 * held(model, False)


def test_an_error_inside_leaves_the_model_as_it_was() -> None:
    model = build(TAGGED)

    def broken() -> None:
        with recomputed(model, True):
            assert "forward" in vars(model.encoder.layer(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert not any("forward" in vars(part) for part in model.modules())


def test_it_can_be_asked_for_as_elsewhere() -> None:
    assert recipe("plain", gradient_checkpointing=True).settings.recompute
    with pytest.raises(TrainingError, match="recompute must be True or False"):
        Settings(recompute=1)  # type: ignore[arg-type]


def test_a_run_is_resumed_with_or_without_it(tmp_path) -> None:
    examples, labels = sentences(12)
    settings = Settings(epochs=2, batch_size=6, embedding="dense", save_every=1)
    whole, part, again = (randomise(build(DEEP["classes"]), 1) for _ in range(3))
    train(whole, examples, labels, settings)

    class Stop(Callback):
        def on_step(self, step: Step) -> None:
            if step.step == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(part, examples, labels, settings, folder=tmp_path, callbacks=[Stop()])
    train(again, examples, labels, replace(settings, recompute=True), folder=tmp_path, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters()))
