"""One seed for everything random in a run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from moduformer.model import Model, initialise
from moduformer.train.checkpoint import random_states, restore_random


def seed_all(seed: int) -> None:
    """Seeds Python's, NumPy's and PyTorch's global generators (dropout draws from the last)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


@contextmanager
def kept_random() -> Iterator[None]:
    """Leaves the caller's generators as they were: training must not change what the caller draws next."""
    data, tensors = random_states()
    try:
        yield
    finally:
        restore_random(data, tensors)


def draw_head(model: Model, kind: str, seed: int) -> None:
    """Draws the weights of one head anew, as for a new task; the same seed draws the same weights anywhere."""
    source = torch.Generator(device=model.device).manual_seed(seed)
    for name, parameter in model.heads[kind].named_parameters():
        initialise(name, parameter, source)
