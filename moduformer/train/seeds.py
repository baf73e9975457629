"""One seed for everything random in a run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from moduformer.train.checkpoint import random_states, restore_random


def seed_all(seed: int) -> None:
    """Seeds Python's, NumPy's and PyTorch's global generators (dropout draws from the last)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own for new weights, such as a new head's: `initialise(head, generator(seed))`."""
    return torch.Generator(device=device).manual_seed(seed)


@contextmanager
def kept_random() -> Iterator[None]:
    """Leaves the caller's generators as they were: training must not change what the caller draws next."""
    data, tensors = random_states()
    try:
        yield
    finally:
        restore_random(data, tensors)
