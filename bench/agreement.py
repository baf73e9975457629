"""`transformers` gives a trained folder's probabilities: `python bench/agreement.py DIR DATA --text COL [--rows N]`."""

from __future__ import annotations

import argparse


def main() -> None:
    """Prints the largest difference of the two libraries' probabilities, and fails above 1e-5."""
    import torch
    import transformers

    import moduformer as mf
    from moduformer.train.tables import read_table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("data")
    parser.add_argument("--text", default="text")
    parser.add_argument("--rows", type=int, default=256)
    options = parser.parse_args()
    texts = read_table(options.data, [options.text]).frame[options.text].tolist()[: options.rows]
    ours = torch.tensor(mf.TextClassifier.load(options.folder).predict_proba(texts))
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(options.folder).eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(texts), 32):
            padded = tokenizer(texts[start : start + 32], padding=True, return_tensors="pt")
            parts.append(model(**padded).logits.softmax(-1))
    difference = float((ours - torch.cat(parts)).abs().max())
    print(f"{len(texts)} texts: largest difference of a probability {difference:.2e}")
    raise SystemExit(difference > 1e-5)


if __name__ == "__main__":
    main()
