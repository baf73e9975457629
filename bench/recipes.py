"""The table of docs/recipes.md: every recipe on four data sets, three seeds, and 8, 64 or all labelled rows a class.

    python bench/recipes.py run [--only trec] [--shots 8 64 all] [--recipes plain ulmfit] [--seeds 0 1 2]
    python bench/recipes.py table

`run` appends one JSON line a finished run to bench/results/recipes.jsonl and skips what is already there, so it can be
stopped and started again; nothing is left out of the table because of its score. Data sets are read from the shared
folder beside the checkout (MODUFORMER_SHARED). Few-shot subsets are SetFit's: `df.sample(n, random_state=seed)` of
every class.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
RESULTS = ROOT / "bench" / "results" / "recipes.jsonl"


@dataclass(frozen=True)
class DataSet:
    """Where a data set lies, its columns, and the encoder for its language."""

    folder: str
    text: str
    label: str
    model: str
    suffix: str = "parquet"


DATA_SETS = {
    "trec": DataSet("trec", "text", "coarse", "minilm"),
    "rotten_tomatoes": DataSet("rotten_tomatoes", "text", "label", "minilm"),
    "emotion": DataSet("emotion", "text", "label_name", "minilm"),
    "ynat": DataSet("klue_ynat_dev", "title", "label", "e5-small"),
}

RECIPES = ("features", "plain", "lora", "ulmfit", "ulmfit, adapted", "contrast")
FOR_FEW = "contrast"
"""A recipe for few rows, which is not run on all of them."""
ADAPTED = ", adapted"
"""The encoder has first learned to guess masked words of the whole training split, for which nobody needs labels. That
is done once for a data set and a seed, and its time is not counted."""

EPOCHS = {"8": 30, "64": 15, "all": 3}
"""Few rows need more passes; the same number for every recipe that trains, but ulmfit's unfreezing needs eight."""

PRECISION = "bfloat16"
"""Matrix products in half precision: the whole table takes hours, and its spread over seeds is far wider."""


def run_one(name: str, recipe: str, shots: str, seed: int) -> dict[str, Any]:
    """Trains on one subset and scores the whole test split."""
    import moduformer as mf
    from moduformer.train.labelled_rows import read_examples
    from moduformer.train.splitting import few_shot

    data = DATA_SETS[name]
    folder = Path(os.environ.get("MODUFORMER_SHARED", ROOT.parent / "shared")) / "data" / data.folder
    paths = [next(folder.glob(f"{part}.*")) for part in ("train", "test")]
    train = read_examples(paths[0], data.text, data.label)
    everything = train.texts
    test = read_examples(paths[1], data.text, data.label, classes=train.classes)
    if shots != "all":
        train = few_shot(train, int(shots), seed)
    options: dict[str, Any] = {"recipe": recipe.removesuffix(ADAPTED), "model": data.model}
    if recipe.endswith(ADAPTED):
        options["model"] = adapted(data.model, name, everything, seed)
    if recipe != "features":
        options["epochs"] = max(EPOCHS[shots], 8) if options["recipe"] == "ulmfit" else EPOCHS[shots]
        options["precision"] = PRECISION
    classifier = mf.TextClassifier(random_state=seed, **options)
    start = time.process_time()
    classifier.fit(train.texts, train.labels)
    seconds = time.process_time() - start
    accuracy = classifier.score(test.texts, test.labels)
    return {
        "data": name,
        "recipe": recipe,
        "shots": shots,
        "seed": seed,
        "rows": len(train),
        "accuracy": float(accuracy),
        "seconds": round(seconds, 1),
        "epochs": options.get("epochs"),
        "precision": options.get("precision"),
    }


def adapted(model: str, name: str, texts: list[str], seed: int) -> str:
    """The encoder adapted to these texts: made when first asked for, then kept beside the checkout's runs."""
    import moduformer as mf

    folder = ROOT / "runs" / "bench" / f"adapted-{name}-{seed}"
    if not (folder / "language_model.json").is_file():
        learner = mf.LanguageModel(model, epochs=1, learning_rate=1e-4, precision=PRECISION, random_state=seed)
        learner.fit(texts).save(folder)
    return str(folder)


def finished() -> list[dict[str, Any]]:
    """All runs so far."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.is_file() else []


def run(options: argparse.Namespace) -> None:
    """Everything asked for that is not there yet, cheapest first."""
    done = {(row["data"], row["recipe"], row["shots"], row["seed"]) for row in finished()}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    for shots in options.shots:
        for seed in options.seeds:
            for name in options.only:
                for recipe in options.recipes:
                    if (name, recipe, shots, seed) in done or (recipe == FOR_FEW and shots == "all"):
                        continue
                    row = run_one(name, recipe, shots, seed)
                    with RESULTS.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                    print(row, file=sys.stderr, flush=True)


def table() -> str:
    """Mean and standard deviation of the accuracy, in percent, and mean processor seconds of training."""
    rows = finished()
    lines = ["| data | rows a class | recipe | accuracy | seconds | seeds |", "| --- | --- | --- | --- | --- | --- |"]
    for name in DATA_SETS:
        for shots in EPOCHS:
            for recipe in RECIPES:
                found = [r for r in rows if (r["data"], r["shots"], r["recipe"]) == (name, shots, recipe)]
                if not found:
                    continue
                scores = [100 * r["accuracy"] for r in found]
                spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
                seconds = statistics.mean(r["seconds"] for r in found)
                lines.append(
                    f"| {name} | {shots} | {recipe} | {statistics.mean(scores):.1f} ± {spread:.1f} "
                    f"| {seconds:.0f} | {len(found)} |"
                )
    return "\n".join(lines)


def main() -> None:
    """`run` or `table`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["run", "table"])
    parser.add_argument("--only", nargs="+", default=list(DATA_SETS), choices=list(DATA_SETS))
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--shots", nargs="+", default=list(EPOCHS), choices=list(EPOCHS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    if options.command == "run":
        run(options)
    else:
        print(table())


if __name__ == "__main__":
    main()
