"""What the viewer takes for 512 tokens in MiniLM, and for 4,096 in a model of its size: `python bench/viewer.py`.

The second model is MiniLM's architecture with more positions and random weights: how long it takes does not depend on
what they are.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

import moduformer as mf
from moduformer.architecture import LearnedPositions
from moduformer.model import Model
from moduformer.view.document import exported_page
from moduformer.view.record import record
from moduformer.view.source import Source

SENTENCE = (
    "The old lighthouse keeper climbed the stairs every evening, lit the lamp, and wrote a line about the weather."
)
ATTENTION = "encoder.attention"


def text_of(model: Model, tokens: int) -> str:
    """As many words as fit into so many tokens."""
    words = (f"{SENTENCE} " * (tokens // 15)).split()
    low, high = 1, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        fits = len(model.tokenizer.encode(" ".join(words[:middle])).ids) <= tokens
        low, high = (middle, high) if fits else (low, middle - 1)
    return " ".join(words[:low])


def row(what: str, act: Callable[[], Any]) -> Any:
    """Prints a line of the table: seconds of the clock and of the processor, and the most memory held so far."""
    clock, processor = time.perf_counter(), time.process_time()
    found = act()
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = f"{time.perf_counter() - clock:.2f} | {time.process_time() - processor:.2f}"
    print(f"| {what} | {seconds} | {held:,.0f} |", flush=True)
    return found


def main() -> None:
    """Prints the table."""
    torch.set_num_threads(1)
    print("| | seconds | of one core | most MiB held |\n| --- | ---: | ---: | ---: |")
    model = row("MiniLM loaded", lambda: mf.load("minilm"))
    text = text_of(model, 512)
    seen = row("512 tokens recorded, 72 heads", lambda: record(model, text, name="minilm"))
    data = row("its JSON", lambda: json.dumps(seen.data))
    layer = row("a layer's bytes", lambda: seen.layer(ATTENTION, 3))
    row("a head switched off", lambda: seen.off([(ATTENTION, 0, 2)]))
    row("rollout", lambda: seen.rollout(ATTENTION))
    page = row("all of it as one file", lambda: exported_page(Source([seen])))
    longer = replace(model.spec, embedding=replace(model.spec.embedding, positions=LearnedPositions(4096)))
    large = mf.build(longer, seed=0)
    large.tokenizer = model.tokenizer
    text = text_of(model, 4096)
    seen = row("4,096 tokens recorded, 72 heads", lambda: record(large, text))
    head = row("one head's bytes", lambda: seen.layer(ATTENTION, 3, 5))
    sizes = {"JSON": len(data), "a layer": len(layer), "the file": len(page), "a head of 4,096 tokens": len(head)}
    print("\n" + "; ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sizes.items()))


if __name__ == "__main__":
    main()
