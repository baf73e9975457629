"""Trains the models that come with the package, packs them, measures what was packed, and writes their cards.

    python recipes/defaults/make.py make sentiment-en ner-en --data ../shared/data
    python recipes/defaults/make.py table

Every step is a command of the library that anybody can run; the card names them. `table` prints the held-out figures of
all that have been made, as docs/defaults.md shows them.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from preparing import KINDS, mark, pairs_of_directions, prepare
from safetensors.torch import load_file, save_file

import moduformer as mf
from moduformer.lora import Lora, file_names
from moduformer.quantize import quantize

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "moduformer" / "defaults"
SEED = 0

FIGURES: dict[str, dict[str, str]] = {
    "classify": {"accuracy": "accuracy", "macro_f1": "macro F1", "majority_accuracy": "most frequent class",
                 "calibration_error": "calibration error"},
    "tag": {"f1": "F1 of entities", "precision": "precision", "recall": "recall"},
    "answer": {"f1": "F1", "exact_match": "exact match"},
    "entail": {"accuracy": "accuracy", "majority_accuracy": "most frequent class"},
    "lm": {"perplexity": "perplexity of hidden tokens"},
    "translate": {"bleu": "BLEU", "chrf": "chrF"},
}  # fmt: skip
"""What is shown of a kind's metrics, the first as its headline."""

PIPELINES = {
    "classify": "text-classification",
    "tag": "token-classification",
    "answer": "question-answering",
    "entail": "zero-shot-classification",
    "lm": "fill-mask",
    "translate": "translation",
}


def main() -> None:
    """Reads the table of defaults and does what is asked."""
    every = tomllib.loads((HERE / "defaults.toml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("names", nargs="+", choices=every)
    making.add_argument("--data", type=Path, required=True, help="the folder of the data sets")
    making.add_argument("--work", type=Path, default=Path("runs/defaults"), help="where runs are written")
    commands.add_parser("table")
    options = parser.parse_args()
    if options.command == "table":
        print(table(every))
        return
    for name in options.names:
        make(name, every[name], options.data, options.work / name)


def make(name: str, about: dict[str, Any], data: Path, work: Path) -> None:
    """Prepares the files, trains, packs and measures one default."""
    work.mkdir(parents=True, exist_ok=True)
    files = {part: work / f"{part}.jsonl" for part in ("train", "held_out")}
    rows = {part: prepare(about, part, data, path) for part, path in files.items()}
    run = work / "run"
    adapters, recipe = "scratch" not in about, "plain" if "difference" in about else "lora"
    start = ["--model", about["base"], "--recipe", recipe] if adapters else ["--model", about["scratch"]]
    steps = []
    if "first" in about:
        before = work / "first"
        steps.append(train_first(about, data, before))
        start[1] = before / "run"
    learn = ["train", files["train"], *KINDS[about["kind"]][1], *start,
             "--evaluation", files["held_out"], "--seed", SEED, "--out", run]  # fmt: skip
    train(learn, about["options"], run)
    folder = PACKAGE / name
    if "difference" in about:
        extract(run, about["base"], about["difference"])
    if adapters:
        pack(run / "adapter", folder)
    else:
        pack_whole(run, folder, about.get("languages", {}), about.get("quantized"))
    measured, figures = {}, FIGURES[about["kind"]]
    translates = about["kind"] == "translate"
    tests = directions(about, data, work) if translates else {"held out": files["held_out"]}
    for test in about.get("also", []):
        tests[test] = work / f"{test.partition('/')[0]}.jsonl"
        rows[test] = prepare(about | {"held_out": test}, "held_out", data, tests[test])
    steps.append(shown(learn))
    for test, path in tests.items():
        sides = zip(("--text", "--label"), test.split(" to ")) if translates else ()
        columns = [word for side in sides for word in side]
        measure = ["evaluate", folder.relative_to(HERE.parents[1]), path, *columns, "--json"]
        found = json.loads(moduformer(*measure, capture=True))
        measured[test] = {"rows": found.get("rows", found.get("examples"))} | {
            figure: value["value"] if isinstance(value := found[figure], dict) else value
            for figure in figures
            if found.get(figure) is not None
        }
        steps.append(shown(measure))
    (folder / "metrics.json").write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    pages = Environment(loader=FileSystemLoader(HERE), undefined=StrictUndefined, keep_trailing_newline=True)
    card = pages.get_template("card.md.jinja").render(
        name=name, rows=rows, measured=measured, figures=figures, steps=steps, seed=SEED, default=about,
        pipeline=PIPELINES[about["kind"]],
    )  # fmt: skip
    (folder / "README.md").write_text(card, encoding="utf-8")
    print(f"{folder}: {sum(file.stat().st_size for file in folder.iterdir()):,} bytes")


def train(command: list[object], options: dict[str, Any], run: Path) -> None:
    """Trains, or goes on training what was interrupted; `command` gets the options."""
    for option, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            command += [f"--{option.replace('_', '-')}", each]
    if not (run / "metrics.json").exists():
        moduformer(*command, *(["--resume"] if (run / "checkpoints").exists() else []))


def train_first(about: dict[str, Any], data: Path, work: Path) -> str:
    """Trains on something easier first, of which there is more; the command."""
    work.mkdir(parents=True, exist_ok=True)
    first = about | about["first"]
    prepare(first, "train", data, work / "train.jsonl")
    learn = ["train", work / "train.jsonl", *KINDS[first["kind"]][1], "--model", about["base"], "--recipe", "plain",
             "--seed", SEED, "--out", work / "run"]  # fmt: skip
    train(learn, first["options"], work / "run")
    return shown(learn)


def extract(run: Path, base: str, rank: int) -> None:
    """Writes, as adapters of a rank, what a model learned that was fine-tuned whole; see `Lora.between`."""
    tuned = mf.load(run)
    task = {"classify": "text-classification", "tag": "token-classification", "span": "question-answering"}
    model = mf.load(base, task[tuned.spec.heads[-1].kind], labels=tuned.labels, new_head=True)
    lora = Lora.between(model, tuned, rank)
    lora.save(run / "adapter", model, file_names(model).__getitem__, base=base)
    (run / "adapter" / "config.json").write_bytes((run / "config.json").read_bytes())


def pack(adapter: Path, folder: Path) -> None:
    """Adapters and head in half precision, beside the config that names the labels."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.to(torch.float16) for key, value in load_file(adapter / "adapter_model.safetensors").items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_model.safetensors").chmod(0o644)
    for name in ("adapter_config.json", "config.json"):
        (folder / name).write_bytes((adapter / name).read_bytes())


def pack_whole(run: Path, folder: Path, languages: dict[str, Any], scheme: str | None = None) -> None:
    """A whole model in half precision, its linear layers in the codes of `scheme` where one is given; that of a
    translator says what stands before the texts of every direction."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.to(torch.float16) for key, value in load_file(run / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        if (run / name).is_file():
            kept = json.loads((run / name).read_text(encoding="utf-8"))
            (folder / name).write_text(
                json.dumps(kept, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8"
            )
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    pairs = {pair for first, second, _ in languages.values() for pair in ((first, second), (second, first))}
    if pairs:
        config["task_specific_params"] = {
            f"translation_{given}_to_{asked}": {"prefix": mark(asked)} for given, asked in sorted(pairs)
        }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if scheme is not None:
        coded = quantize(mf.load(folder), scheme)
        assert coded.quantization is not None
        coded.quantization.save(coded, folder)
    (folder / "model.safetensors").chmod(0o644)


def directions(about: dict[str, Any], data: Path, work: Path) -> dict[str, Path]:
    """The held-out pairs of every direction as files, by its name."""
    files = {}
    for name, pairs in pairs_of_directions(about, data):
        files[name] = work / f"{name.replace(' ', '-')}.jsonl"
        lines = (json.dumps(pair, ensure_ascii=False) for pair in pairs)
        files[name].write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return files


def table(every: dict[str, Any]) -> str:
    """The held-out figures of the defaults that have been made, as Markdown."""
    lines = [
        "| name | base | learnt from | rows held out | figure | nearest known model |",
        "|---" * 6 + "|",
    ]
    total = 0
    for name, about in every.items():
        folder = PACKAGE / name
        if not (folder / "metrics.json").is_file():
            continue
        total += sum(file.stat().st_size for file in folder.iterdir())
        headline, words = next(iter(FIGURES[about["kind"]].items()))
        measured = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        for test, found in measured.items():
            place = "" if test == "held out" else f", {test}" if about["kind"] == "translate" else f" of {test}"
            value = found[headline]
            figure = f"{words} {value:.3f}" if value < 1.5 else f"{words} {value:.1f}"
            same = [f"`{name}`", about["base"], f"{about['citation']} ({about['licence']})"]
            said = [f"{found['rows']:,}{place}", figure, about["nearest"]]
            if test != next(iter(measured)):
                same, said[-1] = [""] * 3, ""
            lines.append(f"| {' | '.join(same + said)} |")
    lines.append("")
    lines.append(f"Together {total / 1e6:.1f} MB.")
    return "\n".join(lines)


def moduformer(*arguments: object, capture: bool = False) -> str:
    """Runs a command of the library; its output if `capture`."""
    command = [sys.executable, "-m", "moduformer", *map(str, arguments)]
    print("$", shown(list(arguments)), flush=True)
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE if capture else None)
    return done.stdout or ""


def shown(arguments: list[object]) -> str:
    """A command as a person types it."""
    return shlex.join(["moduformer", *map(str, arguments)])


if __name__ == "__main__":
    main()
