"""`QuestionAnswerer`: answers in, answers out; long contexts; no answer; files that transformers reads."""

import random

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from sklearn.base import clone
from tiny_models import FILL, WORDS, tiny_encoder

import moduformer as mf
from moduformer.errors import CheckpointError, DataError, TextError
from moduformer.metrics.answering import squad_metrics
from moduformer.pipelines.question_windows import question_windower
from moduformer.tasks.answerer_training import marked_tokens, metric_for, window_targets
from moduformer.train.gold_answers import GoldAnswer
from moduformer.train.questions import questions_from_lists

FAST = {"epochs": 8, "learning_rate": 5e-3, "batch_size": 16}
QUESTION = "was it very"


def lessons(rows, seed=0, longest=12, without=0.0):
    """Contexts of fill words around one or two words that answer, and those."""
    rng = random.Random(seed)
    X, y = [], []
    for _ in range(rows):
        before, after = ([rng.choice(FILL) for _ in range(rng.randint(0, longest))] for _ in range(2))
        answer = [] if rng.random() < without else rng.choices(WORDS["pos"], k=rng.randint(1, 2))
        start = len(" ".join(before)) + bool(before)
        X.append((QUESTION, " ".join([*before, *answer, *after, "."])))
        y.append({"text": " ".join(answer), "answer_start": start} if answer else None)
    return X, y


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    torch.set_num_threads(1)
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def fitted(encoder):
    return mf.QuestionAnswerer(encoder, **FAST).fit(*lessons(200))


def test_learns_and_answers(fitted):
    X, y = lessons(50, seed=1)
    answers = fitted.predict(X)
    assert fitted.score(X, y) > 0.9
    assert fitted.score(X, y) == pytest.approx(squad_metrics(answers, [[one["text"]] for one in y]).f1 / 100)
    for (_, context), found in zip(X, fitted.answers(X, top_k=2)):
        assert all(context[one.start : one.end] == one.text for one in found.answers)
        assert found.answers[0].score >= found.answers[-1].score
    assert fitted.answers(X[:1], top_k=2)[0].best.text == answers[0]
    assert "" not in answers


def test_inputs_of_any_container(fitted):
    X, y = lessons(4, seed=2)
    expected = fitted.predict(X)
    assert fitted.predict([{"question": q, "context": c} for q, c in X]) == expected
    assert fitted.predict(pd.DataFrame(X)) == expected
    assert fitted.predict(pd.DataFrame(X, columns=["question", "context"])[["context", "question"]]) == expected
    assert fitted.predict(iter(X)) == expected
    assert fitted.predict([]) == []
    assert fitted.score(X, [one["text"] for one in y]) == fitted.score(X, y)
    with pytest.raises(DataError, match=r"X\[1\] is no question"):
        fitted.predict([X[0], "text"])


def test_no_answer_is_learned(encoder):
    made = mf.QuestionAnswerer(encoder, **FAST).fit(*lessons(240, without=0.5))
    assert made.impossible_
    X, y = lessons(60, seed=4, without=0.5)
    answers = made.predict(X)
    assert sum((answer == "") == (one is None) for answer, one in zip(answers, y)) > 54
    assert made.score(X, y) > 0.85


def test_long_contexts_are_learned_and_read_whole(encoder, fitted):
    X, y = lessons(30, seed=5, longest=150)
    assert fitted.score(X, y) > 0.8
    made = mf.QuestionAnswerer(encoder, max_length=32, stride=8, **FAST | {"epochs": 1}).fit(X, y)
    assert made.report_["windows"] > 100
    assert made.report_["windows_without_answer"] > 50
    assert made.report_["tokens_dropped"] == 0


def test_windows_without_the_whole_answer_have_none(fitted):
    X, y = lessons(20, seed=6, longest=80)
    read = question_windower(fitted.model_, 24, 6)
    questions = questions_from_lists([q for q, _ in X], [c for _, c in X], y)
    lesson = marked_tokens(read, questions)
    assert len(lesson.encoded) == len(lesson.wanted) == lesson.report["windows"]
    assert lesson.misaligned == []
    at, held = 0, 0
    for row, (_, context), gold in zip(read(questions.questions, questions.contexts), X, y):
        for window in row.windows:
            first, last = lesson.wanted[at].tolist()
            assert lesson.encoded.ids.row(at) == window.ids
            offsets = [window.offsets[i] for i, source in enumerate(window.source_tokens) if source >= 0]
            whole = offsets[0][0] <= gold["answer_start"] and gold["answer_start"] + len(gold["text"]) <= offsets[-1][1]
            assert (first == 0) == (last == 0) == (not whole)
            if whole:
                assert context[window.offsets[first][0] : window.offsets[last][1]] == gold["text"]
            held += whole
            at += 1
    assert held >= len(X)


def test_an_answer_within_a_token_takes_the_token_and_is_listed(fitted):
    read = question_windower(fitted.model_)
    row = read([QUESTION], ["a lovely film"])[0]
    targets, learned = window_targets(row, GoldAnswer("ovel", 3))
    assert learned == "lovely"
    assert targets[0][0] == targets[0][1] > 0
    assert window_targets(row, None) == ([(0, 0)], "")
    made = mf.QuestionAnswerer(fitted.model, epochs=1).fit([(QUESTION, "a lovely film")], ["ovel"])
    assert [str(one) for one in made.misaligned_] == [
        "question 0: 'ovel' does not align with tokens; learned as 'lovely'"
    ]


def test_transformers_loads_the_folder_and_agrees(fitted, tmp_path):
    X, _ = lessons(8, seed=7)
    fitted.save(tmp_path)
    loaded = mf.QuestionAnswerer.load(tmp_path)
    assert loaded.predict(X) == fitted.predict(X)
    assert loaded.get_params() == fitted.get_params() | {"model": str(fitted.model), "device": None}
    assert mf.pipeline("question-answering", model=tmp_path)(question=X[0][0], context=X[0][1])["score"] > 0
    theirs = transformers.AutoModelForQuestionAnswering.from_pretrained(tmp_path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    batch = tokenizer([q for q, _ in X], [c for _, c in X], return_tensors="pt", padding=True)
    with torch.no_grad():
        expected, found = theirs(**batch), loaded.model_(**batch)
    real = batch["attention_mask"].bool()
    for name in ("start_logits", "end_logits"):
        np.testing.assert_allclose(getattr(found, name)[real], getattr(expected, name)[real], rtol=1e-4, atol=1e-4)


def test_a_checkpoint_that_answers_goes_on_learning(fitted, tmp_path):
    fitted.save(tmp_path)
    X, y = lessons(30, seed=8)
    again = mf.QuestionAnswerer(tmp_path, epochs=1, learning_rate=1e-6).fit(X, y)
    assert again.score(X, y) == pytest.approx(fitted.score(X, y), abs=0.05)


@pytest.mark.parametrize("recipe", ["lora", "ulmfit"])
def test_other_recipes_learn_too(encoder, recipe):
    made = mf.QuestionAnswerer(encoder, recipe, epochs=1, batch_size=16).fit(*lessons(32))
    assert made.recipe_.name == recipe
    assert len(made.predict(lessons(3)[0])) == 3


def test_patience_chooses_by_rows_set_aside(encoder):
    X, y = lessons(60, seed=9)
    made = mf.QuestionAnswerer(encoder, **FAST | {"epochs": 2}, patience=1).fit(X, y, eval_set=lessons(10, seed=10))
    names = set(made.history_.evaluations[0].metrics)
    assert {"f1", "exact_match", "choice_f1", "choice_exact_match"} <= names
    assert clone(made).get_params() == made.get_params()
    with pytest.raises(Exception, match="not learned"):
        clone(made).predict(X)


def test_equal_seeds_give_equal_models(encoder):
    made = [mf.QuestionAnswerer(encoder, epochs=1).fit(*lessons(20)) for _ in range(2)]
    for one, other in zip(made[0].model_.parameters(), made[1].model_.parameters()):
        assert torch.equal(one, other)


def test_the_metric_is_that_of_the_data():
    def metric(context, *answers):
        return metric_for(questions_from_lists(["q"] * len(answers), [context] * len(answers), answers))

    assert metric("서울에서 Kim 살았다", "서울") == "korquad"
    assert metric("in Seoul", "Seoul") == "squad"
    assert metric("in Seoul", "Seoul", None) == "squad_v2"


@pytest.mark.parametrize(
    ("parameters", "X", "y", "error", "message"),
    [
        ({}, [("q", "a b")], [None], DataError, "none of its 1 questions has an answer"),
        ({}, [("q", "a b")], ["c"], DataError, "row 1: the answer 'c' is not in the context"),
        ({}, [("q", "a b")], ["a", "b"], DataError, "1 questions but 2 answers"),
        ({}, ["a b"], ["a"], DataError, r"X\[0\] is no question"),
        ({"recipe": "features"}, [("q", "a b")], ["a"], DataError, "for whole texts"),
        ({"metric": "bleu"}, [("q", "a b")], ["a"], DataError, "metric is 'bleu'"),
        (
            {"max_length": 2},
            [("q", "a b")],
            ["a"],
            DataError,
            "max_length is 2; it must be a whole number of at least 8",
        ),
        ({"max_answer_length": 0}, [("q", "a b")], ["a"], DataError, "max_answer_length is"),
        ({"patience": 0}, [("q", "a b")], ["a"], DataError, "patience is"),
        ({"epochs": 0}, [("q", "a b")], ["a"], DataError, "epochs"),
        ({"max_length": 16}, [("the film was very " * 9, "a b")], ["a"], TextError, "question 0 has"),
    ],
)
def test_what_cannot_be_learned_says_why(encoder, parameters, X, y, error, message):
    with pytest.raises(error, match=message):
        mf.QuestionAnswerer(encoder, **parameters).fit(X, y)


def test_evaluation_without_answers_needs_training_without(encoder):
    with pytest.raises(DataError, match="row 2: question 1 has no answer"):
        mf.QuestionAnswerer(encoder).fit([(QUESTION, "a b")], ["a"], eval_set=([("q", "a")] * 2, ["a", None]))


def test_folders_without_an_answerer_are_refused(encoder, tmp_path):
    with pytest.raises(CheckpointError):
        mf.QuestionAnswerer.load(encoder)
    mf.TextClassifier(encoder, epochs=1).fit(["good film", "bad film"], [1, 0]).save(tmp_path)
    with pytest.raises(CheckpointError):
        mf.QuestionAnswerer.load(tmp_path)
    (tmp_path / "answerer.json").write_text("[" * 10_000)
    with pytest.raises(CheckpointError, match="answerer"):
        mf.QuestionAnswerer.load(tmp_path)
