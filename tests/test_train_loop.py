"""The loop: exact accumulation, objectives against PyTorch's losses, callbacks, early ends, seeds."""

import csv
import json
import math
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_training import VOCAB, bert, sentences

from moduformer.architecture import Head, Spec
from moduformer.batch import Batch
from moduformer.blocks.head import next_token_loss
from moduformer.errors import TrainingError
from moduformer.model import build
from moduformer.train import checkpoint
from moduformer.train.adaptation import Adaptation, adapt
from moduformer.train.callbacks import Callback, History
from moduformer.train.encoded import Encoded, Ragged
from moduformer.train.evaluation import mean_features, mean_loss, predict, predict_tokens
from moduformer.train.features import fit_features
from moduformer.train.loop import train
from moduformer.train.objectives import (
    Classification,
    Contrast,
    MaskedLanguage,
    MultiLabel,
    NextToken,
    Regression,
    SequenceToSequence,
    Span,
    Tagging,
)
from moduformer.train.optimizer import Optimizer
from moduformer.train.recipes import RECIPES, recipe
from moduformer.train.schedule import Constant, Cosine, LinearWarmup
from moduformer.train.settings import Settings

CPU = torch.device("cpu")


def gradients(model, settings, examples, labels, objective=None):
    """The gradient of every parameter at the first optimizer step."""
    found = {}

    class Stop(Exception):
        pass

    def step(self, norm, max_norm):
        found.update({n: p.grad.to_dense().clone() for n, p in model.named_parameters() if p.grad is not None})
        raise Stop

    before = Optimizer.step
    Optimizer.step = step
    try:
        with pytest.raises(Stop):
            train(model, examples, labels, settings, objective=objective)
    finally:
        Optimizer.step = before
    return found


# Accumulation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["classes", "weighted", "tokens", "masked"])
def test_eight_rows_at_once_equal_two_rows_four_times(task):
    examples, labels = sentences(8)
    objective, heads = Classification(), None
    if task == "weighted":
        objective = Classification(class_weights=(0.2, 1.0, 3.0))
        examples = replace(examples, weights=np.linspace(0.1, 2, 8))
    elif task == "tokens":
        objective, heads = Tagging(), (Head("tag", outputs=4),)
        labels = Ragged.of([[-100, *([i % 4] * (n - 1))] for i, n in enumerate(examples.lengths)])
    elif task == "masked":
        objective = MaskedLanguage(mask_id=2, vocab=VOCAB, special_ids=(1,))
        heads = (Head("masked-lm", tied=True),)
    model = build(bert(dropout=0.0, heads=heads), seed=0)
    whole = gradients(model, Settings(batch_size=8), examples, labels, objective)
    parts = gradients(model, Settings(batch_size=2, accumulate=4), examples, labels, objective)
    assert whole.keys() == parts.keys()
    assert max((whole[name] - parts[name]).abs().max() for name in whole) < 1e-6
    assert max(gradient.abs().max() for gradient in whole.values()) > 1e-3


# Objectives --------------------------------------------------------------------------------------------------------


def mean(model, examples, labels, objective):
    prepared = objective.prepare(examples, labels, np.arange(len(examples)), 0, CPU)
    with torch.no_grad():
        return float(objective.loss(model, prepared)) / prepared.weight


def test_classification_is_pytorchs_weighted_smoothed_mean():
    examples, labels = sentences(10)
    model = build(bert(), seed=0)
    logits = predict(model, examples)
    wanted, weights = torch.from_numpy(labels), (0.5, 1.0, 4.0)
    expected = F.cross_entropy(logits, wanted, torch.tensor(weights), label_smoothing=0.1)
    assert mean(model, examples, labels, Classification(weights, 0.1)) == pytest.approx(float(expected), abs=1e-6)
    cut = mean_loss(model, examples, labels, Classification(weights, 0.1), tokens=20)
    assert cut == pytest.approx(float(expected))


def test_several_labels_and_numbers():
    examples, _ = sentences(10)
    generator = np.random.default_rng(0)
    model = build(bert(), seed=0)
    several = (generator.random((10, 3)) < 0.5).astype(np.float32)
    logits = predict(model, examples)
    expected = F.binary_cross_entropy_with_logits(
        logits, torch.from_numpy(several), pos_weight=torch.tensor([1.0, 2, 3])
    )
    assert mean(model, examples, several, MultiLabel((1.0, 2.0, 3.0))) == pytest.approx(float(expected), abs=1e-6)
    model = build(bert(classes=1), seed=0)
    numbers = generator.random(10)
    expected = F.mse_loss(predict(model, examples).squeeze(1), torch.from_numpy(numbers).float())
    assert mean(model, examples, numbers, Regression()) == pytest.approx(float(expected), abs=1e-6)


def test_a_row_weight_counts_as_so_many_rows():
    examples, labels = sentences(3)
    model = build(bert(), seed=0)
    twice = examples.select([0, 1, 2, 2])
    expected = mean(model, twice, labels[[0, 1, 2, 2]], Classification())
    weighted = replace(examples, weights=np.array([1.0, 1.0, 2.0]))
    assert mean(model, weighted, labels, Classification()) == pytest.approx(expected, abs=1e-6)


def test_spans_equal_the_models_own_loss():
    examples, _ = sentences(6)
    model = build(bert(heads=(Head("span", outputs=2),)), seed=1)
    edges = np.array([[1, int(n) - 1] for n in examples.lengths])
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(examples.ids.row(i)) for i in range(6)], batch_first=True)
    real = torch.nn.utils.rnn.pad_sequence([torch.ones(int(n)) for n in examples.lengths], batch_first=True)
    starts, ends = torch.from_numpy(edges).unbind(1)
    with torch.no_grad():
        out = model(ids, attention_mask=real, start_positions=starts, end_positions=ends)
    assert mean(model, examples, edges, Span()) == pytest.approx(float(out.loss), abs=1e-6)


def test_next_tokens_equal_the_models_own_loss():
    spec = replace(bert(), encoder=None, decoder=replace(bert().encoder, causal=True), heads=(LANGUAGE,))
    examples, _ = sentences(6)
    model = build(spec, seed=1)
    batch = Batch.from_lists([examples.ids.row(i) for i in range(6)])
    with torch.no_grad():
        logits = model.run(batch).heads["language-model"]
        expected = next_token_loss(logits, batch.tokens, batch.rows)
    assert mean(model, examples, None, NextToken()) == pytest.approx(float(expected), abs=1e-6)
    prompt_hidden = Ragged.of([[-100, -100, *examples.ids.row(i)[2:]] for i in range(6)])
    assert mean(model, examples, prompt_hidden, NextToken()) != pytest.approx(float(expected), abs=1e-4)


LANGUAGE = Head("language-model", tied=True, bias=False)


def sequence_to_sequence() -> Spec:
    base = bert(dropout=0.0)
    block = base.encoder.pattern[0]
    decoder = replace(base.encoder, causal=True, pattern=(replace(block, cross_attention=block.attention),))
    return replace(base, decoder=decoder, heads=(LANGUAGE,), decoder_start_id=0)


def test_sequence_to_sequence_equals_the_models_own_loss_and_learns():
    examples, _ = sentences(32)
    rows = [examples.ids.row(i) for i in range(32)]
    copied = Encoded.of(rows, targets=[row[:3] for row in rows])
    model = build(sequence_to_sequence(), seed=1)
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(copied.ids.row(i)) for i in range(32)], batch_first=True)
    real = torch.nn.utils.rnn.pad_sequence([torch.ones(int(n)) for n in copied.ids.lengths], batch_first=True)
    labels = torch.tensor([copied.targets.row(i) for i in range(32)])
    with torch.no_grad():
        expected = model(ids, attention_mask=real, labels=labels).loss
    objective = SequenceToSequence()
    before = mean(model, copied, None, objective)
    assert before == pytest.approx(float(expected), abs=1e-5)
    settings = Settings(epochs=30, learning_rate=3e-3)
    train(model, copied, None, settings, objective=replace(objective, label_smoothing=0.1))
    assert mean(model, copied, None, objective) < before * 0.75


def test_masking_hides_fifteen_percent_in_the_papers_proportions():
    objective = MaskedLanguage(mask_id=2, vocab=10**6, special_ids=(1,), seed=3)
    ids = [1, *range(1000, 1000 + 20_000), 1]
    corrupted, labels = objective.corrupt(ids, row=5, epoch=0)
    chosen = labels != -100
    assert not chosen[0]
    assert not chosen[-1]
    assert chosen.mean() == pytest.approx(0.15, abs=0.01)
    original = np.array(ids)
    assert (labels[chosen] == original[chosen]).all()
    assert (corrupted[~chosen] == original[~chosen]).all()
    assert (corrupted[chosen] == 2).mean() == pytest.approx(0.8, abs=0.03)
    assert (corrupted[chosen] == original[chosen]).mean() == pytest.approx(0.1, abs=0.02)
    again, _ = objective.corrupt(ids, row=5, epoch=0)
    assert (again == corrupted).all()
    assert (objective.corrupt(ids, row=5, epoch=1)[0] != corrupted).any()


def test_masked_language_loss_is_that_of_all_tokens_logits():
    model = build(bert(dropout=0.0, heads=(Head("masked-lm", tied=True),)), seed=0)
    examples, _ = sentences(6)
    objective = MaskedLanguage(mask_id=2, vocab=VOCAB, special_ids=(1,))
    prepared = objective.prepare(examples, None, np.arange(6), 0, CPU)
    with torch.no_grad():
        logits = model.run(prepared.batch).heads["masked-lm"]
        expected = F.cross_entropy(logits, prepared.wanted, ignore_index=-100)
        assert float(objective.loss(model, prepared)) / prepared.weight == pytest.approx(float(expected), abs=1e-5)


# Predictions -------------------------------------------------------------------------------------------------------


def test_predictions_come_back_in_order_and_do_not_depend_on_the_batch():
    examples, _ = sentences(40)
    model = build(bert(), seed=0)
    together, alone = predict(model, examples, tokens=10_000), predict(model, examples, tokens=1)
    assert torch.allclose(together, alone, atol=1e-6)
    one = model(torch.tensor([examples.ids.row(17)])).logits
    assert torch.allclose(together[17:18], one, atol=1e-6)
    tagger = build(bert(heads=(Head("tag", outputs=4),)), seed=0)
    rows = predict_tokens(tagger, examples, tokens=50)
    assert [len(row) for row in rows] == examples.lengths.tolist()
    assert torch.allclose(rows[3], tagger(torch.tensor([examples.ids.row(3)])).logits[0], atol=1e-6)
    pooled = mean_features(model, examples, tokens=64)
    hidden = model(torch.tensor([examples.ids.row(5)])).last_hidden_state
    assert np.allclose(pooled[5], hidden.mean(1)[0].detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_frozen_features_give_a_head_that_equals_its_logits(classes):
    examples, labels = sentences(120, classes)
    model = build(bert(classes), seed=0)
    head = fit_features(model, examples, labels, classes + 1)
    found = head.logits(mean_features(model, examples))
    assert found.shape == (120, classes + 1)
    assert (found.argmax(1) == labels).mean() > 0.9
    assert head.accuracy > 0.9
    with pytest.raises(TrainingError, match="two classes"):
        fit_features(model, examples, np.zeros(120, int), 2)


@pytest.mark.parametrize("several", [False, True])
def test_contrast_is_the_loss_of_the_paper(several):
    """Khosla et al. 2020, eq. 2, number by number; texts with nobody to be drawn to take no part."""
    examples, _ = sentences(6)
    labels = np.array([0, 1, 0, 2, 1, 0])
    if several:
        labels = np.eye(3, dtype=int)[labels]
        labels[3, 2], labels[4, 0] = 0, 1
    model = build(bert(), seed=0)
    objective = Contrast(temperature=0.3)
    prepared = objective.prepare(examples, labels, np.arange(6), 0, CPU)
    features = mean_features(model, examples).astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    chances = np.exp(features @ features.T / 0.3)
    np.fill_diagonal(chances, 0)
    summed, counted = 0.0, 0
    for i in range(6):
        shared = [
            j
            for j in range(6)
            if j != i and (bool((labels[i] * labels[j]).any()) if several else labels[i] == labels[j])
        ]
        if shared:
            counted += 1
            summed -= sum(np.log(chances[i, j] / chances[i].sum()) for j in shared) / len(shared)
    assert counted == 5
    assert prepared.weight == counted
    assert float(objective.loss(model, prepared).detach()) == pytest.approx(summed, rel=1e-5)
    alone = objective.prepare(examples, labels, np.array([0, 3]), 0, CPU)
    assert float(objective.loss(model, alone).detach()) == 0.0


# The run -----------------------------------------------------------------------------------------------------------


def read_rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def accuracy(examples, labels):
    return lambda model: {"accuracy": (predict(model, examples).argmax(1).numpy() == labels).mean()}


def test_training_learns_and_tells_what_happens(tmp_path):
    examples, labels = sentences(96)
    model = build(bert(), seed=0)

    class Record(Callback):
        def __init__(self):
            self.calls, self.steps = [], []

        def on_train_begin(self, history):
            self.calls.append(("begin", history.total_steps))

        def on_step(self, step):
            self.steps.append(step)

        def on_log(self, step):
            self.calls.append(("log", step.step))

        def on_evaluate(self, evaluation):
            self.calls.append(("evaluate", evaluation.step))

        def on_save(self, path, step):
            assert (path / "manifest.json").is_file()
            self.calls.append(("save", step))

        def on_train_end(self, history):
            self.calls.append(("end", history.ended))

    record = Record()
    settings = Settings(epochs=15, batch_size=16, learning_rate=3e-3, metric="accuracy", log_every=30)
    evaluate = accuracy(*sentences(60, seed=1))
    history = train(model, examples, labels, settings, evaluate=evaluate, callbacks=[record], folder=tmp_path)
    assert history.best_value > 0.9
    assert evaluate(model)["accuracy"] == history.best_value
    assert record.calls[0] == ("begin", 90)
    assert record.calls[-1] == ("end", "finished")
    assert [call for call in record.calls if call[0] == "log"] == [("log", 30), ("log", 60), ("log", 90)]
    assert len([call for call in record.calls if call[0] == "evaluate"]) == 15
    last = record.steps[-1]
    assert (last.step, last.total_steps, last.epoch, last.seconds_left) == (90, 90, 15.0, 0)
    assert last.rows_per_second > 0 < last.tokens_per_second
    assert last.loss < record.steps[0].loss / 2
    assert history.rows == 15 * 96
    assert history.tokens == 15 * examples.lengths.sum()
    rows = read_rows(tmp_path / "log.csv")
    assert [row["step"] for row in rows] == ["30", "60", "90"]
    evaluations = read_rows(tmp_path / "evaluations.csv")
    assert float(evaluations[-1]["accuracy"]) == pytest.approx(history.evaluations[-1].metrics["accuracy"], rel=1e-5)
    copied = History.from_dict(json.loads(json.dumps(history.to_dict(), allow_nan=False)))
    assert copied == history


def test_the_best_step_is_kept_and_patience_ends_the_run():
    examples, labels = sentences(32)
    model = build(bert(), seed=0)
    values, weights = iter([0.5, 0.9, 0.4, 0.3, 0.2, 0.1]), []

    def evaluate(model):
        weights.append({n: p.clone() for n, p in model.named_parameters()})
        return {"score": next(values)}

    settings = Settings(epochs=6, metric="score", patience=1, learning_rate=1e-3)
    history = train(model, examples, labels, settings, evaluate=evaluate)
    assert history.ended == "patience"
    assert len(history.evaluations) == 4
    assert history.best_step == 2
    assert all(torch.equal(p, weights[1][n]) for n, p in model.named_parameters())


def test_a_metric_that_is_to_fall():
    examples, labels = sentences(32)
    values = iter([0.5, math.nan, 0.4])
    settings = Settings(epochs=3, metric="loss", greater_is_better=False)
    history = train(build(bert(), seed=0), examples, labels, settings, evaluate=lambda _: {"loss": next(values)})
    assert (history.best_value, history.best_step) == (0.4, 3)
    assert history.to_dict()["evaluations"][1]["metrics"]["loss"] is None


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_halts_and_is_logged_as_nan(tmp_path, where):
    examples, labels = sentences(32)
    model = build(bert(), seed=0)
    kept = {}

    class Poison(Classification):
        def loss(self, model, prepared):
            loss = super().loss(model, prepared)
            seen.append(1)
            if len(seen) < 4:
                return loss
            kept.update({n: p.detach().clone() for n, p in model.named_parameters()})
            if where == "loss":
                return loss * math.inf
            loss.register_hook(lambda gradient: gradient * math.nan)
            return loss

    seen = []
    with pytest.raises(TrainingError, match="not finite at step 4"):
        train(model, examples, labels, Settings(epochs=4, batch_size=16), objective=Poison(), folder=tmp_path)
    assert all(torch.equal(p, kept[n]) for n, p in model.named_parameters())
    assert all(torch.isfinite(p).all() for p in model.parameters())
    rows = read_rows(tmp_path / "log.csv")
    assert (rows[-1]["step"], rows[-1]["loss"]) == ("4", "nan")
    for path in tmp_path.rglob("*.json"):
        json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))


def test_sigterm_leaves_a_checkpoint_and_the_run_goes_on_from_it(tmp_path):
    examples, labels = sentences(64)

    class Terminate(Callback):
        def on_step(self, step):
            if step.step == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    settings = Settings(epochs=3, batch_size=16, learning_rate=1e-3)
    straight, broken = build(bert(), seed=0), build(bert(), seed=0)
    train(straight, examples, labels, settings)
    before = signal.getsignal(signal.SIGTERM)
    history = train(broken, examples, labels, settings, folder=tmp_path, callbacks=[Terminate()])
    assert history.ended == "terminated"
    assert signal.getsignal(signal.SIGTERM) is before
    assert json.loads((checkpoint.latest(tmp_path / "checkpoints") / "state.json").read_text())["step"] == 3
    resumed = build(bert(), seed=0)
    history = train(resumed, examples, labels, settings, folder=tmp_path, resume=True)
    assert (history.resumed_from, history.ended, history.rows) == (3, "finished", 3 * 64)
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters()))


SEEDED = """
import hashlib, sys
sys.path.insert(0, {tests!r})
from tiny_training import bert, sentences
from moduformer.model import build
from moduformer.train.loop import train
from moduformer.train.seeds import draw_head
from moduformer.train.settings import Settings
model = build(bert(), seed=0)
draw_head(model, "classify", 5)
train(model, *sentences(32), Settings(epochs=2, seed=5, learning_rate=1e-3))
print(hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest())
"""


def test_one_seed_decides_everything_in_any_process():
    script = SEEDED.format(tests=os.path.dirname(__file__))

    def run(hash_seed):
        env = os.environ | {"PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
        ).stdout

    assert run("1") == run("2")


def test_another_seed_gives_other_weights_and_the_callers_generators_go_on():
    examples, labels = sentences(32)

    def run(seed):
        model = build(bert(), seed=0)
        train(model, examples, labels, Settings(epochs=1, seed=seed, learning_rate=1e-3))
        return model.encoder.state_dict()["0.attention.qkv.weight"]

    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    expected = random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    first = run(0)
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected  # noqa: NPY002
    assert torch.equal(first, run(0))
    assert not torch.equal(first, run(1))


def test_attention_dropout_is_the_settings_while_training_and_the_specs_after():
    model = build(bert(dropout=0.3), seed=0)
    examples, labels = sentences(16)
    seen = []
    model.encoder.register_forward_pre_hook(lambda stack, _: seen.append(stack.layer(0).attention.settings.dropout))
    train(model, examples, labels, Settings(epochs=1))
    assert seen == [0.0]
    assert model.encoder.layer(0).attention.settings.dropout == 0.3
    assert model.spec.encoder.pattern[0].attention.dropout == 0.3


@pytest.mark.parametrize(("rate", "expected"), [(None, 0.3), (0.0, 0.0), (0.5, 0.5)])
def test_dropout_of_hidden_states_is_the_specs_unless_the_settings_say(rate, expected):
    model = build(bert(dropout=0.3), seed=0)
    examples, labels = sentences(16)
    block, seen = model.encoder.layer(0), []
    model.encoder.register_forward_pre_hook(
        lambda stack, _: seen.append((block.settings.dropout, block.attention.settings.dropout))
    )
    train(model, examples, labels, Settings(epochs=1, dropout=rate))
    assert seen == [(expected, 0.0)]
    assert block.settings.dropout == model.spec.encoder.pattern[0].dropout == 0.3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": True}, "batch_size"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"embedding": "none"}, "embedding"),
        ({"patience": 2}, "patience needs a metric"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"evaluate_every": "year"}, "evaluate_every"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(TrainingError, match=message):
        Settings(**settings)


def test_targets_without_any_weight_are_refused():
    examples, _ = sentences(4)
    model = build(bert(heads=(Head("tag", outputs=2),)), seed=0)
    nothing = Ragged.of([[-100] * int(n) for n in examples.lengths])
    with pytest.raises(TrainingError, match="no target"):
        train(model, examples, nothing, Settings(epochs=1), objective=Tagging())


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_adaptation_trains_the_body_and_not_the_heads(kind):
    spec = bert(dropout=0.0)
    if kind == "decoder":
        spec = replace(spec, encoder=None, decoder=replace(spec.encoder, causal=True))
    model = build(spec, seed=0)
    examples, _ = sentences(64)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    adaptation = Adaptation(epochs=10, learning_rate=3e-3)
    history = adapt(model, examples, adaptation, mask_id=2, special_ids=(1,))
    assert history.steps[-1].loss < history.steps[0].loss
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name in before if not name.startswith("heads.")}
    assert list(model.heads) == ["pool", "classify"]
    if kind == "encoder":
        with pytest.raises(TrainingError, match="mask token"):
            adapt(model, examples)


# Recipes -----------------------------------------------------------------------------------------------------------


def test_recipes_take_settings_and_the_names_of_training_arguments():
    plain = recipe("plain", epochs=5, seed=None)
    assert plain.settings == replace(RECIPES["plain"].settings, epochs=5)
    same = recipe(
        "plain",
        num_train_epochs=5.0,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=2,
        lr_scheduler_type="cosine",
        warmup_ratio=0.1,
        evaluation_strategy="no",
        group_by_length=True,
        adam_beta2=0.98,
        bf16=False,
    ).settings
    assert (same.epochs, same.batch_size, same.accumulate) == (5, 16, 2)
    assert (same.schedule, same.evaluate_every, same.betas) == (Cosine(0.1), None, (0.9, 0.98))
    assert recipe("plain", eval_strategy="steps", eval_steps=7).settings.evaluate_every == 7
    assert recipe("plain", warmup_ratio=0.2).settings.schedule == LinearWarmup(0.2)
    assert recipe("plain", lr_scheduler_type="constant").settings.schedule == Constant()
    assert recipe("lora", lora_rank=4, lora_targets=["q"]).lora.targets == ("q",)
    assert recipe("ulmfit", adapt=2).adaptation.epochs == 2


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("plane", {}, "no recipe called 'plane'; there are plain"),
        ("plain", {"learning_rat": 1}, "did you mean 'learning_rate'"),
        ("plain", {"lora_rank": 4}, "no adapters"),
        ("plain", {"epochs": 2, "num_train_epochs": 3}, "both set epochs"),
        ("plain", {"lr_scheduler_type": "polynomial"}, "polynomial"),
        ("plain", {"fp16": True}, "bf16"),
        ("ulmfit", {"warmup_ratio": 0.1}, "no meaning"),
    ],
)
def test_recipes_refuse_what_they_do_not_know(name, overrides, message):
    with pytest.raises(TrainingError, match=message):
        recipe(name, **overrides)
