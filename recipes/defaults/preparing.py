"""The rows a default learns from and is measured on, as files that `moduformer train` and `evaluate` read.

Every function takes a default's table and the folder of the data sets, and returns rows: those to train on and those
held out. A source is a file of a data set, or a part of one: `wikigold/all.jsonl[:80%]` is its first four fifths.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

Row = dict[str, Any]
SEED = 0
HYPOTHESIS = {"en": "This example is {}.", "ko": "이 글은 {}에 관한 것이다."}


def rows_of(source: str, data: Path) -> list[Row]:
    """The rows of a file, or of a part of it."""
    name, part = re.fullmatch(r"([^\[]+)(?:\[(.*)\])?", source).groups()  # type: ignore[union-attr]
    path = data / name
    if path.suffix == ".txt":
        rows = [{"text": line.strip()} for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    elif path.suffix == ".json":
        rows = list(_squad(path))
    elif path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    else:
        rows = (pd.read_parquet if path.suffix == ".parquet" else pd.read_csv)(path).to_dict("records")
    if part is None:
        return rows
    begin, end = (len(rows) * int(edge.rstrip("%") or whole) // 100 for edge, whole in zip(part.split(":"), (0, 100)))
    return rows[begin:end]


def sources_of(about: Row, part: str) -> list[str]:
    """The sources of "train" or "held_out": a list, where the table may name one alone."""
    return about[part] if isinstance(about[part], list) else [about[part]]


def classify(about: Row, sources: list[str], data: Path) -> Iterator[Row]:
    """A text and a label each; `names` are better names of labels."""
    names = about.get("names")
    for source in sources:
        for row in rows_of(source, data):
            text, label = row[about["text"]], row[about["label"]]
            if isinstance(text, str) and text.strip():
                yield {"text": text, "label": names[str(label)] if names else label}


def tag(about: Row, sources: list[str], data: Path) -> Iterator[Row]:
    """Words and their tags, or a text and its spans; `names` are the types that stay, under their names here."""
    names = about["names"]
    for source in sources:
        for row in rows_of(source, data):
            if "entities" in row:
                spans = [[s["start"], s["end"], names[s["label"]]] for s in row["entities"] if s["label"] in names]
                yield {"text": row["text"], "spans": spans}
            else:
                tags = [(mark, names.get(kind)) for mark, _, kind in (tag.partition("-") for tag in row["ner_tags"])]
                yield {
                    "tokens": list(row["tokens"]),
                    "tags": [f"{mark}-{kind}" if kind else "O" for mark, kind in tags],
                }


def answer(about: Row, sources: list[str], data: Path) -> Iterator[Row]:
    """Questions, contexts and answers."""
    for source in sources:
        yield from rows_of(source, data)


def sentences(about: Row, sources: list[str], data: Path) -> Iterator[Row]:
    """Questions beside a sentence that answers each, as questions whose answer is that sentence among its neighbours.

    Rows of one text follow one another, so neighbours speak of the same things. Sentences that stand in a held-out
    context are left out, and questions that are held out.
    """
    held = list(answer(about, sources_of(about, "held_out"), data))
    contexts = " ".join({bare(row["context"]) for row in held})
    questions = {bare(row["question"]) for row in held}
    chance = random.Random(SEED)
    for source in sources:
        rows = [row for row in rows_of(source, data) if bare(row["sentence"]) not in contexts]
        texts = list(dict.fromkeys(row["sentence"].strip() for row in rows))
        place = {text: number for number, text in enumerate(texts)}
        for row in rows:
            if bare(row["question"]) in questions:
                continue
            own = place[row["sentence"].strip()]
            first = max(0, own - chance.randrange(3))
            around = texts[first : first + 3]
            start = sum(len(text) + 1 for text in around[: own - first])
            yield {"id": f"{source}:{own}", "context": " ".join(around), "question": row["question"],
                   "answers": {"text": [texts[own]], "answer_start": [start]}}  # fmt: skip


def bare(text: str) -> str:
    """Letters and digits alone, lower-case: equal for a text and what a tokenizer of words made of it."""
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _squad(path: Path) -> Iterator[Row]:
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                found = question["answers"]
                answers = {key: [one[key] for one in found] for key in ("text", "answer_start")}
                yield {"id": question["id"], "context": paragraph["context"], "question": question["question"],
                       "answers": answers}  # fmt: skip


def entail(about: Row, sources: list[str], data: Path) -> Iterator[Row]:
    """Texts beside what is said of them: their own label (entailment) and another one (contradiction), as zero-shot
    classification asks (Yin et al. 2019). Half of the hypotheses follow the usual template, half are labels alone."""
    chance = random.Random(SEED)
    for source in sources:
        place = about["labels"][source.partition("/")[0]]
        rows = rows_of(source, data)
        chance.shuffle(rows)
        names = place.get("names", {})
        labelled = []
        for row in rows:
            own = row[place["label"]]
            listed = [own] if isinstance(own, str | int) else list(own)
            if len(listed) == 1 and isinstance(row[place["text"]], str) and row[place["text"]].strip():
                label = names.get(str(listed[0]), str(listed[0]).replace("_", " "))
                if label:
                    labelled.append((row[place["text"]], label))
        labelled = labelled[: place["most"]]
        every = sorted({label for _, label in labelled})
        for text, label in labelled:
            other = chance.choice([name for name in every if name != label])
            for said, verdict in ((label, "entailment"), (other, "contradiction")):
                template = chance.choice((HYPOTHESIS[place["language"]], "{}"))
                yield {"text": text, "hypothesis": template.format(said), "label": verdict}


def texts(about: Row, sources: list[str], data: Path) -> Iterator[Row]:
    """Texts alone, each once."""
    seen = set()
    for source in sources:
        columns = about["columns"].get(source.partition("/")[0], ["text"])
        for text in (row[column] for row in rows_of(source, data) for column in columns):
            if isinstance(text, str) and len(text) >= about["shortest"] and text not in seen:
                seen.add(text)
                yield {"text": text}


def translate(about: Row, sources: list[str], data: Path) -> Iterator[Row]:
    """Pairs in both directions; each source begins with a mark of the language that is asked for (Johnson et al. 2017).

    A data set says its languages, and how often its pairs are repeated, for a small set beside a large one.
    """
    names = names_of(about, data)
    for source in sources:
        first, second, times = about["languages"][source.partition("/")[0]]
        for row in rows_of(source, data):
            pair = {language: written(str(row[language]), language, names) for language in (first, second)}
            for asked, given in ((second, first), (first, second)):
                for _ in range(times):
                    yield {"source": mark(asked) + pair[given], "target": pair[asked]}


def pairs_of_directions(about: Row, data: Path) -> Iterator[tuple[str, list[Row]]]:
    """The held-out pairs of each direction: what it is called, and rows with a column a language, the source first."""
    names = names_of(about, data)
    for source in sources_of(about, "held_out"):
        first, second, _ = about["languages"][source.partition("/")[0]]
        rows = rows_of(source, data)
        for asked, given in ((second, first), (first, second)):
            pairs = [{side: written(str(row[side]), side, names) for side in (given, asked)} for row in rows]
            yield f"{given} to {asked}", pairs


def mark(language: str) -> str:
    """What stands before a text that is to be translated into a language."""
    return f">>{language}<< "


def names_of(about: Row, data: Path) -> dict[str, str]:
    """Words that English writes with a capital inside a sentence, by their lower case: at least four times, and nine
    times in ten."""
    count: dict[str, Counter[str]] = defaultdict(Counter)
    for source, column in about["cased"].items():
        for row in rows_of(source, data):
            for word in re.findall(r"(?<=[a-z,] )[A-Za-z]{2,}", str(row[column])):
                count[word.lower()][word] += 1
    best = {lower: forms.most_common(1)[0] for lower, forms in count.items() if sum(forms.values()) >= 4}
    return {
        lower: word
        for lower, (word, seen) in best.items()
        if word != lower and seen >= 0.9 * sum(count[lower].values())
    }


def written(text: str, language: str, names: dict[str, str]) -> str:
    """A text as people write it, where a data set has it in lower-case words and marks with spaces between them."""
    text = " ".join(text.split())
    if language == "ja":
        return re.sub(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])", "", text)
    if language == "en" and text == text.lower():
        text = re.sub(r" ('(?:t|s|m|d|re|ve|ll)\b|n't\b|[.,!?;:%])", r"\1", text)
        text = re.sub(r"[a-z]+", lambda word: names.get(word[0], word[0]), re.sub(r"\bi\b", "I", text))
        text = text[:1].upper() + text[1:]
    return text


KINDS: dict[str, tuple[Callable[[Row, list[str], Path], Iterator[Row]], list[str]]] = {
    "classify": (classify, ["--task", "classify", "--text", "text", "--label", "label"]),
    "tag": (tag, ["--task", "tag"]),
    "answer": (answer, ["--task", "answer"]),
    "sentences": (sentences, ["--task", "answer"]),
    "entail": (entail, ["--task", "classify", "--text", "text", "--pair", "hypothesis", "--label", "label"]),
    "translate": (translate, ["--task", "seq2seq", "--text", "source", "--label", "target"]),
    "lm": (texts, ["--task", "lm", "--text", "text"]),
}
"""How the rows of a kind of default are made, and what `moduformer train` is told of their columns."""


def prepare(about: Row, part: str, data: Path, target: Path) -> int:
    """Writes the rows of `part` ("train" or "held_out") as JSON lines; how many there are."""
    rows = list(KINDS[about["kind"]][0](about, sources_of(about, part), data))
    lines = (json.dumps(row, ensure_ascii=False, default=lambda value: value.tolist()) for row in rows)
    target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(rows)
