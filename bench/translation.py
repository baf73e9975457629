"""From a bottleneck to the Transformer: German to English captions of Multi30k, one architecture after another.

    python bench/translation.py run [--only seq2seq-gru transformer] [--epochs 10] [--rows 29000]
    python bench/translation.py table

`run` trains each from nothing on the same pairs and appends one JSON line to bench/results/translation.jsonl; what is
there is skipped. `table` prints BLEU beside the figures of Ben Trevett's course (pytorch-seq2seq), which are measured
otherwise: words split by spaCy and lower-cased, greedy, BLEU of tokens. Here sub-words are learnt from the pairs, texts
are lower-cased too, and BLEU is sacreBLEU's, greedy and with beams of five. The captions are for research only;
no weights are shipped.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
RESULTS = ROOT / "bench" / "results" / "translation.jsonl"

PUBLISHED = {
    "seq2seq-lstm": ("one vector between two LSTMs (Sutskever et al. 2014)", 13.76),
    "seq2seq-gru": ("the vector read again at every step (Cho et al. 2014)", 20.61),
    "seq2seq-gru-bahdanau": ("attention (Bahdanau et al. 2015)", 28.30),
    "transformer": ("attention alone (Vaswani et al. 2017), 3 + 3 layers of 256", 36.52),
}
"""What each adds, and the course's BLEU."""


def run_one(name: str, epochs: int, rows: int) -> dict[str, Any]:
    """Trains one architecture and scores the captions of 2016."""
    import pandas as pd

    import moduformer as mf
    from moduformer.metrics.translation import translation_metrics

    folder = Path(os.environ.get("MODUFORMER_SHARED", ROOT.parent / "shared")) / "data" / "multi30k"
    train, test = (pd.read_parquet(folder / f"{part}.parquet") for part in ("train", "test2016"))
    train = train.iloc[:rows]
    pairs = [[text.lower() for text in table[language]] for table in (train, test) for language in ("de", "en")]
    learner = mf.Seq2Seq(name, epochs=epochs, batch_size=128, source_language="de", target_language="en", num_beams=1)
    start = time.perf_counter()
    learner.fit(pairs[0], pairs[1])
    seconds = time.perf_counter() - start
    bleu = {}
    for beams in (1, 5):
        written = learner.predict(pairs[2], num_beams=beams)
        found = translation_metrics(written, [[text] for text in pairs[3]], "en", kinds=("bleu",))
        assert found.bleu is not None
        bleu[beams] = found.bleu.value
    return {
        "model": name,
        "rows": len(train),
        "epochs": epochs,
        "parameters": learner.model_.num_parameters(),
        "greedy": round(bleu[1], 2),
        "beams": round(bleu[5], 2),
        "seconds": round(seconds),
    }


def finished() -> list[dict[str, Any]]:
    """All runs so far."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.is_file() else []


def table() -> str:
    """The runs beside the published figures."""
    lines = [
        "| model | what it is | parameters | pairs, epochs | BLEU, greedy | five beams | the course |",
        "|---" * 7 + "|",
    ]
    for name, (words, course) in PUBLISHED.items():
        for row in (row for row in finished() if row["model"] == name):
            lines.append(
                f"| {name} | {words} | {row['parameters'] / 1e6:.1f} M | {row['rows']:,}, {row['epochs']} "
                f"| {row['greedy']:.1f} | {row['beams']:.1f} | {course:.1f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """`run` or `table`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["run", "table"])
    parser.add_argument("--only", nargs="+", default=list(PUBLISHED), choices=list(PUBLISHED))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rows", type=int, default=29_000)
    options = parser.parse_args()
    if options.command == "table":
        print(table())
        return
    done = {(row["model"], row["rows"], row["epochs"]) for row in finished()}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        if (name, options.rows, options.epochs) not in done:
            row = run_one(name, options.epochs, options.rows)
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
