"""Feature extraction: shapes of Hugging Face 4, every token of a long text, sentence vectors."""

import numpy as np
import pytest
import torch
from pipeline_models import POSITIONS, TEXTS, folder_of, long_text, small

import moduformer as mf
from moduformer.errors import PipelineError, TextError
from moduformer.pipelines.feature_extraction import FeatureExtraction
from moduformer.pipelines.token_windows import Tokenizing, token_runs
from moduformer.pipelines.windowing import windower


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    torch.set_num_threads(1)
    return mf.pipeline("feature-extraction", str(folder_of(tmp_path_factory.mktemp("body"), "BertModel")))


def through_the_front_door(model, text):
    ids = model.tokenizer.encode(text).ids
    with torch.inference_mode():
        return model(torch.tensor([ids])).last_hidden_state[0].numpy()


def test_every_token_has_its_vector_in_plain_nested_lists(pipe):
    found = pipe(TEXTS[0])
    assert type(found) is list
    assert len(found) == 1
    assert type(found[0][0][0]) is float
    np.testing.assert_allclose(found[0], through_the_front_door(pipe.model, TEXTS[0]), atol=1e-5)
    both = pipe([TEXTS[0], ""])
    assert [len(text) for text in both] == [1, 1]
    assert len(both[1][0]) == 2, "an empty text still has its special tokens"
    assert pipe([]) == []


def test_ragged_batches_give_what_single_texts_give(pipe):
    texts = [*TEXTS, long_text(9), "a", ""]
    together = pipe.predict(texts)
    for text, found in zip(texts, together):
        np.testing.assert_allclose(found.vectors, pipe.predict(text)[0].vectors, atol=1e-5)


@pytest.mark.parametrize("stride", [None, 0, 7, 40])
def test_a_long_texts_tokens_come_from_the_windows_with_most_context(pipe, stride):
    text = long_text(8)
    (found,) = pipe.predict(text, stride=stride)
    ids = pipe.tokenizer.encode(text).ids
    assert len(found.vectors) == len(ids) == len(found.tokens) > 3 * POSITIONS
    assert found.windows > 3
    assert not found.truncated
    # By hand: every window through the front door, and of each token the vector that stands deepest in its window.
    (run,) = token_runs(windower(pipe.model, stride=stride), [text], Tokenizing())
    with torch.inference_mode():
        windows = [pipe.model(torch.tensor(row)[None]).last_hidden_state[0].numpy() for row in run.rows]
    depth = np.full(len(ids), -1)
    wanted = np.zeros_like(found.vectors)
    shared = min(12 if stride is None else stride, 23)
    for number, vectors in enumerate(windows):
        inner, start = len(vectors) - 2, number * (46 - shared)
        for i in range(inner):
            poorer = min(i, inner - 1 - i)
            if poorer > depth[start + 1 + i]:
                depth[start + 1 + i], wanted[start + 1 + i] = poorer, vectors[i + 1]
    wanted[0], wanted[-1] = windows[0][0], windows[-1][-1]
    assert (depth[1:-1] >= 0).all()
    np.testing.assert_allclose(found.vectors, wanted, atol=1e-5)


def test_offsets_are_right_at_every_edge(pipe):
    text = long_text(8)
    (found,) = pipe.predict(text)
    for token, (start, end) in zip(found.tokens[1:-1], found.offsets[1:-1]):
        assert token == "[UNK]" or text[start:end].lower() == token.removeprefix("##")
    assert found.offsets[0] == found.offsets[-1] == (0, 0)


def test_truncation_says_so(pipe):
    text = long_text(4)
    told = pipe(text, truncation=True, details=True)
    assert list(told) == ["features", "tokens", "offsets", "windows", "truncated"]
    assert (told["windows"], told["truncated"]) == (1, True)
    assert len(told["features"][0]) == len(told["tokens"]) == POSITIONS
    whole = pipe(text, details=True)
    assert whole["windows"] > 1
    assert not whole["truncated"]
    assert len(pipe(text, tokenize_kwargs={"truncation": True, "max_length": 9})[0]) == 9
    assert len(pipe(TEXTS[0], tokenize_kwargs={"add_special_tokens": False})[0]) == len(pipe(TEXTS[0])[0]) - 2


def test_sentence_vectors_are_means_over_all_tokens(pipe):
    texts = [TEXTS[0], long_text(6), "a"]
    means = pipe(texts, pooling="mean")
    assert np.shape(means) == (3, 32)
    for mean, found in zip(means, pipe.predict(texts)):
        np.testing.assert_allclose(mean, found.vectors.mean(0), atol=1e-5)
    for how, place in (("first", 0), ("last", -1)):
        for vector, found in zip(pipe(texts, pooling=how), pipe.predict(texts)):
            np.testing.assert_allclose(vector, found.vectors[place], atol=1e-5)
    long_one = pipe(texts, pooling="mean", normalize=True)
    np.testing.assert_allclose(np.linalg.norm(long_one, axis=1), 1, atol=1e-6)
    tensor = pipe(TEXTS[0], pooling="mean", return_tensors=True)
    assert tensor.shape == (32,)


def test_a_model_with_a_head_gives_the_same_and_does_not_run_it(pipe):
    labelled = small("BertForMaskedLM")
    labelled.load_state_dict(pipe.model.state_dict(), strict=False)
    labelled.heads["masked-lm"].register_forward_hook(lambda _, given, __: seen.append(given[0].numel()))
    seen = []
    found = FeatureExtraction(labelled)(TEXTS[0])
    np.testing.assert_allclose(found, pipe(TEXTS[0]), atol=1e-5)
    assert not seen


def test_an_encoder_decoder_gives_its_encoders_states():
    from dataclasses import replace

    from core_models import SPECS, randomise
    from pipeline_models import words

    model = randomise(mf.build(replace(SPECS["t5"], vocab=words().max_id + 1), seed=0), 1).eval()
    model.tokenizer = words()
    ids = model.tokenizer.encode(TEXTS[0]).ids
    with torch.inference_mode():
        wanted = model(torch.tensor([ids]), decoder_input_ids=torch.tensor([[0]])).encoder_last_hidden_state
    np.testing.assert_allclose(FeatureExtraction(model)(TEXTS[0]), wanted.numpy(), atol=1e-5)


def test_mistakes_are_named(pipe):
    with pytest.raises(PipelineError, match="input 1: is no text"):
        pipe(["a", None])
    with pytest.raises(PipelineError, match="pooling is 'max'"):
        pipe("a", pooling="max")
    with pytest.raises(PipelineError, match="twice"):
        pipe("a", truncation=True, tokenize_kwargs={"truncation": True})
    with pytest.raises(PipelineError, match="nothing is padded here"):
        pipe("a", tokenize_kwargs={"padding": "max_length"})
    with pytest.raises(PipelineError, match="has stride"):
        pipe("a", tokenize_kwargs={"stride": 2})
    with pytest.raises(TextError, match="text 1 gives no token"):
        pipe(["a", ""], tokenize_kwargs={"add_special_tokens": False})
