"""`moduformer plan`: what a training budget buys."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from moduformer.cli.output import facts, result


def plan(
    flops: Annotated[float, typer.Option(help="Floating-point operations of the whole training, such as 5.76e23.")],
    refit: Annotated[bool, typer.Option("--fit", help="Fit the law to the published runs first, and show it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """The compute-optimal size and number of tokens by Chinchilla's law (Hoffmann et al. 2022)."""
    from moduformer.catalog.scaling import FITTED, PUBLISHED, fit_chinchilla

    law, left = fit_chinchilla() if refit else (FITTED, None)
    laws = {"fitted to the runs": law, "as Hoffmann et al. print it": PUBLISHED}
    plans = {name: each.plan(flops) for name, each in laws.items()}
    if as_json:
        data = {name: {"law": asdict(laws[name]), "plan": asdict(plans[name])} for name in laws}
        result({"flops": flops, "objective": left, **data})
        return
    rows = [
        ("parameters", *(_short(each.parameters) for each in plans.values())),
        ("tokens", *(_short(each.tokens) for each in plans.values())),
        ("tokens a parameter", *(f"{each.tokens / each.parameters:.1f}" for each in plans.values())),
        ("loss, nats a token", *(f"{each.loss:.4f}" for each in plans.values())),
        *(
            (name, *(f"{getattr(each, name):.6g}" for each in laws.values()))
            for name in ("a", "b", "e", "alpha", "beta")
        ),
    ]
    facts(f"{flops:.3g} operations: L(N, D) = e + a/N^alpha + b/D^beta", ["", *laws], rows)
    if left is not None:
        print(f"left of the objective: {left:.8f}")


def _short(number: float) -> str:
    """1.4e12 as "1.40 T"."""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g}"
