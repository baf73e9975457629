"""Speed of quantised models beside their float32 selves, taking turns in one process; only the ratios count.

    OMP_NUM_THREADS=1 python bench/quantized.py [--rounds 5] [--rows 300] [--new 32]

An encoder reads ragged real sentences (Hutto & Gilbert 2014) and also reports the cosine to its float32 vectors; a
decoder continues one prompt greedily and reports how many of its first tokens equal those of float32.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.sentences import sentences

SCHEMES: dict[str, dict[str, Any]] = {
    "float32": {},
    "int8": {"scheme": "int8"},
    "int4": {"scheme": "int4"},
    "int4, logits int8": {"scheme": "int4", "heads": "int8"},
}
PROMPT = "The history of the city begins with a small harbour, where fishermen traded salt and cloth. In the"


def made(name: str, scheme: str) -> Any:
    """A model, quantised or not."""
    import moduformer as mf
    from moduformer.quantize import quantize

    model = mf.load(name)
    return quantize(model, **SCHEMES[scheme]) if SCHEMES[scheme] else model


def take_turns(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each, after a warm-up."""
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name in runs if turn % 2 else reversed(runs):
            start = time.perf_counter()
            runs[name]()
            spent[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in spent.items()}


def main() -> None:
    """Prints two Markdown tables."""
    import torch

    from moduformer.pipelines.windowing import windower
    from moduformer.train.evaluation import mean_features

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--new", type=int, default=32)
    options = parser.parse_args()

    models = {scheme: made("minilm", scheme) for scheme in ("float32", "int8", "int4")}
    texts = windower(models["float32"])(sentences(options.rows)[0], None).encoded
    vectors = {name: torch.from_numpy(mean_features(model, texts).copy()) for name, model in models.items()}
    seconds = take_turns({n: (lambda m=m: mean_features(m, texts)) for n, m in models.items()}, options.rounds)
    print(
        f"| minilm, {len(texts)} sentences | sentences/s | ratio | cosine to float32, mean / least |\n| - | - | - | - |"
    )
    for name, spent in seconds.items():
        cosine = torch.nn.functional.cosine_similarity(vectors["float32"], vectors[name], dim=1)
        ratio = seconds["float32"] / spent
        print(f"| {name} | {len(texts) / spent:.0f} | {ratio:.2f} | {cosine.mean():.4f} / {cosine.min():.4f} |")

    models = {scheme: made("smollm2", scheme) for scheme in SCHEMES}
    prompt = torch.tensor([models["float32"].tokenizer.encode(PROMPT).ids])

    def write(model: Any) -> list[int]:
        # The same number of tokens for all, whatever they are.
        return model.generate(prompt, max_new_tokens=options.new, min_new_tokens=options.new)[0].tolist()

    written = {name: write(model)[prompt.shape[1] :] for name, model in models.items()}
    seconds = take_turns({n: (lambda m=m: write(m)) for n, m in models.items()}, options.rounds)
    print(f"\n| smollm2, {options.new} tokens | tokens/s | ratio | same first tokens |\n| - | - | - | - |")
    for name, spent in seconds.items():
        pairs = zip(written[name], written["float32"])
        same = next((i for i, (a, b) in enumerate(pairs) if a != b), options.new)
        print(f"| {name} | {options.new / spent:.1f} | {seconds['float32'] / spent:.2f} | {same} |")


if __name__ == "__main__":
    main()
