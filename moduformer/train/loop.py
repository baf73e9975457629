"""The training loop: encoded examples in, a trained model and its history out."""

from __future__ import annotations

import hashlib
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from moduformer.errors import TrainingError
from moduformer.model import Model
from moduformer.train import checkpoint
from moduformer.train.batching import Plan
from moduformer.train.callbacks import Callback, Evaluation, History, Step
from moduformer.train.dropout import dropout_rates
from moduformer.train.encoded import Encoded
from moduformer.train.groups import layer_groups, set_trained
from moduformer.train.log_file import LogFiles
from moduformer.train.objectives import Classification, Objective
from moduformer.train.optimizer import Optimizer, row_table
from moduformer.train.recomputation import recomputed
from moduformer.train.seeds import kept_random, seed_all
from moduformer.train.settings import Settings, plain

CHECKPOINTS = "checkpoints"
_SPEED_WINDOW = 20


def train(
    model: Model,
    examples: Encoded,
    labels: Any,
    settings: Settings | None = None,
    *,
    objective: Objective | None = None,
    adapters: nn.Module | None = None,
    evaluate: Callable[[Model], Mapping[str, float]] | None = None,
    callbacks: Sequence[Callback] = (),
    folder: Path | str | None = None,
    resume: bool = False,
) -> History:
    """Trains a model in place.

    Args:
        model: starts in any mode and ends in evaluation mode.
        examples: token ids; `labels` are what the objective wants of them (for `Classification` int `[rows]`).
        settings: how to train.
        objective: what to minimise; by default one class a row.
        adapters: modules beside the model that train too (see `lora`), already attached to it.
        evaluate: called with the model in evaluation mode, without gradients; returns numbers by name.
        callbacks: watchers of the run.
        folder: where `log.csv`, `evaluations.csv` and `checkpoints/` go; None: nothing is written.
        resume: go on from the folder's latest checkpoint if there is one, to the bit (on a CPU with as many threads).

    Returns:
        What happened; `ended` is "terminated" if SIGTERM came: a checkpoint is then in `folder`, and the caller should
            end its process. Without a folder SIGTERM does what it did before.

    Raises:
        TrainingError: a loss that is not finite, or a checkpoint of another run.
        CheckpointError: a checkpoint that cannot be written, or is damaged.
    """
    settings = settings or Settings()
    run = _Run(model, examples, labels, settings, objective or Classification(), adapters, evaluate)
    run.callbacks = list(callbacks)
    if folder is not None:
        run.folder = Path(folder)
        run.callbacks.insert(0, LogFiles(run.folder))
    with ExitStack() as scope:
        scope.enter_context(kept_random())
        scope.enter_context(dropout_rates(model, settings.attention_dropout, settings.dropout))
        scope.enter_context(recomputed(model, settings.recompute))
        scope.enter_context(_kept_modes(model, adapters))
        scope.enter_context(run.terminable())
        seed_all(settings.seed)
        run.start(resume)
        run.loop()
        run.finish()
    return run.history


class _Run:
    """The state of one run. Everything that a checkpoint must hold is an attribute set in `start`."""

    def __init__(
        self,
        model: Model,
        examples: Encoded,
        labels: Any,
        settings: Settings,
        objective: Objective,
        adapters: nn.Module | None,
        evaluate: Callable[[Model], Mapping[str, float]] | None,
    ) -> None:
        self.model, self.examples, self.labels = model, examples, labels
        self.settings, self.objective, self.adapters, self.evaluate = settings, objective, adapters, evaluate
        self.folder: Path | None = None
        self.callbacks: list[Callback] = []
        self.history = History()
        self.plan = Plan(
            examples.lengths,
            settings.batch_size * settings.accumulate,
            None if settings.batch_tokens is None else settings.batch_tokens * settings.accumulate,
            settings.seed,
        )
        self.groups = layer_groups(model, adapters, settings.rate_decay)
        self.names = [group.name for group in self.groups]
        rows = row_table(model) if settings.embedding == "rows" else None
        self.frozen = [model.embedding.tokens.weight] if settings.embedding == "frozen" else []
        self.optimizer = Optimizer(
            self.groups, settings.learning_rate, settings.betas, settings.eps, settings.weight_decay, rows
        )
        self.rows_only = rows is not None
        self.step = self.epoch = self.position = 0
        self.worse = 0
        self.best_weights: dict[str, Tensor] | None = None
        self.terminated = False
        self.device = model.device

    # Beginning and end ---------------------------------------------------------------------------------------------

    def start(self, resume: bool) -> None:
        per_run = self.plan.steps(self.settings.epochs)
        self.total = min(per_run, self.settings.max_steps or per_run)
        self.history.total_steps = self.total
        if self.folder is not None:
            self.checkpoints = self.folder / CHECKPOINTS
            self.identity = self._identity()
            found = checkpoint.latest(self.checkpoints) if resume else None
            if found is not None:
                checkpoint.clean(self.checkpoints)
                self._restore(checkpoint.read(found))
            elif not resume and checkpoint.latest(self.checkpoints) is not None:
                raise TrainingError(
                    f"{self.checkpoints} holds checkpoints of an earlier run; resume it, or choose another folder"
                )
        self.began = time.perf_counter()
        self.paused = 0.0
        self.recent: deque[tuple[float, int, int]] = deque(maxlen=_SPEED_WINDOW)
        self.recent.append((0.0, 0, 0))
        for callback in self.callbacks:
            callback.on_train_begin(self.history)

    def finish(self) -> None:
        if self.history.ended == "running":
            self.history.ended = "finished"
        terminated = self.history.ended == "terminated"
        if self.settings.keep_best and self.history.best_step not in (None, self.step) and not terminated:
            self._load_best()
        for callback in self.callbacks:
            callback.on_train_end(self.history)

    def loop(self) -> None:
        last = None
        while self.step < self.total and self.history.ended == "running":
            batches = self.plan.epoch(self.epoch)
            trained = self.settings.policy.trained(self.names, self.epoch)
            set_trained(self.groups, trained, self.frozen)
            if not any(p.requires_grad for group in self.groups for p in group.parameters.values()):
                raise TrainingError(f"nothing trains in epoch {self.epoch + 1}: {self.settings.policy} leaves no group")
            while self.position < len(batches) and self.step < self.total and self.history.ended == "running":
                last = self._train_step(batches[self.position], len(batches), trained)
                self.position += 1
                ends = self.position == len(batches)
                if ends:
                    self.epoch, self.position = self.epoch + 1, 0
                self._after_step(last, ends)
                if ends:
                    break
        self.history.seconds += time.perf_counter() - self.began

    # A step ----------------------------------------------------------------------------------------------------------

    def _train_step(self, rows: Any, per_epoch: int, trained: list[str]) -> Step:
        settings = self.settings
        self.model.train()
        if self.adapters is not None:
            self.adapters.train()
        parts = [
            self.objective.prepare(self.examples, self.labels, part, self.epoch, self.device)
            for part in _micro_batches(rows, settings.accumulate)
        ]
        weight = sum(part.weight for part in parts)
        if not weight > 0:
            raise TrainingError(f"step {self.step + 1} has no target with a weight above 0; check labels and weights")
        self.optimizer.set_factor(settings.schedule.factor(self.step, self.total))
        total = 0.0
        with _sparse_table(self.model, self.rows_only):
            for part in parts:
                with torch.autocast(self.device.type, torch.bfloat16, settings.precision == "bfloat16"):
                    loss = self.objective.loss(self.model, part) / weight
                total += float(loss.detach())
                if not math.isfinite(total):
                    break
                loss.backward()
        norm = self.optimizer.gradient_norm() if math.isfinite(total) else math.nan
        finite = math.isfinite(total) and math.isfinite(norm)
        if finite:
            self.optimizer.step(norm, settings.max_grad_norm)
        self.optimizer.zero_grad()
        self.step += 1
        tokens = sum(part.tokens for part in parts)
        self.history.rows += len(rows)
        self.history.tokens += tokens
        step = self._describe(total if finite else math.nan, norm, len(rows), tokens, per_epoch, trained)
        if not finite:
            self._halt(step)
        return step

    def _describe(self, loss: float, norm: float, rows: int, tokens: int, per_epoch: int, trained: list[str]) -> Step:
        now = time.perf_counter() - self.began
        busy = now - self.paused
        self.recent.append((busy, self.recent[-1][1] + rows, self.recent[-1][2] + tokens))
        first, latest = self.recent[0], self.recent[-1]
        span, steps = max(latest[0] - first[0], 1e-9), len(self.recent) - 1
        return Step(
            step=self.step,
            total_steps=self.total,
            epoch=self.epoch + (self.position + 1) / per_epoch,
            loss=loss,
            rates={name: rate for name, rate in self.optimizer.current.items() if name in trained},
            trained=tuple(trained),
            gradient_norm=norm,
            rows_per_second=(latest[1] - first[1]) / span,
            tokens_per_second=(latest[2] - first[2]) / span,
            seconds=now,
            seconds_left=span / steps * (self.total - self.step),
        )

    def _halt(self, step: Step) -> None:
        self._log(step)
        raise TrainingError(
            f"the loss or its gradient is not finite at step {step.step} (epoch {step.epoch:.2f}); the weights are "
            "those before this step. Lower the learning rate, and check inputs and class weights for extreme values."
        )

    def _log(self, step: Step) -> None:
        self.history.steps.append(step)
        for callback in self.callbacks:
            callback.on_log(step)

    def _after_step(self, step: Step, epoch_ends: bool) -> None:
        for callback in self.callbacks:
            callback.on_step(step)
        last = self.step == self.total
        if self.step % self.settings.log_every == 0 or last:
            self._log(step)
        began = time.perf_counter()
        better = False
        if self.evaluate is not None and (_due(self.settings.evaluate_every, self.step, epoch_ends) or last):
            better = self._evaluate(step.epoch)
        if self.terminated and not last:
            self.history.ended = "terminated"
        stopped = self.history.ended != "running"
        if self.folder is not None and (
            _due(self.settings.save_every, self.step, epoch_ends) or last or stopped or better
        ):
            self._save(better)
        self.paused += time.perf_counter() - began

    # Evaluation ------------------------------------------------------------------------------------------------------

    def _evaluate(self, epoch: float) -> bool:
        assert self.evaluate is not None
        self.model.eval()
        if self.adapters is not None:
            self.adapters.eval()
        with torch.no_grad():
            metrics = {name: float(value) for name, value in self.evaluate(self.model).items()}
        better = self._compare(metrics)
        evaluation = Evaluation(self.step, epoch, metrics, better)
        self.history.evaluations.append(evaluation)
        for callback in self.callbacks:
            callback.on_evaluate(evaluation)
        return better

    def _compare(self, metrics: dict[str, float]) -> bool:
        name = self.settings.metric
        if name is None:
            return False
        if name not in metrics:
            raise TrainingError(f"evaluate returns no {name!r} to watch; it returns {', '.join(metrics) or 'nothing'}")
        value, best = metrics[name], self.history.best_value
        if not math.isfinite(value):
            better = False
        elif best is None:
            better = True
        else:
            better = value > best if self.settings.greater_is_better else value < best
        if better:
            self.history.best_value, self.history.best_step, self.worse = value, self.step, 0
            if self.folder is None and self.settings.keep_best:
                self.best_weights = {name: p.detach().clone() for name, p in self._trainable().items()}
        else:
            self.worse += 1
            if self.settings.patience is not None and self.worse > self.settings.patience:
                self.history.ended = "patience"
        return better

    def _trainable(self) -> dict[str, nn.Parameter]:
        """Every parameter that some epoch trains."""
        ever: set[str] = set()
        for epoch in range(self.settings.epochs):
            ever |= set(self.settings.policy.trained(self.names, epoch))
        frozen = set(map(id, self.frozen))
        return {
            name: p
            for group in self.groups
            if group.name in ever
            for name, p in group.parameters.items()
            if id(p) not in frozen
        }

    @torch.no_grad()
    def _load_best(self) -> None:
        if self.folder is None:
            weights = self.best_weights or {}
        else:
            found = checkpoint.best(self.checkpoints)
            weights = {} if found is None else _weights(checkpoint.read(found).tensors)
        for name, parameter in self._trainable().items():
            if name in weights:
                parameter.copy_(weights[name])

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        trainable = self._trainable()
        frozen = hashlib.sha256()
        for name, parameter in self.model.named_parameters():
            if name not in trainable:
                frozen.update(name.encode())
                frozen.update(parameter.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        return {
            "settings": self.settings.identity(),
            "objective": plain(self.objective),
            "data": self.examples.digest(self.labels),
            "rows": len(self.examples),
            "model": self.model.spec.to_dict(),
            "weights": {name: list(p.shape) for name, p in trainable.items()},
            "frozen weights": frozen.hexdigest(),
            "total steps": self.total,
        }

    def _save(self, better: bool) -> None:
        random, tensors = checkpoint.random_states()
        self.history.seconds, before = self.history.seconds + time.perf_counter() - self.began, self.history.seconds
        data = {
            "identity": self.identity,
            "step": self.step,
            "epoch": self.epoch,
            "position": self.position,
            "worse": self.worse,
            "random": random,
            "history": self.history.to_dict(),
        }
        self.history.seconds = before
        tensors |= {f"model#{name}": p.detach() for name, p in self._trainable().items()}
        tensors |= {f"optimizer#{name}": value for name, value in self.optimizer.state().items()}
        data["tensors"] = sorted(tensors)
        path = checkpoint.write(self.checkpoints, self.step, checkpoint.State(tensors, data), better)
        for callback in self.callbacks:
            callback.on_save(path, self.step)

    @torch.no_grad()
    def _restore(self, state: checkpoint.State) -> None:
        data, tensors = state.data, state.tensors
        for item in ("identity", "step", "epoch", "position", "worse", "random", "history", "tensors"):
            if item not in data:
                raise TrainingError(f"the checkpoint lacks {item!r} and cannot be resumed exactly; start a new run")
        for name in sorted(set(data["tensors"]) ^ set(tensors)):
            problem = "lacks" if name in data["tensors"] else "holds besides"
            raise TrainingError(f"the checkpoint {problem} the tensor {name!r}; start a new run")
        checkpoint.require_equal(data["identity"], self.identity)
        weights = _weights(tensors)
        for name, parameter in self._trainable().items():
            if name not in weights:
                raise TrainingError(f"the checkpoint lacks the weight {name}; start a new run")
            parameter.copy_(weights[name])
        prefix = "optimizer#"
        optimizer = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        self.optimizer.load(optimizer)
        self.step, self.epoch, self.position = data["step"], data["epoch"], data["position"]
        self.worse = data["worse"]
        self.history = History.from_dict(data["history"])
        self.history.resumed_from = self.step
        if self.history.ended == "terminated":
            self.history.ended = "running"
        checkpoint.restore_random(data["random"], tensors)

    @contextmanager
    def terminable(self) -> Iterator[None]:
        """Within, SIGTERM asks for a checkpoint and an early end instead of killing the process."""
        # Without a folder there is nothing to save, and a signal must not be swallowed.
        if self.folder is None or threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: Any) -> None:
            self.terminated = True

        before = signal.signal(signal.SIGTERM, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


def _weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix("model#"): value for key, value in tensors.items() if key.startswith("model#")}


def _micro_batches(rows: Any, parts: int) -> list[Any]:
    size = -(-len(rows) // parts)
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def _due(every: str | int | None, step: int, epoch_ends: bool) -> bool:
    return epoch_ends if every == "epoch" else isinstance(every, int) and step % every == 0


@contextmanager
def _sparse_table(model: Model, sparse: bool) -> Iterator[None]:
    """Within, the token table's gradient names only the rows that occur."""
    table = model.embedding.tokens
    before, table.sparse = table.sparse, sparse
    try:
        yield
    finally:
        table.sparse = before


@contextmanager
def _kept_modes(model: Model, adapters: nn.Module | None) -> Iterator[None]:
    """Afterwards the model is in evaluation mode and every parameter is as trainable as before."""
    parts = [part for part in (model, adapters) if part is not None]
    before = [(p, p.requires_grad) for part in parts for p in part.parameters()]
    try:
        yield
    finally:
        for part in parts:
            part.eval()
        for parameter, wanted in before:
            parameter.requires_grad_(wanted)
            parameter.grad = None
