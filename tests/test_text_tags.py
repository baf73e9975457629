"""Schemes of tags and the best sequence that obeys them, beside trying every sequence."""

import itertools

import numpy as np
import pytest

from moduformer.errors import TextError
from moduformer.metrics.tagging import entities
from moduformer.text.tags import TagScheme, best_path

BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
BIOES = ["O", "B-X", "I-X", "E-X", "S-X"]


def legal(tags: list[str], kind: str) -> bool:
    """Said in words of its own: what each scheme allows between neighbours and at the ends."""
    if kind in ("io", "plain"):
        return True
    for before, after in itertools.pairwise(["O", *tags, "O"]):
        inside = before != "O" and after != "O" and before[2:] == after[2:]
        if kind == "bio" and after[0] == "I" and not inside:
            return False
        if kind == "iob1" and after[0] == "B" and not inside:
            return False
        if kind == "bioes":
            if before[0] in "BI" and not (after[0] in "IE" and inside):
                return False
            if before[0] not in "BI" and after[0] in "IE":
                return False
    return True


@pytest.mark.parametrize(
    ("labels", "kind"), [(BIO, "bio"), (BIO, "iob1"), (BIOES, "bioes"), (["O", "I-A", "I-B"], "io")]
)
def test_the_best_path_is_the_best_of_all_legal_ones(labels: list[str], kind: str):
    draw = np.random.default_rng(0)
    scheme = TagScheme.of(labels, kind)
    for length in (1, 2, 5):
        every = list(itertools.product(range(len(labels)), repeat=length))
        for _ in range(20):
            scores = np.log(draw.dirichlet(np.full(len(labels), 0.5), length))
            allowed = [path for path in every if legal([labels[i] for i in path], kind)]
            best = max(allowed, key=lambda path: sum(scores[i, tag] for i, tag in enumerate(path)))
            found = best_path(scores, scheme)
            assert legal([labels[i] for i in found], kind)
            assert found.tolist() == list(best)


def test_bio_and_iob1_are_told_apart_by_what_the_model_says():
    scheme = TagScheme.of(BIO)
    assert scheme.kind is None

    def peaked(*tags: str) -> np.ndarray:
        scores = np.full((len(tags), len(BIO)), 0.02)
        scores[np.arange(len(tags)), [BIO.index(tag) for tag in tags]] = 0.92
        return np.log(scores)

    for tags in (["O", "I-PER", "I-PER", "O", "I-LOC"], ["I-PER", "B-PER", "O"], ["O", "B-PER", "I-PER", "B-LOC"]):
        assert [BIO[i] for i in best_path(peaked(*tags), scheme)] == tags
    mended = best_path(peaked("B-PER", "I-LOC", "I-PER"), TagScheme.of(BIO, "bio"))
    assert legal([BIO[i] for i in mended], "bio")


def test_names_tell_the_scheme():
    assert TagScheme.of(["O", "B-X"]).kind == "bio"
    assert TagScheme.of(["O", "I-X"]).kind == TagScheme.of(["O", "PER", "LOC"]).kind == "io"
    assert TagScheme.of(["B-X", "U-X", "L-X", "I-X", "O"]).kind == "bioes"
    assert TagScheme.of(["NOUN", "VERB"]).kind == "plain"
    assert TagScheme.of(["O", "PER-B", "PER-I"]).types == ("", "PER", "PER")
    assert TagScheme.of(["O", "B", "I"]).types == ("", "_", "_")
    assert TagScheme.of(["O", "B-creative-work", "I-creative-work"]).types[1] == "creative-work"
    for wrong in ("iob", "io", "bioes"):
        with pytest.raises(TextError):
            TagScheme.of(["B-X", "I-X"] if wrong != "bioes" else ["NOUN"], wrong)


def test_stretches_are_the_entities_that_metrics_count():
    draw = np.random.default_rng(1)
    for labels in (BIO, BIOES):
        scheme = TagScheme.of(labels)
        for _ in range(200):
            path = draw.integers(0, len(labels), 6).tolist()
            wanted = [tuple(entity) for entity in entities([labels[i] for i in path])]
            assert [tuple(stretch) for stretch in scheme.stretches(path)] == wanted
    plain = TagScheme.of(["NOUN", "VERB"])
    assert [tuple(s) for s in plain.stretches([0, 0])] == [("NOUN", 0, 1), ("NOUN", 1, 2)]


def test_no_legal_path_gives_the_likeliest_tags():
    assert best_path(np.log([[0.4, 0.6]]), TagScheme.of(["B-X", "E-X"])).tolist() == [1]
    assert best_path(np.zeros((0, 2)), TagScheme.of(["B-X", "O"])).tolist() == []
