"""Encoder throughput against `transformers`: ragged real sentences, same weights, agreement beside speed.

    python bench/inference.py --rounds 3 [--rows 2000]

Sentences are those of the Hutto & Gilbert (2014) set. Each contender also reports how far its vectors are from
float32 `transformers` (cosine, mean and least).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.fine_tuning import texts_and_labels
from bench.measure import peak_memory, table, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

CONTENDERS = ["transformers, batches of 32 as given", "transformers, sorted by length", "moduformer"]


def ours(options: argparse.Namespace, texts: list[str]) -> Callable[[], torch.Tensor]:
    """Mean-pooled vectors through ragged batches of up to 4,096 tokens."""
    import torch

    import moduformer as mf
    from moduformer.batch import Batch

    model = mf.load(options.model)

    def run() -> torch.Tensor:
        rows = [encoding.ids[:512] for encoding in model.tokenizer.encode_batch(texts, offsets=False)]
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        found = torch.empty(len(rows), model.spec.dim)
        with torch.inference_mode():
            while order:
                take, tokens = 0, 0
                while take < len(order) and (not take or tokens + len(rows[order[take]]) <= 4096):
                    tokens += len(rows[order[take]])
                    take += 1
                part, order = order[:take], order[take:]
                states = model.run(Batch.from_lists([rows[i] for i in part], order=range(len(part))))
                lengths = torch.tensor(states.batch.rows.lengths)
                sums = torch.zeros(len(part), model.spec.dim).index_add_(0, states.batch.rows.row_of, states.hidden)
                found[part] = sums / lengths.unsqueeze(1)
        return found

    return run


def theirs(options: argparse.Namespace, texts: list[str], by_length: bool) -> Callable[[], torch.Tensor]:
    """Mean-pooled vectors through padded batches of 32."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    from moduformer.sources.resolve import resolve

    folder = resolve(options.model).path
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def run() -> torch.Tensor:
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i])) if by_length else list(range(len(texts)))
        found = torch.empty(len(texts), model.config.hidden_size)
        with torch.inference_mode():
            for start in range(0, len(order), 32):
                part = order[start : start + 32]
                padded = tokenizer(
                    [texts[i] for i in part], padding=True, truncation=True, max_length=512, return_tensors="pt"
                )
                hidden = model(**padded).last_hidden_state
                mask = padded["attention_mask"].unsqueeze(-1)
                found[part] = (hidden * mask).sum(1) / mask.sum(1)
        return found

    return run


def main() -> None:
    """One contender (`--run`), or all of them in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", choices=CONTENDERS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", default=str(Path(tempfile.gettempdir()) / "moduformer-bench-vectors.pt"))
    options = parser.parse_args()
    if not options.run:
        found = take_turns(Path(__file__), CONTENDERS, options.rounds, sys.argv[1:])
        print(table(found, CONTENDERS[0], "sentences_per_second"))
        last = found["moduformer"][-1]
        print(f"\ncosine to transformers: mean {last['cosine_mean']:.7f}, least {last['cosine_least']:.7f}")

        return
    print(json.dumps(measure(options)))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Sentences a second of one contender after a warm-up, and its agreement with the first one's vectors."""
    import torch

    torch.set_num_threads(options.threads)
    options.data = None
    texts = texts_and_labels(options)[0]
    run = ours(options, texts) if options.run == "moduformer" else theirs(options, texts, "sorted" in options.run)
    run()
    start = time.perf_counter()
    vectors = run()
    seconds = time.perf_counter() - start
    result = {"sentences_per_second": len(texts) / seconds, "peak_mib": peak_memory()}
    reference = Path(options.keep)
    if options.run == CONTENDERS[0]:
        torch.save(vectors, reference)
    elif reference.is_file():
        cosine = torch.nn.functional.cosine_similarity(vectors, torch.load(reference), dim=1)
        result |= {"cosine_mean": float(cosine.mean()), "cosine_least": float(cosine.min())}
    return result


if __name__ == "__main__":
    main()
