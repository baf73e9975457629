"""Pipelines: a mixed-length batch against a loop over single texts, and against the pipelines of `transformers`.

    python bench/pipelines.py --rounds 3 [--rows 256] [--task feature-extraction]

Every contender gets the same weights and the same sentences, those of the Hutto & Gilbert (2014) set with every tenth
made long (eight sentences in one), in their given order. `transformers` has the tasks that its version 5 still has.
Contenders take turns in processes of their own; the weights of heads are drawn anew, since only time is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.fine_tuning import texts_and_labels
from bench.measure import peak_memory, table, take_turns

OURS, SINGLY = "moduformer, one call", "moduformer, a loop over single texts"
THEIRS, BATCHED = "transformers, one call", "transformers, batches of 32"
CONTENDERS = [SINGLY, OURS, THEIRS, BATCHED]

TASKS: dict[str, dict[str, Any]] = {
    "text-classification": {},
    "token-classification": {"aggregation_strategy": "simple"},
    "feature-extraction": {},
    "fill-mask": {},
    "zero-shot-classification": {"candidate_labels": ["sports", "film", "politics"]},
}
HEADS = {
    "text-classification": "BertForSequenceClassification",
    "token-classification": "BertForTokenClassification",
    "feature-extraction": "BertModel",
    "fill-mask": "BertForMaskedLM",
    "zero-shot-classification": "BertForSequenceClassification",
}


def checkpoint(task: str, source: str) -> Path:
    """A folder with the encoder `source` and a head for the task, which both libraries read."""
    import moduformer as mf
    from moduformer.sources.resolve import resolve
    from moduformer.weights.checkpoint import load_checkpoint

    folder = Path(tempfile.gettempdir()) / f"moduformer-bench-{source.replace('/', '-')}-{HEADS[task]}"
    if not (folder / "config.json").is_file():
        names = ("contradiction", "neutral", "entailment")
        kind = "text-classification" if task.startswith("zero-shot") else task
        labels = names if "Sequence" in HEADS[task] else ("O", "B-PER", "I-PER") if "Token" in HEADS[task] else None
        model = load_checkpoint(resolve(source).path, kind, labels, new_head=True)
        model.tokenizer = mf.load(source).tokenizer
        model.save(folder)
    return folder


def texts_of(options: argparse.Namespace) -> list[str]:
    """Sentences of every length, some of them several in one."""
    options.data = None
    sentences = texts_and_labels(options)[0]
    mixed = [" ".join(sentences[i : i + 8]) if i % 10 == 0 else text for i, text in enumerate(sentences)]
    return [f"[MASK] {text}" for text in mixed] if options.task == "fill-mask" else mixed


def made(options: argparse.Namespace, folder: Path) -> Callable[[list[str]], Any]:
    """One contender as a function of the texts."""
    more = TASKS[options.task]
    if options.run in (OURS, SINGLY):
        import moduformer as mf

        ours = mf.pipeline(options.task, str(folder), device=-1)
        if options.run == OURS:
            return lambda texts: ours(texts, **more)
        return lambda texts: [ours(text, **more) for text in texts]
    from transformers import logging, pipeline

    logging.set_verbosity_error()
    theirs = pipeline(options.task, model=str(folder), device="cpu")
    size = 32 if options.run == BATCHED else 1
    return lambda texts: theirs(texts, batch_size=size, **more)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Texts a second of one contender, the best of three after a warm-up."""
    import torch

    torch.set_num_threads(options.threads)
    texts = texts_of(options)
    run = made(options, checkpoint(options.task, options.model))
    run(texts[:16])
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    seconds = []
    for _ in range(3):
        start = clock()
        run(texts)
        seconds.append(clock() - start)
    return {"texts_per_second": len(texts) / min(seconds), "peak_mib": peak_memory()}


def main() -> None:
    """One contender (`--run`), or all of them in turn for every task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", choices=CONTENDERS)
    parser.add_argument("--task", choices=list(TASKS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock", choices=["wall", "processor"], default="wall", help="processor, with --threads 1, on a busy machine"
    )
    options = parser.parse_args()
    if options.run:
        print(json.dumps(measure(options)))
        return
    slower = []
    for task in [options.task] if options.task else TASKS:
        checkpoint(task, options.model)
        found = take_turns(Path(__file__), CONTENDERS, options.rounds, [*sys.argv[1:], "--task", task])
        print(f"\n### {task}\n\n{table(found, SINGLY, 'texts_per_second')}", flush=True)
        middle = {name: sorted(run["texts_per_second"] for run in runs)[len(runs) // 2] for name, runs in found.items()}
        if middle[OURS] < middle[SINGLY]:
            slower.append(task)
    if slower:
        raise SystemExit(f"a mixed batch is slower than a loop over single texts: {', '.join(slower)}")


if __name__ == "__main__":
    main()
