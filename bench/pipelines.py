"""Pipelines: a mixed-length batch against a loop over single texts, and against the pipelines of `transformers`.

    python bench/pipelines.py --rounds 5 [--rows 256] [--task feature-extraction]

Every contender gets the same weights and the same sentences, those of the Hutto & Gilbert (2014) set with every tenth
made long (eight sentences in one), in their given order. `transformers` has the tasks that its version 5 still has.
Contenders take turns in one process, so that whatever else the machine does meets all of them; ratios are medians over
the turns. The weights of heads are drawn anew, since only time is measured.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.sentences import sentences as real_sentences

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
    sentences = real_sentences(options.rows)[0]
    mixed = [" ".join(sentences[i : i + 8]) if i % 10 == 0 else text for i, text in enumerate(sentences)]
    return [f"[MASK] {text}" for text in mixed] if options.task == "fill-mask" else mixed


def made(name: str, task: str, folder: Path) -> Callable[[list[str]], Any]:
    """One contender as a function of the texts."""
    more = TASKS[task]
    if name in (OURS, SINGLY):
        import moduformer as mf

        ours = mf.pipeline(task, str(folder), device=-1)
        if name == OURS:
            return lambda texts: ours(texts, **more)
        return lambda texts: [ours(text, **more) for text in texts]
    from transformers import logging, pipeline

    logging.set_verbosity_error()
    theirs = pipeline(task, model=str(folder), device="cpu")
    size = 32 if name == BATCHED else 1
    return lambda texts: theirs(texts, batch_size=size, **more)


def measure(task: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of every contender, turn by turn, after a warm-up."""
    options.task = task
    texts, folder = texts_of(options), checkpoint(task, options.model)
    contenders = {name: made(name, task, folder) for name in CONTENDERS}
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for run in contenders.values():
        run(texts[:16])
    for turn in range(options.rounds):
        for name in CONTENDERS if turn % 2 == 0 else reversed(CONTENDERS):
            start = clock()
            contenders[name](texts)
            seconds[name].append(clock() - start)
    return seconds


def table(seconds: dict[str, list[float]], rows: int) -> str:
    """A Markdown table: how many times as fast as the loop over single texts, and texts a second."""
    lines = ["| contender | ratio, median (least-most) | texts a second |", "| --- | --- | --- |"]
    for name, own in seconds.items():
        ratios = [base / mine for base, mine in zip(seconds[SINGLY], own)]
        lines.append(
            f"| {name} | {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) "
            f"| {rows / statistics.median(own):.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Prints a table a task; ends with status 1 where a batch is slower than the loop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=list(TASKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock", choices=["wall", "processor"], default="wall", help="processor, with --threads 1, on a busy machine"
    )
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    slower = []
    for task in [options.task] if options.task else TASKS:
        seconds = measure(task, options)
        print(f"\n### {task}, {options.rows} texts of mixed length\n\n{table(seconds, options.rows)}", flush=True)
        if statistics.median(seconds[OURS]) > statistics.median(seconds[SINGLY]):
            slower.append(task)
    if slower:
        raise SystemExit(f"a mixed batch is slower than a loop over single texts: {', '.join(slower)}")


if __name__ == "__main__":
    main()
