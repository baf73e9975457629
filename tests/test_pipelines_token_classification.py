"""What the token-classification pipeline does that `transformers` 4 never did: long texts, legal tags, exact places."""

import sys
from pathlib import Path

import numpy as np
import pytest

import moduformer as mf
from moduformer.errors import PipelineError
from moduformer.pipelines.token_classification import TokenClassification
from moduformer.pipelines.token_reading import Words, tokenized
from moduformer.pipelines.windowing import best_windows, windower

sys.path.insert(0, str(Path(__file__).with_name("contract")))

from small_models import bert, byte_level, decided, meta_space, roberta

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
NAMED = {"num_labels": 5, "id2label": dict(enumerate(TAGS)), "label2id": {tag: i for i, tag in enumerate(TAGS)}}
KOREAN = "김철수는 서울에서 살았다. 이 영화 정말 재미 없다!"
LONG = " ".join([KOREAN, "Kim lives in Seoul, and works at Samsung; the film was unworkable."] * 40)


@pytest.fixture(scope="module")
def pipes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TokenClassification]:
    place = tmp_path_factory.mktemp("taggers")
    decided(bert(place / "pieces", "ForTokenClassification", **NAMED))
    decided(roberta(place / "bytes", "ForTokenClassification", byte_level(False), **NAMED))
    decided(roberta(place / "spaces", "ForTokenClassification", meta_space(), **NAMED))
    return {name: mf.pipeline("ner", str(place / name)) for name in ("pieces", "bytes", "spaces")}


def obeys_bio(pipe: TokenClassification, tagged) -> bool:
    tags = [tagged.scheme.labels[i] for i in tagged.path]
    return all(
        after[0] != "I" or (before != "O" and before[2:] == after[2:]) for before, after in zip(["O", *tags], tags)
    )


@pytest.mark.parametrize("name", ["pieces", "bytes", "spaces"])
def test_a_long_text_is_read_whole_and_its_spans_stand_where_they_say(pipes, name: str):
    pipe = pipes[name]
    (found,) = pipe.predict(LONG, scheme="bio")
    assert found.windows > 5
    assert not found.truncated
    assert found.tokens.offsets[-1, 1] == len(LONG)
    assert found.spans[-1].end > len(LONG) - 80
    assert obeys_bio(pipe, found)
    assert not np.array_equal(found.scores[found.units].argmax(1), found.path), "nothing to mend: the test is idle"
    for before, span in zip([None, *found.spans], found.spans):
        assert LONG[span.start : span.end] == span.text
        assert span.text == span.text.strip() != ""
        assert before is None or before.end <= span.start
    shaped = pipe(LONG, aggregation_strategy="bio", scheme="bio")
    assert [entity["word"] for entity in shaped] == [span.text for span in found.spans]
    assert list(shaped[0]) == ["entity_group", "score", "word", "start", "end"]
    assert type(shaped[0]["score"]) is float
    # Tokens of every strategy reach the end too, where `transformers` 4 would have stopped reading.
    assert pipe(LONG, aggregation_strategy="simple", ignore_labels=[])[-1]["end"] == len(LONG)
    assert pipe(LONG, truncation=True, ignore_labels=[])[-1]["end"] < len(LONG) / 5


def test_every_token_is_read_where_it_has_most_context(pipes):
    model = pipes["pieces"].model
    for length, stride in ((32, 8), (20, 12), (16, 0)):
        read = windower(model, length, stride)
        (text,) = tokenized(read, [LONG])
        wanted = [text.windows.best_for_token(token) for token in range(text.seen)]
        assert best_windows(text.windows).tolist() == wanted
        (found,) = pipes["pieces"].predict(LONG, max_length=length, stride=stride)
        token = text.windows[3].start_token + stride + 2
        part = found.parts[wanted[token]]
        assert np.array_equal(found.scores[token], part[1 + token - text.windows[wanted[token]].start_token])


def test_a_text_in_a_crowd_is_the_text_alone(pipes):
    texts = [LONG, KOREAN, "", "Kim", LONG[:700]]
    for one, many in zip([pipes["pieces"].predict(text)[0] for text in texts], pipes["pieces"].predict(texts)):
        assert np.abs(one.scores - many.scores).max(initial=0) < 1e-5
        assert [span[:4] for span in map(_plain, one.spans)] == [span[:4] for span in map(_plain, many.spans)]


def _plain(span) -> tuple:
    return span.type, span.start, span.end, span.text, span.score


def test_a_syllable_of_several_tokens_has_one_tag(pipes):
    text = "김해 뷁쉛을 봤다"
    (found,) = pipes["bytes"].predict(text)
    assert len(found.tokens.ids) > len(found.units)
    assert len(set(found.tokens.trimmed()[found.units, 0].tolist())) == len(found.units)
    for span in found.spans:
        assert text[span.start : span.end] == span.text
    edges = [edge for span in found.spans for edge in (span.start, span.end)]
    assert edges == sorted(edges)


def test_whole_words_do_not_break_inside_a_word(pipes):
    (found,) = pipes["pieces"].predict(LONG, whole_words=True)
    for span in found.spans:
        assert not (span.start and LONG[span.start - 1].isalnum() and LONG[span.start].isalnum())
        assert not (LONG[span.end - 1].isalnum() and LONG[span.end : span.end + 1].isalnum())


@pytest.mark.parametrize("name", ["pieces", "bytes", "spaces"])
def test_words_get_a_tag_each(pipes, name: str):
    words = ["Kim", "철수", "lives", "\u200d", "in", "서울에서", "!"]
    (found,) = pipes[name].predict(words, is_split_into_words=True, scheme="bio")
    tags = found.word_tags()
    assert len(tags) == len(words)
    assert found.text == " ".join(words)
    for span in found.spans:
        assert found.text[span.start : span.end] == span.text
    (again,) = pipes[name].predict([words], is_split_into_words=True, delimiter="", scheme="bio")
    assert again.text == "".join(words)
    if name != "bytes":
        assert again.word_tags() == tags
    assert Words(("a", "bc"), "--").spans == [(0, 1), (3, 5)]


def test_details_on_request(pipes):
    for strategy in ("bio", "simple", "none"):
        entities = pipes["pieces"](LONG, aggregation_strategy=strategy, details=True)
        windows = [entity["window"] for entity in entities]
        assert windows == sorted(windows)
        assert {entity["windows"] for entity in entities} == {max(windows) + 1}
        assert not any(entity["truncated"] for entity in entities)


def test_inputs_are_taken_as_results_are_asked_for(pipes):
    taken = []

    def source():
        for number in range(9):
            taken.append(number)
            yield KOREAN

    results = pipes["pieces"](source(), batch_size=2)
    assert taken == []
    next(results)
    assert taken == [0, 1]


@pytest.mark.parametrize(
    ("inputs", "options", "word"),
    [
        ([KOREAN, None], {}, "input 1"),
        (KOREAN, {"aggregation_strategy": "simpel"}, "did you mean 'simple'"),
        (KOREAN, {"aggregation_strategy": "none", "stride": 2}, "stride"),
        (KOREAN, {"stride": 128, "aggregation_strategy": "simple"}, "stride"),
        (KOREAN, {"scheme": "bilou"}, "bilou"),
        (KOREAN, {"is_split_into_words": True}, "list of words"),
        ([KOREAN, KOREAN], {"offset_mapping": [[(0, 1)]]}, "offset_mapping"),
        (KOREAN, {"ignore_label": []}, "did you mean 'ignore_labels'"),
    ],
)
def test_errors_name_what_is_wrong(pipes, inputs, options: dict, word: str):
    with pytest.raises(PipelineError, match=word):
        pipes["pieces"](inputs, **options)


def test_a_model_without_tags_is_refused(tmp_path: Path):
    with pytest.raises(PipelineError, match="no tags"):
        TokenClassification(mf.load(bert(tmp_path, "Model")))
