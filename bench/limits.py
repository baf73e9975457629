"""What this machine can do at most, measured in the same sitting: matrix products and memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from bench.contender import Contender, Measured, Work

SIZE = 1536
MEMORY = 64 * 2**20


class Limits(Contender[Work]):
    """float32 and int8 products of square matrices through oneDNN or MKL, and the reading of a large vector."""

    name = "limits of the machine"

    def prepare(self, work: Work) -> None:
        """Fills the matrices."""
        import torch

        torch.set_num_threads(work.threads)
        self.left, self.right = torch.rand(SIZE, SIZE), torch.rand(SIZE, SIZE)
        self.codes = torch.randint(-127, 127, (SIZE, SIZE), dtype=torch.int8)
        self.long = torch.ones(MEMORY)

    def run(self, work: Work) -> Measured:
        """The best of a few tries each: a limit is what can be reached."""
        import torch

        operations = 2 * SIZE**3
        found = {"gemm_fp32_gflops": operations / best(lambda: self.left @ self.right) / 1e9}
        # Not every build has the product of integers.
        with suppress(RuntimeError, AttributeError):
            found["gemm_int8_gops"] = operations / best(lambda: torch._int_mm(self.codes, self.codes.t())) / 1e9
        found["memory_read_gb_s"] = 4 * MEMORY / best(self.long.sum) / 1e9
        return Measured(found)


def best(act: Callable[[], object], tries: int = 8) -> float:
    """The least seconds of some tries."""
    seconds = []
    for _ in range(tries):
        start = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
