"""Answers out of texts: edges of words and windows, typed records, streams, mistakes."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import moduformer as mf
from moduformer.errors import PipelineError
from moduformer.pipelines.question_answering import QuestionAnswering
from moduformer.pipelines.question_windows import question_windower
from moduformer.pipelines.spans import best_spans, probabilities_of, whole_text

sys.path.insert(0, str(Path(__file__).parent / "contract"))
from small_models import bert

CONTEXT = "Kim lives in Seoul and works at Samsung. Anna lives in Paris by the river."
KOREAN = "김 철수는 서울에서 살았다."
LONG = " ".join([CONTEXT, KOREAN] * 12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.set_num_threads(1)
    return bert(tmp_path_factory.mktemp("answers"), "ForQuestionAnswering", scale=0.8)


@pytest.fixture(scope="module")
def pipe(folder):
    return mf.pipeline("question-answering", model=folder)


def marked(pipe, monkeypatch, wanted):
    """Makes the model mark the tokens of the context whose text is the first and the last of `wanted`."""
    tokenizer = pipe.tokenizer
    first, last = (tokenizer.token_to_id(token) for token in wanted)

    def logits(model, encoded, head, **_):
        rows = [np.array(encoded.ids.row(i)) for i in range(len(encoded))]
        return [torch.tensor(np.stack([(row == first) * 9.0, (row == last) * 9.0], 1)) for row in rows]

    monkeypatch.setattr("moduformer.pipelines.question_answering.predict_tokens", logits)


def test_a_particle_is_cut_off_in_typed_results_and_on_request(pipe, monkeypatch):
    marked(pipe, monkeypatch, ("서울", "서울"))
    assert pipe.predict({"question": "어디", "context": KOREAN})[0].best.text == "서울"
    assert pipe(question="어디", context=KOREAN)["answer"] == "서울에서"
    assert pipe(question="어디", context=KOREAN, align_to_words=False)["answer"] == "서울"
    own = mf.pipeline("question-answering", model=pipe.model, align_to_words=False)
    assert own(question="어디", context=KOREAN)["answer"] == "서울"


def test_no_edge_of_a_window_loses_an_answer(pipe, monkeypatch):
    marked(pipe, monkeypatch, ("samsung", "google"))
    by_window = set()
    for before in range(60, 100, 3):
        context = "the river " * (before // 2) + "a " * (before % 2) + "Samsung lives in the old city by Google. "
        context += "the river " * 40
        asked = {"question": "who", "context": context, "max_seq_len": 40, "doc_stride": 2, "max_answer_len": 9}
        by_window.add(pipe.predict(**asked, by_window=True)[0].best.text)
        found = pipe.predict(**asked)[0]
        assert found.windows > 3
        assert found.best.text == "Samsung lives in the old city by Google"
        assert context[found.best.start : found.best.end] == found.best.text
    assert len(by_window) > 1, "an edge would have lost it"


def test_typed_results_of_one_window_are_those_of_a_call(pipe):
    typed = pipe.predict(question="who works?", context=CONTEXT, top_k=5)[0]
    called = pipe(question="who works?", context=CONTEXT, top_k=5, align_to_words=False)
    assert [(a.text, a.start, a.end) for a in typed.answers] == [(c["answer"], c["start"], c["end"]) for c in called]
    np.testing.assert_allclose([a.score for a in typed.answers], [c["score"] for c in called], rtol=1e-9)


def test_typed_scores_are_one_distribution_over_a_long_text(pipe):
    found = pipe.predict(
        question="who?", context=LONG, top_k=100_000, max_answer_len=100_000, max_seq_len=40, doc_stride=8
    )[0]
    assert found.windows > 10
    scores = [answer.score for answer in found.answers]
    assert scores == sorted(scores, reverse=True)
    assert 0 < sum(scores) + found.null_score <= 1
    assert all(LONG[a.start : a.end] == a.text == a.text.strip() != "" for a in found.answers)


def test_best_spans_are_those_of_every_span():
    rng = np.random.default_rng(0)
    starts, ends = rng.random((2, 40))
    every = sorted(((starts[i] * ends[j], i, j) for i in range(40) for j in range(i, min(40, i + 7))), reverse=True)
    first, last, score = best_spans(starts, ends, 7, 30)
    assert [(i, j) for _, i, j in every[:30]] == list(zip(first.tolist(), last.tolist()))
    np.testing.assert_allclose(score, [product for product, _, _ in every[:30]])
    assert len(best_spans(starts[:2], ends[:2], 7, 30)[0]) == 3
    assert len(best_spans(np.zeros(5), ends[:5], 7, 30)[0]) == 0


def test_probabilities_leave_out_what_cannot_be_an_answer():
    found = probabilities_of(np.array([1000.0, -1000.0, 0.0]), np.array([False, True, True]))
    np.testing.assert_allclose(found, [0, 0, 1])


def test_tokens_are_read_where_they_have_most_context(pipe):
    reader = question_windower(pipe.model, 40, 10)
    row = reader(["who?"], [LONG])[0]
    logits = [np.full((len(window), 2), float(window.index)) for window in row.windows]
    read = whole_text(logits, row.windows)[:, 0]
    assert read.tolist() == [row.windows.best_for_token(token) for token in range(len(read))]


def test_a_batch_gives_what_single_questions_give(pipe):
    pairs = [("who?", CONTEXT), ("where does he live and work", KOREAN), ("when", LONG), ("how is it?", "Seoul")]
    together = pipe.predict(pairs, top_k=3)
    for pair, found in zip(pairs, together):
        alone = pipe.predict(pair, top_k=3)[0]
        assert [(a.text, a.start) for a in alone.answers] == [(a.text, a.start) for a in found.answers]
        np.testing.assert_allclose([a.score for a in alone.answers], [a.score for a in found.answers], rtol=1e-5)


def test_a_question_is_never_cut_and_details_say_so(pipe):
    long = "who or what " * 30  # "or" is two tokens
    found = pipe(question=long, context=LONG, max_question_len=8, details=True)
    assert found["question_tokens"] == 120
    assert found["truncated"] is False
    assert found["windows"] > 3
    with pytest.raises(PipelineError, match="question 1 has 480 tokens"):
        pipe([{"question": "who", "context": CONTEXT}, {"question": long * 4, "context": CONTEXT}])


def test_impossible_answers(pipe, monkeypatch):
    marked(pipe, monkeypatch, ("[CLS]", "[CLS]"))
    for ask in (pipe, lambda **kw: vars(pipe.predict(**kw)[0].best) | {"answer": pipe.predict(**kw)[0].best.text}):
        assert ask(question="who?", context=LONG, handle_impossible_answer=True)["answer"] == ""
        assert ask(question="who?", context=LONG, handle_impossible_answer=False)["answer"] != ""
    assert pipe.predict(question="who?", context=" ", handle_impossible_answer=True)[0].best.score == 1
    assert pipe.predict(question="who?", context=" ")[0].answers == ()


def test_generators_are_read_as_answers_are_asked_for(pipe):
    taken = []

    def questions():
        for number in range(5):
            taken.append(number)
            yield {"question": "who?", "context": CONTEXT}

    found = pipe(questions(), batch_size=2)
    assert taken == []
    assert next(found)["score"] > 0
    assert taken == [0, 1]
    assert len(list(found)) == 4
    assert len(list(pipe.stream((("who?", CONTEXT) for _ in range(3)), batch_size=1))) == 3


def test_objects_with_texts_are_questions(pipe):
    example = SimpleNamespace(question_text="who?", context_text=CONTEXT)
    assert pipe(example) == pipe(question="who?", context=CONTEXT)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ([], {}, "question= and context="),
        (["who?"], {}, "a text alone"),
        ([[{"question": "a", "context": "b"}, {"question": "who?"}]], {}, "input 1: has no context"),
        ([], {"question": "", "context": CONTEXT}, "input 0: the question is empty"),
        ([], {"question": None, "context": CONTEXT}, "input 0: the question is missing"),
        ([], {"question": 3, "context": CONTEXT}, "input 0: the question is a int"),
        ([], {"question": ["a"], "context": ["b", "c"]}, "1 questions but 2 contexts"),
        ([], {"question": "a", "context": ["b", "c"]}, "as many questions"),
        ([[3]], {}, "input 0: is a int"),
        ([], {"question": "a", "context": "b", "top_k": 0}, "top_k is 0"),
        ([], {"question": "a", "context": "b", "max_answer_len": 0}, "max_answer_len is 0"),
        ([], {"question": "a", "context": "b", "doc_stride": -1}, "doc_stride is -1"),
        ([], {"question": "a", "context": "b", "doc_stride": 400}, "more than a window"),
        ([], {"question": "a", "context": "b", "topp_k": 1}, "did you mean 'top_k'"),
    ],
)
def test_what_is_no_question_is_refused(pipe, args, kwargs, message):
    with pytest.raises(PipelineError, match=message):
        pipe(*args, **kwargs)


def test_a_model_without_the_head_is_refused(tmp_path):
    with pytest.raises(PipelineError, match="question-answering head"):
        QuestionAnswering(mf.load(bert(tmp_path, "ForSequenceClassification")))
