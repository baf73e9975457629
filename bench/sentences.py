"""Real ragged texts: the sentences of Hutto & Gilbert (2014), or a file's."""

from __future__ import annotations

from pathlib import Path


def sentences(rows: int, data: str | None = None, text: str = "text", label: str = "label") -> tuple[list[str], list]:
    """The first rows of the data in a fixed shuffled order: texts, and their labels as numbers from 0.

    Without `data`, a parquet file with columns `text` and `label`, these are reviews, tweets and editorials, and
    the label says whether people found them positive.
    """
    import pandas

    if data:
        frame = pandas.read_parquet(data)
        texts, labels = frame[text].astype(str), frame[label].astype(str)
    else:
        from moduformer.sources.resolve import fetch_data

        parts = [
            pandas.read_csv(path, sep="\t", header=None, quoting=3, encoding="latin-1", on_bad_lines="skip")
            for path in sorted(Path(fetch_data("hutto-gilbert")).glob("*GroundTruth.txt"))
        ]
        frame = pandas.concat(parts, ignore_index=True)
        texts, labels = frame[2].astype(str), (frame[1].astype(float) > 0).astype(str)
    order = texts.sample(frac=1, random_state=0).index
    found, kinds = texts.loc[order].tolist()[:rows], labels.loc[order].tolist()[:rows]
    names = sorted(set(kinds))
    return found, [names.index(kind) for kind in kinds]
