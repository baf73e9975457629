"""AdamW for every layer, and row by row for the embedding table.

A batch names a few hundred of a vocabulary's rows, yet dense AdamW reads and writes the whole table and two moments of
its size at every step: half of a small encoder's parameters, and 96 million numbers with 250,000 rows. `RowAdamW` takes
the sparse gradient and updates the rows that occur, each with its own step count (so a rare row's first step is bias
corrected like a first step). Rows that do not occur stay as they were pretrained: no momentum, no decay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from moduformer.errors import TrainingError
from moduformer.model import Model
from moduformer.train.groups import Group, decays


class RowAdamW:
    """AdamW (Loshchilov & Hutter 2019, algorithm 2) on the rows of one table `[rows, width]` that have a gradient.

    Its two moments grow with the rows seen so far, never to the whole table's size.
    """

    def __init__(self, table: nn.Parameter, betas: tuple[float, float], eps: float, weight_decay: float) -> None:
        self.table, self.betas, self.eps, self.weight_decay = table, betas, eps, weight_decay
        self.slots = torch.full((table.shape[0],), -1, dtype=torch.long, device=table.device)
        self.rows = table.new_empty(0, dtype=torch.long)
        self.steps = table.new_zeros(0)
        self.moments = table.new_zeros(2, 0, table.shape[1])

    @torch.no_grad()
    def step(self, rate: float, scale: float = 1.0) -> None:
        """One update from `table.grad` (sparse, coalesced) times `scale`."""
        gradient = self.table.grad
        if gradient is None:
            return
        rows, values = gradient.indices()[0], gradient.values() * scale
        slots = self._slots_of(rows)
        self.steps[slots] += 1
        steps = self.steps[slots].unsqueeze(1)
        beta1, beta2 = self.betas
        mean = torch.lerp(values, self.moments[0].index_select(0, slots), beta1)
        square = self.moments[1].index_select(0, slots).mul_(beta2).addcmul_(values, values, value=1 - beta2)
        self.moments[0].index_copy_(0, slots, mean)
        self.moments[1].index_copy_(0, slots, square)
        spread = square.sqrt_().div_((1 - beta2**steps).sqrt_()).add_(self.eps)
        change = mean.div_(1 - beta1**steps).div_(spread)
        kept = self.table.index_select(0, rows)
        self.table.index_copy_(0, rows, kept.mul_(1 - rate * self.weight_decay).sub_(change, alpha=rate))

    def _slots_of(self, rows: Tensor) -> Tensor:
        slots = self.slots[rows]
        new = slots < 0
        if bool(new.any()):
            fresh = rows[new]
            held, needed = len(self.rows), len(self.rows) + len(fresh)
            self.slots[fresh] = torch.arange(held, needed, device=rows.device)
            self.rows = torch.cat((self.rows, fresh))
            if needed > self.moments.shape[1]:
                # Doubling keeps the cost of growing proportional to the rows seen.
                room = max(needed, 2 * self.moments.shape[1])
                moments, steps = self.moments, self.steps
                self.moments, self.steps = moments.new_zeros(2, room, moments.shape[2]), steps.new_zeros(room)
                self.moments[:, :held], self.steps[:held] = moments[:, :held], steps[:held]
            slots = self.slots[rows]
        return slots

    def state(self) -> dict[str, Tensor]:
        """Rows seen, their step counts and moments."""
        held = len(self.rows)
        return {"rows": self.rows, "steps": self.steps[:held], "moments": self.moments[:, :held]}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Puts back what `state` gave."""
        self.rows, self.steps, self.moments = (state[name].clone() for name in ("rows", "steps", "moments"))
        self.slots.fill_(-1)
        self.slots[self.rows] = torch.arange(len(self.rows), device=self.slots.device)


class Optimizer:
    """All parameters of a run: AdamW (fused) on the layers, `RowAdamW` on the token table where gradients are sparse.

    Args:
        groups: the layers (see `groups.layer_groups`).
        rate: the peak learning rate of the top group.
        row_table: the parameter to update by rows, or None.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        row_table: nn.Parameter | None = None,
    ) -> None:
        self.names = {p: name for group in groups for name, p in group.parameters.items() if p is not row_table}
        self.rates = {group.name: rate * group.rate for group in groups}
        self.current = dict(self.rates)
        settings = []
        for group in groups:
            for decayed in (True, False):
                members = [p for p in group.parameters.values() if p is not row_table and decays(p) == decayed]
                if members:
                    decay = weight_decay if decayed else 0.0
                    settings.append({"params": members, "weight_decay": decay, "name": group.name, "lr": rate})
        self.dense = torch.optim.AdamW(settings, betas=betas, eps=eps, fused=_fusable(self.names)) if settings else None
        self.by_rows = None if row_table is None else RowAdamW(row_table, betas, eps, weight_decay)
        self.row_group = next((g.name for g in groups if row_table in set(g.parameters.values())), "")

    def set_factor(self, factor: float) -> None:
        """Sets every group's learning rate to its peak times `factor`."""
        self.current = {name: rate * factor for name, rate in self.rates.items()}
        for group in self.dense.param_groups if self.dense else ():
            group["lr"] = self.current[group["name"]]

    def gradient_norm(self) -> float:
        """The norm of all gradients together; makes sparse gradients ready for `step`."""
        gradients = [p.grad for p in self.names if p.grad is not None]
        if self.by_rows is not None and self.by_rows.table.grad is not None:
            self.by_rows.table.grad = self.by_rows.table.grad.coalesce()
            gradients.append(self.by_rows.table.grad.values())
        if not gradients:
            return 0.0
        return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))

    def step(self, norm: float, max_norm: float | None) -> None:
        """One update, with gradients scaled down to `max_norm` if their `norm` is above (Pascanu et al. 2013)."""
        scale = 1.0 if max_norm is None or norm <= max_norm else max_norm / (norm + 1e-6)
        if self.dense is not None:
            gradients = [p.grad for p in self.names if p.grad is not None]
            if scale != 1.0 and gradients:
                torch._foreach_mul_(gradients, scale)
            self.dense.step()
        if self.by_rows is not None:
            self.by_rows.step(self.current[self.row_group], scale)

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        for parameter in self.names:
            parameter.grad = None
        if self.by_rows is not None:
            self.by_rows.table.grad = None

    def state(self) -> dict[str, Tensor]:
        """Everything an exact resumption needs, as named tensors."""
        found = {}
        for parameter, name in self.names.items():
            for key, value in (self.dense.state[parameter] if self.dense else {}).items():
                found[f"{name}#{key}"] = value
        if self.by_rows is not None:
            found |= {f"rows#{key}": value for key, value in self.by_rows.state().items()}
        return found

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts back what `state` gave. Raises `TrainingError` if anything is missing or of another shape."""
        assert self.dense is not None or self.by_rows is not None
        loaded = 0
        for parameter, name in self.names.items():
            if f"{name}#step" not in tensors:
                continue
            state = {}
            for key, shape in (("step", ()), ("exp_avg", parameter.shape), ("exp_avg_sq", parameter.shape)):
                value = tensors.get(f"{name}#{key}")
                if value is None or value.shape != torch.Size(shape):
                    raise TrainingError(f"the checkpoint's optimizer state lacks {key} of {name} in this shape")
                state[key] = value.to(parameter.device).clone()
                loaded += 1
            assert self.dense is not None
            self.dense.state[parameter] = state
        if self.by_rows is not None:
            rows = {key: tensors.get(f"rows#{key}") for key in ("rows", "steps", "moments")}
            if any(value is None for value in rows.values()):
                raise TrainingError("the checkpoint's optimizer state lacks the rows of the token table")
            self.by_rows.load({key: v.to(self.by_rows.table.device) for key, v in rows.items() if v is not None})
            loaded += 3
        if loaded != len(tensors):
            raise TrainingError(
                f"the checkpoint's optimizer state has {len(tensors)} tensors, of which {loaded} fit this model; "
                "resume with the model and settings it was written with"
            )


def row_table(model: Model) -> nn.Parameter | None:
    """The token table if its gradient can be sparse: unless a head shares it and so needs all of it."""
    table = model.embedding.tokens.weight
    assert isinstance(table, nn.Parameter)
    return None if any(head.tied for head in model.spec.heads) else table


def _fusable(parameters: Mapping[nn.Parameter, str]) -> bool:
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)


__all__ = ["Optimizer", "RowAdamW", "row_table"]
