"""ROUGE against rouge-score on English, with and without a stemmer, and by hand on Korean."""

import json
import unicodedata

import pytest
from cost import bounded_cost
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from moduformer.errors import DataError
from moduformer.metrics.summaries import ascii_words, rouge, summary_metrics, syllables, words

KINDS = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
SOME = ["the", "cats", "running", "Sat", "sat", "on", "mat.", "flies", "U.S.-based", "3,000", "\n", "--", "it's", "a"]
texts = st.lists(st.sampled_from(SOME), max_size=14).map(" ".join)


@pytest.fixture(scope="module")
def stem():
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer().stem


@given(texts, st.lists(texts, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_english_equals_rouge_score(prediction, references):
    expected = RougeScorer(KINDS).score_multi(references, prediction)
    for tokens in ("words", "ascii-words"):
        found = rouge(prediction, references, tokens)
        for kind in KINDS:
            ours = [found[kind].precision, found[kind].recall, found[kind].f1]
            assert ours == pytest.approx(list(expected[kind]), abs=1e-12), kind


@given(texts, texts)
@settings(max_examples=60, deadline=None)
def test_english_equals_rouge_score_with_a_stemmer(stem, prediction, reference):
    expected = RougeScorer(KINDS, use_stemmer=True).score(reference, prediction)
    found = rouge(prediction, reference, stemmer=stem)
    assert [found[kind].f1 for kind in KINDS] == pytest.approx([expected[kind].fmeasure for kind in KINDS], abs=1e-12)


@given(st.text(max_size=40), st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_ascii_words_equal_rouge_score_on_any_text(prediction, reference):
    expected = RougeScorer(KINDS).score(reference, prediction)
    found = rouge(prediction, reference, "ascii-words")
    assert [found[kind].f1 for kind in KINDS] == pytest.approx([expected[kind].fmeasure for kind in KINDS], abs=1e-12)


def test_korean_by_hand():
    reference, prediction = "서울에 비가 많이 왔다.", "서울은 비가 왔다"
    assert RougeScorer(["rouge1"]).score(reference, prediction)["rouge1"].fmeasure == 0
    found = rouge(prediction, reference)
    # 2 of 3 words are right, of 4 to be found; no pair is shared; 비가 ... 왔다 is the common subsequence.
    assert (found["rouge1"].precision, found["rouge1"].recall) == (2 / 3, 2 / 4)
    assert found["rouge1"].f1 == pytest.approx(4 / 7)
    assert (found["rouge2"].f1, found["rougeL"].f1) == (0, pytest.approx(4 / 7))
    # 서 울 [에] 비 가 [많 이] 왔 다 against 서 울 [은] 비 가 왔 다
    apart = rouge(prediction, reference, tokens="syllables")
    assert (apart["rouge1"].precision, apart["rouge1"].recall) == (6 / 7, 6 / 9)
    assert (apart["rouge2"].precision, apart["rouge2"].recall) == (3 / 6, 3 / 8)
    assert apart["rougeL"].recall == 6 / 9


def test_tokens_of_many_scripts():
    assert words("GPT-4는 3개의 Café…") == ["gpt", "4는", "3개의", "café"]
    assert words("हिन्दी में") == ["हिन्दी", "में"]
    assert words(unicodedata.normalize("NFD", "한국 café")) == ["한국", "café"]
    assert syllables("서울시 2024년 BERT를 日本語です") == [
        *"서울시", "2024", "년", "bert", "를", *"日本語です"
    ]  # fmt: skip
    assert ascii_words("Café 3개") == ["caf", "3"]
    assert words("--- 。！") == []


def test_means_and_intervals():
    found = summary_metrics(["a b", "c", ""], ["a b", ["d", "c e"], "f"])
    assert found.rouge1.precision == pytest.approx((1 + 1 + 0) / 3)
    assert found.rouge1.recall == pytest.approx((1 + 0.5 + 0) / 3)
    assert found.score == found.rougeL.f1 == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert (found.examples, found.tokens) == (3, "words")
    low, high = summary_metrics(["a b", "a c"] * 100, ["a b"] * 200).rouge1.interval
    # F1 is 1 or 1/2 with the same chance.
    half = 1.96 * 0.25 / 200**0.5
    assert (low, high) == (pytest.approx(0.75 - half, abs=0.01), pytest.approx(0.75 + half, abs=0.01))
    as_json = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (as_json["headline"], as_json["rouge2"]["precision"]) == ("rougeL.f1", pytest.approx(1 / 3))


def test_long_texts_take_no_table():
    long = " ".join(f"w{i * i % 977}" for i in range(4000))
    other = " ".join(f"w{i * 7 % 977}" for i in range(4000))
    with bounded_cost():
        assert rouge(long, long)["rougeLsum"].f1 == 1
        assert 0 < rouge(long, other)["rougeLsum"].f1 < 1


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: summary_metrics([], []), "no summaries"),
        (lambda: summary_metrics(["a"], ["a", "b"]), "1 predictions for 2"),
        (lambda: summary_metrics([None], ["a"]), "prediction 0 is NoneType"),
        (lambda: summary_metrics(["a"], [None]), "reference 0 is NoneType"),
        (lambda: summary_metrics(["a"], [[]]), "summary 0 has no reference"),
        (lambda: summary_metrics(["a"], [[3]]), "int"),
        (lambda: summary_metrics("a", "a"), "targets"),
        (lambda: rouge("a", []), "no reference"),
        (lambda: rouge("a", "a", tokens="bytes"), "words, syllables, ascii-words"),
    ],
)
def test_wrong_input_is_a_data_error(call, match):
    with pytest.raises(DataError, match=match):
        call()


def test_published_news_summaries(shared, stem):
    folder = shared / "data" / "fixtures" / "rouge_xsum"
    expected = json.loads((folder / "expected_rouge_score_ptgen300.json").read_text(encoding="utf-8"))["scores"]
    gold = (folder / "gold-test-sentences.txt").read_text(encoding="utf-8").splitlines()[:300]
    system = (folder / "ptgen-test-output.txt").read_text(encoding="utf-8").splitlines()[:300]
    for name, stemmer in (("stemmer_False", None), ("stemmer_True", stem)):
        found = summary_metrics(system, gold, "ascii-words", stemmer)
        for kind, scores in expected[name].items():
            rouge_of_kind = getattr(found, kind)
            ours = [rouge_of_kind.precision, rouge_of_kind.recall, rouge_of_kind.f1]
            assert ours == pytest.approx([scores["mean_p"], scores["mean_r"], scores["mean_f"]], abs=1e-12)
    # English is nearly ASCII: counting every script changes little.
    assert summary_metrics(system, gold).rouge1.f1 == pytest.approx(
        expected["stemmer_False"]["rouge1"]["mean_f"], abs=2e-3
    )


def test_published_long_texts(shared):
    folder = shared / "data" / "fixtures" / "rouge_t5"
    expected = json.loads((folder / "expected_bootstrap_results.json").read_text(encoding="utf-8"))
    target, prediction = (
        (folder / f"{name}_large.txt").read_text(encoding="utf-8").splitlines() for name in ("target", "prediction")
    )
    found = summary_metrics(prediction, target)
    assert set(expected) == {"rouge1", "rouge2", "rougeLsum"}
    for kind, value in expected.items():
        # The published figures are medians over resamples, which lie near the mean.
        assert 100 * getattr(found, kind).f1 == pytest.approx(value, abs=0.1)
