"""Windows over long text: nothing is lost, every offset is right, and the ids are those of `transformers`."""

import itertools
import json
import random

import pytest
from text_samples import CORPUS, TEXTS

from moduformer.errors import TextError
from moduformer.text.tokenizer import Tokenizer
from moduformer.text.windows import merge, windows

KINDS = ["wordpiece", "unigram", "bpe"]


@pytest.fixture(scope="module")
def tokenizers_by_kind():
    return {kind: Tokenizer.train(CORPUS, kind, 400) for kind in KINDS}


def plain(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False)


@pytest.mark.parametrize("kind", KINDS)
def test_every_token_is_seen_with_its_place_in_the_text(tokenizers_by_kind, kind):
    tokenizer = tokenizers_by_kind[kind]
    draw = random.Random(0)
    for _ in range(60):
        text = " ".join(draw.choice([*TEXTS, "한국어 👨‍👩‍👧 hello"]) for _ in range(draw.randint(1, 6)))
        encoding = plain(tokenizer, text)
        frame = tokenizer.frame()
        room = draw.randint(1, 12)
        length = room + sum(step.token_id is not None for step in frame)
        stride = draw.randint(0, room - 1)
        cut = windows(encoding, length, stride, frame)
        assert cut.report.tokens_total == cut.report.tokens_seen == len(encoding)
        assert cut.report.windows == len(cut)
        assert not cut.report.truncated
        where: dict[int, list[int]] = {}
        for window in cut:
            assert len(window) <= length
            assert len(window.ids) == len(window.offsets) == len(window.type_ids) == len(window.sequence_ids)
            for place, source in enumerate(window.source_tokens):
                if source < 0:
                    assert window.special_tokens_mask[place] == 1
                    assert window.sequence_ids[place] is None
                else:
                    where.setdefault(source, []).append(window.index)
                    assert window.ids[place] == encoding.ids[source]
                    assert window.offsets[place] == encoding.offsets[source]
                    start, end = encoding.offsets[source]
                    assert window.text_range[0] <= start <= end <= window.text_range[1]
        assert sorted(where) == list(range(len(encoding)))
        for token, indices in where.items():
            assert list(cut.of_token(token)) == indices
        for before, after in itertools.pairwise(cut):
            assert before.stop_token - after.start_token == stride


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pair", [False, True])
def test_windows_equal_the_overflow_of_transformers(tokenizers_by_kind, tmp_path, kind, pair):
    transformers = pytest.importorskip("transformers")
    tokenizer = tokenizers_by_kind[kind]
    tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    text = " ".join(text for text in TEXTS if len(text) < 100) * 3
    question = "무엇입니까 what?"
    given = (question, text) if pair else (text,)
    expected = theirs(
        *given,
        truncation="only_second" if pair else "only_first",
        max_length=40,
        stride=7,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_token_type_ids=True,
    )
    asked = {"question": plain(tokenizer, question)} if pair else {}
    cut = windows(plain(tokenizer, text), 40, 7, tokenizer.frame(pair=pair), **asked)
    assert [window.ids for window in cut] == expected["input_ids"]
    # Its overflowing windows trim byte-level offsets a second time, and lose the segments of RoBERTa-like frames.
    same = slice(None) if kind == "wordpiece" else slice(1)
    assert [window.offsets for window in cut][same] == expected["offset_mapping"][same]
    assert [window.type_ids for window in cut][same] == expected["token_type_ids"][same]
    assert [window.sequence_ids for window in cut] == [expected.sequence_ids(i) for i in range(len(cut))]
    assert len(cut) > 2


def test_short_and_empty_texts_make_one_window(tokenizers_by_kind):
    tokenizer = tokenizers_by_kind["wordpiece"]
    for text in ["", "hello"]:
        cut = windows(plain(tokenizer, text), 16, 4, tokenizer.frame())
        assert [window.ids for window in cut] == [tokenizer.encode(text).ids]
        assert cut.report.windows == 1
    assert cut.best_for_token(0) == 0
    cut = windows(plain(tokenizer, ""), 2, 0, tokenizer.frame())
    assert cut[0].text_range == (0, 0)


def test_leaving_something_out_is_said(tokenizers_by_kind):
    tokenizer = tokenizers_by_kind["wordpiece"]
    encoding = plain(tokenizer, "hello world " * 50)
    cut = windows(encoding, 12, 2, tokenizer.frame(), max_windows=3)
    assert cut.report.truncated
    assert (cut.report.tokens_total, cut.report.tokens_seen, cut.report.windows) == (len(encoding), 26, 3)
    assert list(cut.of_token(26)) == []
    assert cut.best_for_token(26) is None
    with pytest.raises(TextError, match="not among"):
        cut.of_token(len(encoding))


def test_best_window_has_most_context(tokenizers_by_kind):
    tokenizer = tokenizers_by_kind["wordpiece"]
    encoding = plain(tokenizer, "hello world " * 50)
    cut = windows(encoding, 12, 6, tokenizer.frame())
    for token in range(len(encoding)):
        best = cut.best_for_token(token)
        contexts = {
            index: min(token - cut[index].start_token, cut[index].stop_token - 1 - token)
            for index in cut.of_token(token)
        }
        assert contexts[best] == max(contexts.values())


def test_impossible_windows_are_refused(tokenizers_by_kind):
    tokenizer = tokenizers_by_kind["wordpiece"]
    encoding = plain(tokenizer, "hello world " * 9)
    frame = tokenizer.frame()
    for length, stride, words in [(2, 0, "room"), (0, 0, "room"), (12, 10, "share"), (12, -1, "share")]:
        with pytest.raises(TextError, match=words):
            windows(encoding, length, stride, frame)
    with pytest.raises(TextError, match="shorten the question"):
        windows(encoding, 12, 0, tokenizer.frame(pair=True), question=encoding)
    with pytest.raises(TextError, match="template"):
        windows(encoding, 12, 0, frame, question=encoding)
    with pytest.raises(TextError, match="template"):
        windows(encoding, 12, 0, tokenizer.frame(pair=True))
    with pytest.raises(TextError, match="max_windows"):
        windows(encoding, 12, 0, frame, max_windows=0)


def test_merging_scores():
    scores = [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]
    merged = merge(scores, weights=[10, 10, 10])
    assert merged.scores == pytest.approx([14 / 30, 16 / 30])
    assert merged.window == 1
    merged = merge(scores, weights=[100, 1, 1])
    assert merged.scores[0] == pytest.approx((90 + 0.2 + 0.3) / 102)
    assert merged.window == 0
    merged = merge(scores, "max")
    assert merged.scores == [0.9, 0.8]
    assert merged.window == 0
    assert merge([[1.0, 2.0]], weights=[0]).scores == [1.0, 2.0]
    json.dumps(merged.scores)
    for bad in [
        ([],),
        ([[]],),
        ([[1], [1, 2]],),
        (scores, "mean", [1]),
        (scores, "mean", [1, -1, 1]),
        (scores, "median"),
    ]:
        with pytest.raises(TextError):
            merge(*bad)
