"""Zero-shot classification: shapes of Hugging Face 4, long texts in windows that all labels share."""

import numpy as np
import pytest
import torch
from pipeline_models import TEXTS, folder_of, long_text, small

import moduformer as mf
from moduformer.errors import PipelineError
from moduformer.pipelines.zero_shot_classification import ZeroShotClassification

NAMES = ("contradiction", "neutral", "entailment")
LABELS = ["sports", "music and politics", "영화"]


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    torch.set_num_threads(1)
    folder = folder_of(tmp_path_factory.mktemp("entailment"), "BertForSequenceClassification", NAMES)
    return mf.pipeline("zero-shot-classification", str(folder))


def entailment(model, text, label, template="This example is {}."):
    encoding = model.tokenizer.encode(text, template.format(label))
    with torch.inference_mode():
        out = model(torch.tensor([encoding.ids]), token_type_ids=torch.tensor([encoding.type_ids]))
    return out.logits[0].double().numpy()


def test_scores_sum_to_one_over_the_labels(pipe):
    found = pipe(TEXTS[0], LABELS)
    assert list(found) == ["sequence", "labels", "scores"]
    logits = np.array([entailment(pipe.model, TEXTS[0], label)[2] for label in LABELS])
    wanted = np.exp(logits) / np.exp(logits).sum()
    assert found["labels"] == [LABELS[i] for i in np.argsort(-wanted)]
    np.testing.assert_allclose(found["scores"], np.sort(wanted)[::-1], atol=1e-5)
    assert all(type(score) is float for score in found["scores"])
    assert pipe([TEXTS[0]], LABELS) == [found]
    assert pipe(TEXTS[0], candidate_labels="sports, music and politics,영화 ,") == found


def test_labels_by_themselves_are_weighed_against_contradiction(pipe):
    found = pipe(TEXTS[2], LABELS, multi_label=True, hypothesis_template="이것은 {} 이다.")
    for label, score in zip(found["labels"], found["scores"]):
        logits = entailment(pipe.model, TEXTS[2], label, "이것은 {} 이다.")
        assert score == pytest.approx(np.exp(logits[2]) / (np.exp(logits[2]) + np.exp(logits[0])), abs=1e-5)
    alone = pipe(TEXTS[0], ["sports"])
    assert alone["scores"] == pipe(TEXTS[0], ["sports"], multi_label=True)["scores"]
    assert alone["scores"] != [1.0]


def test_ragged_batches_give_what_single_texts_give(pipe):
    texts = [*TEXTS, long_text(5), "a"]
    for one, text in zip(pipe(texts, LABELS), texts):
        single = pipe(text, LABELS)
        assert one["labels"] == single["labels"]
        np.testing.assert_allclose(one["scores"], single["scores"], atol=1e-5)


@pytest.mark.parametrize("how", ["mean", "max"])
def test_a_long_texts_windows_are_merged(pipe, how):
    text = f"{long_text(5)} 영화 영화"
    found = pipe(text, LABELS, details=True, merge=how, stride=0)
    assert list(found) == ["sequence", "labels", "scores", "windows", "truncated"]
    assert found["windows"] > 3
    assert not found["truncated"]
    ids = pipe.tokenizer.encode(text, add_special_tokens=False).ids
    sentences = [pipe.tokenizer.encode(f"This example is {label}.", add_special_tokens=False).ids for label in LABELS]
    room = 48 - 3 - max(map(len, sentences))
    cls, sep = pipe.tokenizer.cls_id, pipe.tokenizer.sep_id
    scores, sizes = [], []
    for start in range(0, len(ids), room):
        part = ids[start : start + room]
        sizes.append(len(part))
        logits = []
        for sentence in sentences:
            types = [0] * (len(part) + 2) + [1] * (len(sentence) + 1)
            row = torch.tensor([[cls, *part, sep, *sentence, sep]])
            with torch.inference_mode():
                logits.append(float(pipe.model(row, token_type_ids=torch.tensor([types])).logits[0, 2]))
        scores.append(np.exp(logits) / np.exp(logits).sum())
    wanted = np.average(scores, axis=0, weights=sizes) if how == "mean" else np.max(scores, axis=0)
    assert np.abs(np.average(scores, axis=0, weights=sizes) - np.mean(scores, axis=0)).max() > 1e-4
    wanted = dict(zip(LABELS, wanted / wanted.sum()))
    assert found["windows"] == len(sizes)
    np.testing.assert_allclose(found["scores"], [wanted[label] for label in found["labels"]], atol=1e-5)
    assert sum(found["scores"]) == pytest.approx(1)


def test_truncation_is_told(pipe):
    found = pipe(long_text(6), LABELS, truncation=True, details=True)
    assert (found["windows"], found["truncated"]) == (1, True)
    (typed,) = pipe.predict(long_text(6), candidate_labels=LABELS, truncation=True)
    assert typed.label == found["labels"][0]
    assert typed.truncated
    assert not pipe("a", LABELS, truncation=True, details=True)["truncated"]


def test_labels_given_beforehand_and_generators(pipe):
    made = ZeroShotClassification(pipe.model, candidate_labels=LABELS)
    found = made(text for text in TEXTS[:3])
    assert not isinstance(found, list)
    assert list(found) == pipe(TEXTS[:3], LABELS)


def test_which_label_is_entailment():
    def made(**config):
        model = small("BertForSequenceClassification", num_labels=3)
        model.labels = tuple(config)
        return ZeroShotClassification(model)

    assert made(Entailed=0, neutral=1, contradiction=2).entailment_id == 0
    guessed = made(a=0, b=1, c=2)
    assert guessed.entailment_id == -1
    assert any("no label of this model begins with 'entail'" in note for note in guessed.notes)


def test_mistakes_are_named(pipe):
    with pytest.raises(PipelineError, match="candidate_labels names no label"):
        pipe(TEXTS[0])
    with pytest.raises(PipelineError, match="candidate_labels names no label"):
        pipe(TEXTS[0], " , ")
    with pytest.raises(PipelineError, match=r"has no \{\}"):
        pipe(TEXTS[0], LABELS, hypothesis_template="This is nothing.")
    with pytest.raises(PipelineError, match="cannot be filled in"):
        pipe(TEXTS[0], LABELS, hypothesis_template="This is {label}.")
    with pytest.raises(PipelineError, match="input 1: is empty"):
        pipe([TEXTS[0], ""], LABELS)
    with pytest.raises(PipelineError, match="leaves no room"):
        pipe(TEXTS[0], ["city " * 50])
    with pytest.raises(PipelineError, match="then options by name"):
        pipe(TEXTS[0], LABELS, True)
    with pytest.raises(PipelineError, match="no classification head"):
        ZeroShotClassification(small("BertModel"))
