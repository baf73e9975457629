"""`TokenClassifier`: entities and tags, long texts, scikit-learn's conventions, files that transformers reads."""

import json
import random
import re

import numpy as np
import pytest
import torch
from seqeval.metrics import f1_score
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from tiny_models import FILL, WORDS, tiny_encoder

from moduformer.errors import CheckpointError, DataError
from moduformer.metrics.tagging import Entity
from moduformer.pipelines.token_reading import Words, tokenized
from moduformer.pipelines.windowing import best_windows, windower
from moduformer.tasks.tagger_training import labelled_tokens, token_labels
from moduformer.tasks.token_classifier import TokenClassifier
from moduformer.text.tokenizer import Tokenizer
from moduformer.train.tagged import read_tagged, tagged_from_lists

FAST = {"epochs": 6, "learning_rate": 5e-3, "batch_size": 16}
KINDS = {"PER": WORDS["pos"], "LOC": WORDS["neg"]}


def sentences(rows: int, seed: int = 0, longest: int = 4) -> tuple[list[list[str]], list[list[str]]]:
    """Sentences of filling words with entities of one to three words of a kind among them, and their tags.

    Some words begin entities and others go on with them, which so small a model learns in a few steps.
    """
    rng = random.Random(seed)
    X, y = [], []
    for _ in range(rows):
        words, tags = [], []
        for _ in range(rng.randint(1, longest)):
            words.append(rng.choice(FILL))
            tags.append("O")
            kind = rng.choice(["PER", "LOC"])
            length = rng.randint(1, 3)
            words += [rng.choice(KINDS[kind][:2]), *rng.choices(KINDS[kind][2:], k=length - 1)]
            tags += [f"B-{kind}", *[f"I-{kind}"] * (length - 1)]
        X.append(words)
        y.append(tags)
    return X, y


def as_spans(words: list[str], tags: list[str]) -> tuple[str, list[tuple[int, int, str]]]:
    examples = tagged_from_lists([words], [tags])
    return examples.texts[0], [(span.start, span.end, span.type) for span in examples.spans[0]]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    torch.set_num_threads(1)
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def fitted(encoder):
    return TokenClassifier(encoder, **FAST).fit(*sentences(160))


def test_learns_tags_of_words_and_scores_as_seqeval_does(fitted):
    X, y = sentences(60, seed=1)
    found = fitted.predict(X)
    assert [len(tags) for tags in found] == [len(words) for words in X]
    assert fitted.score(X, y) == pytest.approx(f1_score(y, found))
    assert fitted.score(X, y) > 0.95
    assert fitted.classes_.tolist() == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert fitted.misaligned_ == []


def test_learns_spans_of_texts(encoder):
    rows = [as_spans(*pair) for pair in zip(*sentences(160))]
    made = TokenClassifier(encoder, **FAST).fit([text for text, _ in rows], [spans for _, spans in rows])
    tests = [as_spans(*pair) for pair in zip(*sentences(40, seed=1))]
    texts, wanted = [text for text, _ in tests], [spans for _, spans in tests]
    assert made.score(texts, wanted) > 0.95
    found = made.predict(texts)
    for text, spans, typed in zip(texts, found, made.predict_spans(texts)):
        assert [(s.start, s.end, s.type) for s in typed] == spans
        assert all(text[s.start : s.end] == s.text for s in typed)
    assert sum(a == b for a, b in zip(found, wanted)) > 30


def test_what_was_trained_on_words_does_not_break_the_words_of_a_text(encoder, fitted, tmp_path):
    text = "goodgreat goodxfilm lovelybadly awfuly good"
    back = TokenClassifier.load(fitted.save(tmp_path / "words"))
    for tagger in (fitted, back):
        (found,) = tagger.predict_spans([text])
        assert found
        edges = {edge for word in re.finditer(r"\S+", text) for edge in word.span()}
        assert all({span.start, span.end} <= edges for span in found)
    (tagged,) = fitted.pipeline.predict([text], whole_words=False)
    assert len(tagged.units) == len(tagged.tokens.ids) > len(fitted.tagged([text])[0].units) == 5


def test_long_sentences_are_read_in_windows(fitted):
    X, y = sentences(4, seed=2, longest=80)
    assert max(map(len, X)) > 64
    assert fitted.tagged(X)[0].windows > 1 or fitted.tagged(X)[1].windows > 1
    assert fitted.score(X, y) > 0.9


def test_every_token_of_a_long_text_is_learned_once_where_it_is_read(fitted):
    X, y = sentences(3, seed=3, longest=80)
    examples = tagged_from_lists(X, y)
    read = windower(fitted.model_, 32, 8)
    texts, labels, _ = labelled_tokens(read, examples, examples.labels)
    row = 0
    for text in texts:
        best, learned = best_windows(text.windows), []
        for window in text.windows:
            own = labels.row(row)
            assert len(own) == len(window.ids)
            assert own[0] == own[-1] == -100
            learned += [window.start_token + i - 1 for i, label in enumerate(own) if label != -100]
            assert all(best[window.start_token + i - 1] == window.index for i, label in enumerate(own) if label != -100)
            row += 1
        assert learned == list(range(len(text.ids)))
    assert row == len(labels)


def test_tags_without_marks(encoder):
    X, y = sentences(120)
    y = [[tag[2:] or "FILL" for tag in tags] for tags in y]
    made = TokenClassifier(encoder, **FAST).fit(X, y)
    assert made.classes_.tolist() == ["FILL", "LOC", "PER"]
    assert made.score(X, y) == np.mean([a == b for t, f in zip(y, made.predict(X)) for a, b in zip(t, f)])
    assert made.score(X, y) > 0.95
    text = " ".join(X[0])
    assert [span.type for span in made.predict_spans([text])[0]] == made.predict([X[0]])[0]


@pytest.mark.parametrize("recipe", ["plain", "ulmfit", "lora"])
def test_every_recipe_saves_what_transformers_reads(encoder, tmp_path, recipe):
    transformers = pytest.importorskip("transformers")
    X, y = sentences(40)
    made = TokenClassifier(encoder, recipe=recipe, epochs=2).fit(X, y)
    back = TokenClassifier.load(made.save(tmp_path / recipe))
    assert back.predict(X) == made.predict(X)
    assert back.get_params()["recipe"] == recipe
    assert back.classes_.tolist() == made.classes_.tolist()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / recipe)
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / recipe).eval()
    assert [theirs.config.id2label[i] for i in range(5)] == made.classes_.tolist()
    text = " ".join(X[0])
    with torch.no_grad():
        logits = theirs(**tokenizer(text, return_tensors="pt")).logits[0]
    found = made.tagged([text])[0].parts[0]
    np.testing.assert_allclose(found, logits.softmax(-1).numpy(), atol=1e-5)
    assert json.loads((tmp_path / recipe / "config.json").read_text())["architectures"] == [
        "BertForTokenClassification"
    ]


def test_equal_seeds_give_equal_models(encoder):
    X, y = sentences(32)
    first, second, other = (
        TokenClassifier(encoder, epochs=1, random_state=seed).fit(X, y).tagged(X)[0].scores for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 1e-4


def test_conventions_of_scikit_learn(encoder):
    made = TokenClassifier(encoder, epochs=1)
    assert clone(made).get_params() == made.get_params()
    X, y = sentences(24)
    search = GridSearchCV(made, {"learning_rate": [1e-3, 5e-3]}, cv=2).fit(X, y)
    assert set(search.best_params_) == {"learning_rate"}
    assert "epochs=1" in repr(made)
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        made.predict(X)


def test_patience_adaptation_and_balance(encoder):
    X, y = sentences(60)
    made = TokenClassifier(encoder, **(FAST | {"epochs": 8}), patience=1, adapt=True, class_weight="balanced").fit(X, y)
    assert made.history_.evaluations
    assert "choice_f1" in made.history_.evaluations[0].metrics
    assert made.recipe_.settings.metric == "choice_f1"


@pytest.mark.parametrize(
    ("parameters", "error", "says"),
    [
        ({"recipe": "features"}, DataError, "whole texts"),
        ({"class_weight": "heavy"}, DataError, "balanced"),
        ({"patience": 0}, DataError, "patience"),
        ({"max_length": 2}, DataError, "max_length"),
        ({"epochs": 0}, DataError, "epochs"),
        ({"model": "../nowhere"}, Exception, "nowhere"),
    ],
)
def test_what_cannot_be_is_refused(encoder, parameters, error, says):
    with pytest.raises(error, match=says):
        TokenClassifier(**({"model": encoder, "epochs": 1} | parameters)).fit(*sentences(8))


def test_rows_that_cannot_be_are_named(fitted, encoder, tmp_path):
    for X in (["a", ["b"]], [["a"], "b"], [None], "text"):
        with pytest.raises(DataError, match="X"):
            fitted.predict(X)
    assert fitted.predict([]) == []
    with pytest.raises(DataError, match="none of its 1 rows"):
        TokenClassifier(encoder, epochs=1).fit([["a"]], [["O"]])
    with pytest.raises(CheckpointError):
        TokenClassifier.load(encoder)


# Alignment -----------------------------------------------------------------------------------------------------------


def test_spans_that_do_not_align_with_tokens_are_listed_with_the_nearest(encoder, tmp_path):
    text = "the happy film was good"
    rows = [{"text": text, "spans": [[6, 9, "PER"], [19, 23, "LOC"]]}]
    path = tmp_path / "s.jsonl"
    path.write_text(json.dumps(rows[0]), encoding="utf-8")
    examples = read_tagged(path)
    made = TokenClassifier(encoder, epochs=1)
    trained = made.fit_examples(examples)
    (odd,) = trained.misaligned
    assert (odd.where, odd.type, odd.start, odd.end, odd.text) == ("s.jsonl line 1", "PER", 6, 9, text[6:9])
    assert (odd.nearest_start, odd.nearest_end, odd.nearest_text) == (4, 9, "happy")
    assert "does not align" in str(odd)


def labels_of(tokenizer: Tokenizer, text: str, spans: list[Entity], marked: bool = True):
    from moduformer.pipelines.windowing import Windower

    (read,) = tokenized(Windower(tokenizer, 64, 8, False), [text])
    return read, *token_labels(read, spans, marked)


def test_two_spans_in_one_token_leave_the_second_without_one():
    tokenizer = Tokenizer.train(["ab cd ef"] * 50, "wordpiece", 60)
    read, labels, odd = labels_of(tokenizer, "ab cd", [Entity("X", 0, 1), Entity("Y", 1, 2), Entity("Z", 3, 5)])
    assert read.text == "ab cd"
    assert labels[0] == "B-X"
    assert [span.nearest_text for span in odd] == ["ab", None]
    assert "B-Z" in labels


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "bpe"])
def test_labels_of_tokens_mark_the_spans_of_a_korean_text(kind):
    text = "김철수는 서울에서 살았다."
    tokenizer = Tokenizer.train([text, "철수 서울 살 다"] * 30, kind, 300)
    read, labels, odd = labels_of(tokenizer, text, [Entity("PS", 0, 3), Entity("LC", 5, 7)])
    places = read.trimmed()
    for kind_, start, end in (("PS", 0, 3), ("LC", 5, 7)):
        own = [label for label, (a, b) in zip(labels, places.tolist()) if label and label.endswith(kind_)]
        assert own[0] == f"B-{kind_}"
        assert set(own[1:]) <= {f"I-{kind_}"}
        held = [(a, b) for label, (a, b) in zip(labels, places.tolist()) if label and label.endswith(kind_)]
        assert held[0][0] <= start
        assert held[-1][1] >= end
        aligned = (held[0][0], held[-1][1]) == (start, end)
        assert aligned == (not any(span.type == kind_ for span in odd))


def test_words_the_tokenizer_drops_have_no_label_and_others_keep_theirs(encoder, fitted):
    words = Words(("good", "\u200d", "great", "film"))
    (text,) = tokenized(windower(fitted.model_), [words])
    numbers = text.word_of().tolist()
    assert 1 not in numbers
    assert set(numbers) == {0, 2, 3}
    tags = fitted.predict([list(words.words)])[0]
    assert len(tags) == 4
    assert tags[1] == "O"
