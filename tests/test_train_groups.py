"""Discriminative rates, gradual unfreezing, and the row-wise optimizer of the token table."""

import copy
import itertools

import pytest
import torch
from tiny_training import bert, sentences

from moduformer.errors import TrainingError
from moduformer.model import build
from moduformer.train.callbacks import Callback
from moduformer.train.groups import GradualUnfreezing, Only, TopGroups, layer_groups, set_trained
from moduformer.train.loop import train
from moduformer.train.objectives import Classification
from moduformer.train.optimizer import Optimizer, RowAdamW
from moduformer.train.settings import Settings


@pytest.fixture
def model():
    return build(bert(), seed=0)


class Watch(Callback):
    """Which parameters changed in each epoch."""

    def __init__(self, model):
        self.model, self.epochs, self.rates = model, {}, {}

    def on_train_begin(self, history):
        self.before = copy.deepcopy(self.model.state_dict())

    def on_step(self, step):
        self.rates[step.step] = step.rates
        if step.epoch == int(step.epoch):
            now = self.model.state_dict()
            self.epochs[int(step.epoch)] = {n for n, p in now.items() if not torch.equal(p, self.before[n])}
            self.before = copy.deepcopy(now)


def test_every_parameter_is_in_one_group_and_each_rate_is_the_one_above_divided_by_2_6(model):
    groups = layer_groups(model, rate_decay=2.6)
    names = [name for group in groups for name in group.parameters]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert [group.name for group in groups] == ["embedding", "encoder.0", "encoder.1", "head"]
    for below, above in itertools.pairwise(groups):
        assert above.rate / below.rate == pytest.approx(2.6)
    assert groups[-1].rate == 1.0


def test_biases_and_norms_do_not_decay(model):
    optimizer = Optimizer(layer_groups(model), 1e-3, weight_decay=0.5)
    for group in optimizer.dense.param_groups:
        for parameter in group["params"]:
            assert (group["weight_decay"] == 0.5) == (parameter.ndim == 2), optimizer.names[parameter]


def test_epoch_k_trains_exactly_the_top_k_groups(model):
    examples, labels = sentences()
    watch = Watch(model)
    settings = Settings(epochs=5, learning_rate=1e-3, rate_decay=2.6, policy=GradualUnfreezing(), weight_decay=0.1)
    train(model, examples, labels, settings, callbacks=[watch])
    order = [("heads.",), ("encoder.1.",), ("encoder.0.",), ("embedding.",)]
    for epoch in range(1, 6):
        allowed = tuple(prefix for prefixes in order[:epoch] for prefix in prefixes)
        changed = watch.epochs[epoch]
        assert changed == {n for n in changed if n.startswith(allowed)}
        for prefix in allowed:
            assert any(name.startswith(prefix) for name in changed), (epoch, prefix)
    assert list(watch.rates[1]) == ["head"]
    last = watch.rates[max(watch.rates)]
    assert last["encoder.1"] / last["encoder.0"] == pytest.approx(2.6)


def test_frozen_layers_have_no_backward_pass(model):
    examples, labels = sentences(8)
    groups = layer_groups(model)
    computed = []

    def watch(out, name):
        if out.requires_grad:
            out.register_hook(lambda gradient: computed.append(name))

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda _, __, out, name=name: watch(out, name))
    objective = Classification()
    prepared = objective.prepare(examples, labels, torch.arange(8).numpy(), 0, model.device)
    model.train()
    for top in (1, 2, 4):
        computed.clear()
        set_trained(groups, [group.name for group in groups[-top:]])
        objective.loss(model, prepared).backward()
        ran = {name.split(".")[0] + "." + name.split(".")[1] for name in computed}
        expected = {1: set(), 2: {"encoder.1"}, 4: {"encoder.1", "encoder.0"}}[top]
        assert {name for name in ran if name.startswith("encoder")} == expected
        trained = {id(p) for group in groups[-top:] for p in group.parameters.values()}
        assert all((p.grad is not None) == (id(p) in trained) for p in model.parameters())


def test_freezing_again_takes_effect_and_forgets_gradients(model):
    groups = layer_groups(model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    set_trained(groups, ["head"])
    assert all(p.grad is None for p in model.encoder.parameters())
    assert not any(p.requires_grad for p in model.embedding.parameters())
    set_trained(groups, [group.name for group in groups], frozen=[model.embedding.tokens.weight])
    assert not model.embedding.tokens.weight.requires_grad
    assert model.embedding.positions.weight.requires_grad


def test_policies_name_groups():
    names = ["embedding", "encoder.0", "head"]
    assert TopGroups(2).trained(names, 5) == ["encoder.0", "head"]
    assert Only(("head",)).trained(names, 0) == ["head"]
    with pytest.raises(TrainingError, match="encoder\\.7"):
        Only(("encoder.7",)).trained(names, 0)


def test_training_leaves_requires_grad_as_it_was(model):
    examples, labels = sentences(16)
    model.embedding.positions.weight.requires_grad_(False)
    train(model, examples, labels, Settings(epochs=1, policy=TopGroups(1)))
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["embedding.positions.weight"]
    assert not model.training
    assert not model.embedding.tokens.sparse


def sparse(rows, values, count):
    return torch.sparse_coo_tensor(rows[None], values, (count, 3), check_invariants=True).coalesce()


def test_rows_that_occur_in_every_step_train_as_under_adamw():
    torch.manual_seed(0)
    start = torch.randn(7, 5)
    ours, reference = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    rows = RowAdamW(ours, (0.9, 0.999), 1e-8, 0.1)
    adamw = torch.optim.AdamW([reference], lr=0.01, weight_decay=0.1)
    for _ in range(20):
        gradient = torch.randn(7, 5)
        ours.grad = gradient.to_sparse(1).coalesce()
        reference.grad = gradient
        rows.step(0.01)
        adamw.step()
    assert torch.allclose(ours, reference, atol=1e-6)


def test_rows_that_do_not_occur_stay_and_a_rare_rows_first_step_is_a_first_step():
    table = torch.nn.Parameter(torch.zeros(10, 3))
    rows = RowAdamW(table, (0.9, 0.999), 1e-8, 0.1)
    for step in range(30):
        chosen = [0, 1] if step < 29 else [0, 7]
        table.grad = sparse(torch.tensor(chosen), torch.ones(2, 3), 10)
        rows.step(0.01)
    assert (table[[2, 3, 4, 5, 6, 8, 9]] == 0).all()
    assert torch.allclose(table[7], torch.full((3,), -0.01))
    assert len(rows.rows) == 3
    assert rows.moments.shape[1] < 8


def test_the_state_of_rows_goes_out_and_in():
    def run(table, rows, steps, seed):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(steps):
            chosen = torch.randperm(50, generator=generator)[:6]
            table.grad = sparse(chosen, torch.randn(6, 3, generator=generator), 50)
            rows.step(0.01)

    table = torch.nn.Parameter(torch.zeros(50, 3))
    rows = RowAdamW(table, (0.9, 0.999), 1e-8, 0.1)
    run(table, rows, 5, 1)
    again = torch.nn.Parameter(table.detach().clone())
    restored = RowAdamW(again, (0.9, 0.999), 1e-8, 0.1)
    restored.load(rows.state())
    run(table, rows, 5, 2)
    run(again, restored, 5, 2)
    assert torch.equal(table, again)


@pytest.mark.parametrize("embedding", ["rows", "dense", "frozen"])
def test_the_token_table_trains_as_asked(model, embedding):
    examples, labels = sentences()
    before = model.embedding.tokens.weight.detach().clone()
    train(model, examples, labels, Settings(epochs=1, learning_rate=1e-3, embedding=embedding, weight_decay=0.5))
    changed = (model.embedding.tokens.weight != before).any(1)
    occurring = torch.zeros(len(before), dtype=torch.bool)
    occurring[torch.from_numpy(examples.ids.flat).long()] = True
    expected = {"rows": occurring, "dense": torch.ones_like(occurring), "frozen": torch.zeros_like(occurring)}
    assert torch.equal(changed, expected[embedding])
