"""Names that stand for several: `"[q k v]_proj"` is `q_proj`, `k_proj` and `v_proj`.

Two such names with as many alternatives belong together in order: `"[gate up].weight"`, `"[value down].weight"`.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import product

_ONE = re.compile(r"\[([^]]*)\]")


@cache
def spelled_out(name: str) -> tuple[str, ...]:
    """All names that a name stands for; the first alternative changes slowest."""
    if "[" not in name:
        return (name,)
    parts = _ONE.split(name)
    return tuple("".join(chosen) for chosen in product(*(p.split() if i % 2 else [p] for i, p in enumerate(parts))))
