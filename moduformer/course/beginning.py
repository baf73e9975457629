"""How a notebook begins: one seed for everything, few threads, plain pictures."""

from __future__ import annotations

from typing import Any

COLOURS = ("#2f6690", "#d1603d", "#5b8c5a", "#8a6fae", "#b58900", "#6b7280")

STYLE: dict[str, Any] = {
    "figure.dpi": 90,
    "figure.figsize": (6.0, 3.0),
    "savefig.bbox": "tight",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e7e7e7",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.edgecolor": "#777777",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "image.cmap": "Blues",
}


def start(seed: int = 0, threads: int = 2) -> None:
    """Seeds Python, numpy and torch, lets torch use at most `threads` threads, and sets the style of pictures."""
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
    torch.set_num_threads(max(1, min(threads, torch.get_num_threads())))
    try:
        import matplotlib as mpl
        from cycler import cycler
    except ImportError:
        print("pictures need matplotlib: pip install matplotlib")
        return
    style: Any = STYLE | {"axes.prop_cycle": cycler(color=COLOURS)}
    mpl.rcParams.update(style)
