"""Scores of translations equal sacrebleu's public functions, and the choices made for languages without spaces."""

import json
import sys

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from moduformer.errors import DataError
from moduformer.metrics.translation import bleu_tokenizer, translation_metrics

texts = st.lists(st.sampled_from(["the", "cat", "sat", "on", "mats", "Mats.", "A", "!"]), max_size=9).map(" ".join)


@given(st.lists(st.tuples(texts, st.lists(texts, min_size=2, max_size=2)), min_size=1, max_size=6), st.booleans())
@settings(max_examples=25, deadline=None)
def test_scores_equal_sacrebleu(rows, lowercase):
    predictions, references = [p for p, _ in rows], [r for _, r in rows]
    streams = [list(stream) for stream in zip(*references)]
    found = translation_metrics(predictions, references, lowercase=lowercase)
    bleu = sacrebleu.corpus_bleu(predictions, streams, lowercase=lowercase, force=True)
    assert found.bleu.value == found.score == pytest.approx(bleu.score)
    assert found.precisions == pytest.approx(tuple(bleu.precisions))
    assert (found.system_length, found.reference_length) == (bleu.sys_len, bleu.ref_len)
    chrf = sacrebleu.CHRF(lowercase=lowercase), sacrebleu.CHRF(word_order=2, lowercase=lowercase)
    assert found.chrf.value == pytest.approx(chrf[0].corpus_score(predictions, streams).score)
    assert found.chrf_plus_plus.value == pytest.approx(chrf[1].corpus_score(predictions, streams).score)
    assert found.ter.value == pytest.approx(sacrebleu.corpus_ter(predictions, streams).score)
    for score in (found.bleu, found.chrf, found.chrf_plus_plus, found.ter):
        assert score.interval[0] <= score.interval[1]


def test_signatures_say_what_was_counted():
    found = translation_metrics(["고양이가 앉았다"], [["고양이가 앉았다", "고양이가 앉아 있다"]], language="ko")
    assert f"nrefs:2|case:mixed|eff:no|tok:char|smooth:exp|version:{sacrebleu.__version__}" == found.bleu.signature
    assert "nc:6|nw:2" in found.chrf_plus_plus.signature
    assert "tok:tercom" in found.ter.signature
    assert (found.tokenizer, found.bleu.value) == ("char", pytest.approx(100))


@pytest.mark.parametrize(
    ("language", "tokenizer"),
    [
        ("ko", "char"),
        ("ja_JP", "char"),
        ("jpn_Jpan", "char"),
        ("zh-CN", "zh"),
        ("de", "13a"),
        (None, "13a"),
        ("TH", "char"),
    ],
)
def test_languages_without_spaces(language, tokenizer):
    assert bleu_tokenizer(language) == tokenizer


def test_texts_may_have_different_numbers_of_references():
    found = translation_metrics(["a b c d", "e f g h"], [["x", "a b c d"], "e f g h"])
    assert found.bleu.value == pytest.approx(100)
    assert found.bleu.signature.startswith("nrefs:var|")


def test_intervals_are_near_sacrebleus():
    predictions = ["the cat sat on the mat", "a dog ran in the park today", "we eat rice"] * 40
    references = ["the cat sat on a mat", "the dog ran in a park", "we eat bread"] * 40
    found = translation_metrics(predictions, references, kinds=("bleu",))
    theirs = sacrebleu.BLEU().corpus_score(predictions, [references], n_bootstrap=1000)
    low, high = found.bleu.interval
    assert ((high - low) / 2, (high + low) / 2) == (
        pytest.approx(theirs._ci, rel=0.15),
        pytest.approx(theirs._mean, rel=0.02),
    )
    assert found.chrf is None
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["ter"] is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: translation_metrics([], []), "no translations"),
        (lambda: translation_metrics(["a"], []), "1 predictions for 0"),
        (lambda: translation_metrics([None], ["a"]), "prediction 0 is NoneType"),
        (lambda: translation_metrics(["a"], [[]]), "translation 0 has no reference"),
        (lambda: translation_metrics(["a"], [[None]]), "NoneType"),
        (lambda: translation_metrics(["a"], ["a"], kinds=("meteor",)), "meteor"),
        (lambda: translation_metrics(["a"], ["a"], kinds=()), "choose from"),
        (lambda: translation_metrics(["a"], ["a"], tokenizer="flores200"), "choose one of 13a"),
    ],
)
def test_wrong_input_is_a_data_error(call, words):
    with pytest.raises(DataError, match=words):
        call()


def test_what_is_not_installed_is_named(monkeypatch):
    from sacrebleu.tokenizers import tokenizer_ko_mecab

    monkeypatch.setattr(tokenizer_ko_mecab, "MeCab", None)
    with pytest.raises(DataError, match=r"sacrebleu\[ko\]"):
        translation_metrics(["가"], ["가"], tokenizer="ko-mecab")
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(DataError, match=r"moduformer\[seq2seq\]"):
        translation_metrics(["a"], ["a"])


def test_published_systems(shared):
    folder = shared / "data" / "fixtures" / "sacrebleu_wmt17"
    rows = [
        json.loads(line) for line in (folder / "wmt17_en_de_systems.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    system = "newstest2017.uedin-nmt.4722.en-de"
    predictions, references = [row[system] for row in rows], [row["ref"] for row in rows]
    figures = expected[system]
    plain = translation_metrics(predictions, references, tokenizer="none", kinds=("bleu",))
    assert plain.bleu.value == pytest.approx(figures["bleu_none"])
    assert plain.precisions == pytest.approx(tuple(figures["precisions_none"]))
    assert (plain.system_length, plain.reference_length) == (figures["sys_len"], figures["ref_len"])
    found = translation_metrics(predictions, references, "de", kinds=("bleu",))
    assert found.bleu.value == pytest.approx(figures["bleu_13a"])
    assert found.bleu.interval[0] < found.bleu.value < found.bleu.interval[1]
    ter = translation_metrics(predictions[:300], references[:300], kinds=("ter",))
    assert ter.ter.value == pytest.approx(figures["ter_first300"])
