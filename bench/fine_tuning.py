"""Fine-tuning speed and memory against the Hugging Face Trainer: same weights, same texts, same batch size.

    python bench/fine_tuning.py --rounds 3 [--data train.parquet --text text --label label_name --rows 2048]

Without --data, sentences of the Hutto & Gilbert (2014) set are used.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.measure import peak_memory, table, take_turns

CONTENDERS = ["trainer, dynamic padding", "trainer, grouped by length", "moduformer"]


def texts_and_labels(options: argparse.Namespace) -> tuple[list[str], list[int], list[str]]:
    """The first rows of the data in a fixed shuffled order, with class numbers and names."""
    import pandas

    if options.data:
        frame = pandas.read_parquet(options.data)
        texts, labels = frame[options.text].astype(str), frame[options.label].astype(str)
    else:
        from moduformer.sources.resolve import fetch_data

        folder = fetch_data("hutto-gilbert")
        parts = [
            pandas.read_csv(path, sep="\t", header=None, quoting=3, encoding="latin-1", on_bad_lines="skip")
            for path in sorted(folder.glob("*GroundTruth.txt"))
        ]
        frame = pandas.concat(parts, ignore_index=True)
        texts, labels = frame[2].astype(str), (frame[1].astype(float) > 0).astype(str)
    order = texts.sample(frac=1, random_state=0).index
    texts, labels = texts.loc[order].tolist(), labels.loc[order].tolist()
    texts, labels = texts[: options.rows], labels[: options.rows]
    names = sorted(set(labels))
    return texts, [names.index(label) for label in labels], names


def run_ours(options: argparse.Namespace) -> tuple[float, int]:
    """Seconds of one epoch, and rows."""
    import torch

    import moduformer as mf
    from moduformer.train.encoded import Encoded
    from moduformer.train.loop import train
    from moduformer.train.objectives import Classification
    from moduformer.train.settings import Settings

    torch.set_num_threads(options.threads)
    texts, labels, names = texts_and_labels(options)
    model = mf.load(options.model, task="text-classification", labels=names, new_head=True)
    rows = Encoded.of([encoding.ids[:512] for encoding in model.tokenizer.encode_batch(texts)])
    settings = Settings(epochs=1, batch_size=options.batch, learning_rate=5e-5, log_every=10**6)
    train(model, rows.select(range(64)), labels[:64], settings, objective=Classification())
    start = time.perf_counter()
    train(model, rows, labels, settings, objective=Classification())
    return time.perf_counter() - start, len(texts)


def run_trainer(options: argparse.Namespace, grouped: bool) -> tuple[float, int]:
    """Seconds of one epoch, and rows."""
    import torch
    import transformers
    from transformers import AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments

    from moduformer.sources.resolve import resolve

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(options.threads)
    texts, labels, names = texts_and_labels(options)
    folder = resolve(options.model).path
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(names))
    encoded = tokenizer(texts, truncation=True, max_length=512)
    rows = [
        {"input_ids": ids, "attention_mask": mask, "label": label, "length": len(ids)}
        for ids, mask, label in zip(encoded["input_ids"], encoded["attention_mask"], labels)
    ]

    def trainer(part: list[dict[str, object]]) -> Trainer:
        arguments = TrainingArguments(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=options.batch,
            num_train_epochs=1,
            learning_rate=5e-5,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            train_sampling_strategy="group_by_length" if grouped else "random",
        )
        return Trainer(model, arguments, DataCollatorWithPadding(tokenizer), part)  # type: ignore[arg-type]

    trainer(rows[:64]).train()
    measured = trainer(rows)
    start = time.perf_counter()
    measured.train()
    return time.perf_counter() - start, len(rows)


def main() -> None:
    """One contender (`--run`), or all of them in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", choices=CONTENDERS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--data")
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label_name")
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.run:
        run = run_ours if options.run == "moduformer" else lambda o: run_trainer(o, "grouped" in o.run)
        seconds, rows = run(options)
        print(json.dumps({"examples_per_second": rows / seconds, "seconds": seconds, "peak_mib": peak_memory()}))
        return
    found = take_turns(Path(__file__), CONTENDERS, options.rounds, sys.argv[1:])
    print(table(found, CONTENDERS[0], "examples_per_second"))


if __name__ == "__main__":
    main()
