"""Trains a model that comes with the package, packs it, and writes its card.

    python recipes/defaults/make.py sentiment-en --data ../shared/data

Every step is a command of the library that anybody can run; the card names them. What is packed is measured after it
was packed, so the figures are those of the files in the package.
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

import pandas as pd
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from safetensors.torch import load_file, save_file

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "moduformer" / "defaults"
SEED = 0


def main() -> None:
    """Reads the table of defaults and makes those that are named."""
    table = tomllib.loads((HERE / "defaults.toml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=table)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data sets")
    parser.add_argument("--work", type=Path, default=Path("runs/defaults"), help="where runs are written")
    options = parser.parse_args()
    for name in options.names:
        make(name, table[name], options.data, options.work / name)


def make(name: str, about: dict[str, Any], data: Path, work: Path) -> None:
    """Prepares the files, trains, packs and measures one default."""
    work.mkdir(parents=True, exist_ok=True)
    train, held_out = (prepared(about, data / about[part], work / f"{part}.parquet") for part in ("train", "held_out"))
    run = work / "run"
    learn = ["train", train, "--task", about["task"], "--text", "text", "--label", "label", "--model", about["base"],
             "--evaluation", held_out, "--seed", SEED, "--out", run]  # fmt: skip
    for option, value in about["options"].items():
        learn += [f"--{option.replace('_', '-')}", value]
    if not (run / "metrics.json").exists():
        moduformer(*learn, *(["--resume"] if (run / "checkpoints").exists() else []))
    folder = PACKAGE / name
    pack(run / "adapter", folder)
    measure = ["evaluate", folder.relative_to(HERE.parents[1]), held_out, "--json"]
    metrics = json.loads(moduformer(*measure, capture=True))
    write_card(folder, name, about, len(pd.read_parquet(train)), metrics, [shown(learn), shown(measure)])
    print(f"{folder}: {sum(file.stat().st_size for file in folder.iterdir()):,} bytes")


def prepared(about: dict[str, Any], source: Path, target: Path) -> Path:
    """The file's texts and labels, under those names, without rows that lack one."""
    read = {".parquet": pd.read_parquet, ".csv": pd.read_csv}[source.suffix]
    table = read(source)[[about["text"], about["label"]]].set_axis(["text", "label"], axis=1).dropna()
    table = table[table.text.str.strip() != ""]
    if "names" in about:
        table["label"] = table.label.astype(str).map(about["names"])
    table.to_parquet(target, index=False)
    return target


def pack(adapter: Path, folder: Path) -> None:
    """Adapters and head in half precision, beside the config that names the labels."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.to(torch.float16) for key, value in load_file(adapter / "adapter_model.safetensors").items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    for name in ("adapter_config.json", "config.json"):
        (folder / name).write_bytes((adapter / name).read_bytes())


def write_card(
    folder: Path, name: str, about: dict[str, Any], rows: int, metrics: dict[str, Any], steps: list[str]
) -> None:
    """The model's card."""
    pages = Environment(loader=FileSystemLoader(HERE), undefined=StrictUndefined, keep_trailing_newline=True)
    text = pages.get_template("card.md.jinja").render(
        name=name, rows=rows, metrics=metrics, steps=steps, seed=SEED, **about
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


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
