"""Text classification: shapes of Hugging Face 4, long texts in windows, the same score in any batch."""

import numpy as np
import pytest
import torch
from pipeline_models import POSITIONS, TEXTS, folder_of, long_text, small

import moduformer as mf
from moduformer.errors import PipelineError, TextError
from moduformer.pipelines.text_classification import TextClassification

NAMES = ("bad", "fair", "좋음")
PAIR = {"text": TEXTS[0], "text_pair": TEXTS[2]}


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    torch.set_num_threads(1)
    folder = folder_of(tmp_path_factory.mktemp("labels"), "BertForSequenceClassification", NAMES)
    return mf.pipeline("text-classification", str(folder))


def logits(model, text, pair=None):
    encoding = model.tokenizer.encode(text, pair)
    with torch.inference_mode():
        return model(torch.tensor([encoding.ids]), token_type_ids=torch.tensor([encoding.type_ids])).logits[0].double()


def test_shapes(pipe):
    wanted = logits(pipe.model, TEXTS[0]).softmax(-1)
    (found,) = pipe(TEXTS[0])
    assert list(found) == ["label", "score"]
    assert found["label"] == NAMES[int(wanted.argmax())]
    assert found["score"] == pytest.approx(float(wanted.max()), abs=1e-6)
    assert type(found["score"]) is float
    assert pipe([TEXTS[0]]) == [found]
    assert pipe(PAIR)["label"] in NAMES
    everything = pipe(TEXTS[0], top_k=None)
    assert [entry["score"] for entry in everything] == pytest.approx(sorted(wanted.tolist(), reverse=True), abs=1e-6)
    assert pipe([TEXTS[0]], top_k=None) == [everything]
    assert [entry["label"] for entry in pipe(TEXTS[0], return_all_scores=True)[0]] == list(NAMES)
    assert TextClassification(pipe.model, top_k=2)(TEXTS[0]) == [everything[:2]]
    assert pipe([]) == []


def test_ragged_batches_give_what_single_texts_give(pipe):
    inputs = [*TEXTS, PAIR, long_text(5), "a", "", {**PAIR, "text": long_text(4)}]
    for found, value in zip(pipe.predict(inputs), inputs):
        (single,) = pipe.predict(value)
        assert found.label == single.label
        np.testing.assert_allclose(list(found.scores.values()), list(single.scores.values()), atol=1e-5)


@pytest.mark.parametrize("how", ["mean", "max"])
def test_long_texts_are_read_to_the_end(pipe, how):
    text = long_text(6)
    (found,) = pipe.predict(text, merge=how, stride=0)
    ids = pipe.tokenizer.encode(text, add_special_tokens=False).ids
    room, cls, sep = POSITIONS - 2, pipe.tokenizer.cls_id, pipe.tokenizer.sep_id
    scores, sizes = [], []
    for start in range(0, len(ids), room):
        part = ids[start : start + room]
        with torch.inference_mode():
            scores.append(pipe.model(torch.tensor([[cls, *part, sep]])).logits[0].double().softmax(-1).numpy())
        sizes.append(len(part))
    wanted = np.average(scores, axis=0, weights=sizes) if how == "mean" else np.max(scores, axis=0)
    np.testing.assert_allclose(list(found.scores.values()), wanted / wanted.sum(), atol=1e-5)
    assert found.windows == len(sizes) > 3
    assert not found.truncated
    assert pipe.predict(text, stride=20)[0].windows > found.windows, "windows that overlap are more"


def test_truncation_is_told_where_details_are_asked_for(pipe):
    text = long_text(4)
    (told,) = pipe(text, truncation=True, details=True)
    assert list(told) == ["label", "score", "windows", "truncated"]
    assert told["truncated"]
    assert list(pipe(text, truncation=True)[0]) == ["label", "score"]
    (whole,) = pipe(text, details=True)
    assert not whole["truncated"]
    assert whole["windows"] > 2
    (short,) = pipe("a", truncation=True, details=True)
    assert (short["windows"], short["truncated"]) == (1, False)


def test_what_makes_scores_of_logits(pipe):
    raw = logits(pipe.model, TEXTS[1])
    for function, wanted in (("none", raw), ("sigmoid", raw.sigmoid()), ("softmax", raw.softmax(-1))):
        (found,) = pipe.predict(TEXTS[1], function_to_apply=function)
        np.testing.assert_allclose(list(found.scores.values()), wanted, atol=1e-5)
    one = TextClassification(small("BertForSequenceClassification", num_labels=1))
    (found,) = one.predict(TEXTS[1])
    assert found.score == pytest.approx(float(logits(one.model, TEXTS[1]).sigmoid()), abs=1e-6)
    assert found.label == "LABEL_0"


def test_mistakes_are_named(pipe):
    with pytest.raises(PipelineError, match="function_to_apply is 'tanh'"):
        pipe("a", function_to_apply="tanh")
    with pytest.raises(PipelineError, match="input 0: has the keys txt"):
        pipe({"txt": "a"})
    with pytest.raises(PipelineError, match="input 2: is a int, not a text"):
        pipe(["a", "b", 3])
    with pytest.raises(TextError, match="at most 48 tokens"):
        pipe("a", max_length=100)
    with pytest.raises(PipelineError, match="no classification head"):
        TextClassification(small("BertModel"))
