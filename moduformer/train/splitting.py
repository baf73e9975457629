"""Parts of examples: what is held out for evaluation, and the few shots of a class."""

from moduformer.errors import DataError
from moduformer.train.duplicates import example_key
from moduformer.train.examples import Examples


def _strata(examples: Examples) -> list[int]:
    """One class for each example: its own, or of several labels the rarest, which is the hardest to spread."""
    if not examples.multi_label:
        return [int(target) for target in examples.targets]
    counts = examples.counts()
    strata = []
    for row in examples.targets:
        chosen = [i for i, value in enumerate(row) if value]
        strata.append(min(chosen, key=lambda i: (counts[i], i)) if chosen else -1)
    return strata


def split(examples: Examples, fraction: float = 0.1, seed: int = 0, stratify: bool = True) -> tuple[Examples, Examples]:
    """Hold examples out for evaluation: the same ones for the same data and seed, on any machine.

    Args:
        examples: what to split.
        fraction: the share to hold out, above 0 and below 1.
        seed: of the drawing.
        stratify: hold out that share of every class (of the rarest label of each multi-label example), at least one
            example of each class that has two different texts; else of the whole.

    Returns:
        the examples to train on and those held out, each in their original order. Examples with the same text
        (`text_key`) stay on one side, so the held-out score is not memory.

    Raises:
        DataError: the fraction is not between 0 and 1, or a side would be empty.
    """
    import numpy as np

    if not isinstance(fraction, (int, float)) or not 0 < fraction < 1:
        raise DataError(f"the held-out fraction is above 0 and below 1, not {fraction!r}")
    if not isinstance(seed, int) or seed < 0:
        raise DataError(f"a seed is a whole number from 0, not {seed!r}")
    strata = _strata(examples) if stratify else [0] * len(examples)
    groups: dict[tuple[str, str], list[int]] = {}
    for i in range(len(examples)):
        groups.setdefault(example_key(examples, i), []).append(i)
    by_stratum: dict[int, list[list[int]]] = {}
    for group in groups.values():
        by_stratum.setdefault(strata[group[0]], []).append(group)
    held: set[int] = set()
    for stratum in sorted(by_stratum):
        members = by_stratum[stratum]
        if len(members) < 2:
            continue
        # One generator a class: adding rows of one class leaves the others' held-out rows as they were.
        order = np.random.default_rng([seed, stratum + 1]).permutation(len(members))
        taken, total = 0, sum(map(len, members))
        wanted = max(1, round(fraction * total))
        for chosen in order:
            group = members[chosen]
            # A group larger than twice what is still wanted would miss the share by more than leaving it out does.
            if taken < wanted and len(group) <= 2 * (wanted - taken) and len(group) + taken < total:
                held.update(group)
                taken += len(group)
        if not taken:
            smallest: list[int] = min(members, key=len)
            held.update(smallest)
    if not held:
        refused = examples.refused
        left_out = f"; {len(refused)} rows cannot be used, {refused[0].where()}: {refused[0].reason}" if refused else ""
        raise DataError(
            f"{examples.name}: no rows can be held out, since no class has two different texts "
            f"({len(groups)} different texts, {len(examples.classes)} classes{left_out}). "
            "Name the column of labels, add rows, or give a file to evaluate on"
        )
    train = [i for i in range(len(examples)) if i not in held]
    return examples.select(train), examples.select(sorted(held))


def few_shot(examples: Examples, shots: int, seed: int = 0) -> Examples:
    """The few-shot subset of SetFit's experiments (Tunstall et al. 2022, arXiv:2209.11055).

    For each class, in order of first appearance, pandas' `sample(shots, random_state=seed, replace=False)` of its rows;
    all of them when there are no more than `shots`. Multi-label examples are drawn once for each class and counted
    once.

    Args:
        examples: the training examples in their published order.
        shots: examples a class.
        seed: 0 to 9 in the published tables.

    Raises:
        DataError: `shots` is less than one.
    """
    import pandas as pd

    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise DataError(f"a seed is a whole number from 0 to 2**32 - 1, not {seed!r}")
    if shots < 1:
        raise DataError(f"shots is the number of examples a class, at least 1, not {shots}")
    if examples.multi_label:
        members = [[i for i, row in enumerate(examples.targets) if row[c]] for c in range(len(examples.classes))]
    else:
        order: dict[int, list[int]] = {}
        for i, target in enumerate(examples.targets.tolist()):
            order.setdefault(target, []).append(i)
        members = list(order.values())
    chosen: dict[int, None] = {}
    for rows in members:
        column = pd.Series(rows, dtype="int64")
        if len(rows) > shots:
            column = column.sample(shots, random_state=seed, replace=False)
        chosen.update(dict.fromkeys(column.tolist()))
    return examples.select(chosen)
