"""`moduformer convert` to smaller types: measured before and after, refused past the limit; a real model too."""

import csv
import json
import random

import pytest
import torch
from core_models import SPECS, randomise
from tiny_models import reviews, tiny_encoder
from typer.testing import CliRunner

import moduformer as mf
from moduformer.cli.app import app
from moduformer.errors import CheckpointError, SourceError
from moduformer.pipelines.windowing import windower
from moduformer.quantize import quantize
from moduformer.tasks import conversion
from moduformer.text.tokenizer import Tokenizer
from moduformer.train.evaluation import mean_features


def invoke(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantised")
    encoder = tiny_encoder(folder / "encoder")
    made = mf.TextClassifier(str(encoder), epochs=4, learning_rate=5e-3, batch_size=16).fit(*reviews(120))
    return made.save(folder / "classifier")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "test.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *zip(*reviews(60, seed=5))])
    return path


def test_a_classifier_is_measured_written_and_works(classifier, data, tmp_path):
    run = invoke("convert", classifier, tmp_path / "out", "--dtype", "int8", "--data", data, "--json")
    assert run.exit_code == 0, run.stderr
    facts = json.loads(run.stdout)
    measured = facts["measured"]
    assert measured["metric"] == "accuracy"
    assert measured["rows"] == 60
    assert measured["agreement"] >= 0.98
    assert measured["before"] > 0.8
    assert facts["bytes"] == (tmp_path / "out" / "model.safetensors").stat().st_size
    assert facts["source_bytes"] == (classifier / "model.safetensors").stat().st_size
    before, after = mf.TextClassifier.load(classifier), mf.TextClassifier.load(tmp_path / "out")
    texts, labels = reviews(60, seed=5)
    assert after.score(texts, labels) == pytest.approx(measured["after"])
    assert before.score(texts, labels) == pytest.approx(measured["before"])
    assert after.predict_proba(texts) == pytest.approx(before.predict_proba(texts), abs=0.1)
    shown = invoke("convert", classifier, tmp_path / "again", "--dtype", "bfloat16", "--data", data)
    assert shown.exit_code == 0, shown.stderr
    assert "accuracy on 60 rows" in shown.stdout
    assert "before" in shown.stderr


def test_too_great_a_loss_is_refused_and_nothing_is_written(classifier, data, tmp_path, monkeypatch):
    def ruin(model, *_, **__):
        with torch.no_grad():
            model.heads["classify"].weight.neg_()
        return model

    monkeypatch.setattr(conversion, "quantize", ruin)
    run = invoke("convert", classifier, tmp_path / "out", "--dtype", "int8", "--data", data)
    assert run.exit_code == 1
    assert "past the limit of 0.01; nothing was written" in run.stderr
    assert "same answers" in run.stdout
    assert list(tmp_path.iterdir()) == []
    run = invoke(
        "convert", classifier, tmp_path / "out", "--dtype", "int8", "--data", data, "--max-loss", "1", "--json"
    )
    assert run.exit_code == 0, run.stderr


def test_a_loss_that_is_no_number_is_refused():
    found = conversion.Measured("perplexity", 10.0, float("nan"), 4)
    done = conversion.Conversion("int8", mf.build(SPECS["llama"]), None, 0, found)
    with pytest.raises(CheckpointError, match="past the limit"):
        done.check(1e9)


def test_a_language_model_is_measured_by_perplexity(tmp_path):
    texts = reviews(60, longest=30)[0]
    tokenizer = Tokenizer.train(texts, "wordpiece", 40, lowercase=True)
    spec = SPECS["llama"]
    config = spec.to_dict()
    config["vocab"] = max(tokenizer.max_id + 1, 40)
    model = randomise(mf.build(type(spec).from_dict(config)), 3)
    model.tokenizer = tokenizer
    model.save(tmp_path / "lm")
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    options = ["--data", tmp_path / "texts.txt", "--max-loss", "0.5", "--json"]
    run = invoke("convert", tmp_path / "lm", tmp_path / "out", "--dtype", "int4", "--heads", "int8", *options)
    assert run.exit_code == 0, run.stderr
    measured = json.loads(run.stdout)["measured"]
    assert measured["metric"] == "perplexity"
    assert measured["rows"] == 60
    assert measured["before"] == pytest.approx(_perplexity(mf.load(tmp_path / "lm"), texts), rel=1e-4)
    assert measured["after"] == pytest.approx(_perplexity(mf.load(tmp_path / "out"), texts), rel=1e-4)
    assert measured["loss"] == pytest.approx(measured["after"] / measured["before"] - 1)


def _perplexity(model, texts):
    """Row by row, token by token: the definition."""
    logs = []
    for text in texts:
        ids = torch.tensor([model.tokenizer.encode(text).ids])
        found = model(input_ids=ids).logits[0].double().log_softmax(-1)
        logs += [found[i, ids[0, i + 1]].item() for i in range(ids.shape[1] - 1)]
    return float(torch.tensor(logs).double().mean().neg().exp())


def test_a_body_is_measured_by_the_cosine_of_its_vectors(classifier, data, tmp_path):
    encoder = tiny_encoder(tmp_path / "encoder")
    run = invoke("convert", encoder, tmp_path / "out", "--dtype", "int8", "--data", data, "--json")
    assert run.exit_code == 0, run.stderr
    measured = json.loads(run.stdout)["measured"]
    assert measured["metric"] == "cosine"
    assert 0.99 < measured["after"] < 1


def test_without_data_it_says_that_nothing_was_measured(classifier, tmp_path):
    run = invoke("convert", classifier, tmp_path / "out", "--dtype", "int8")
    assert run.exit_code == 0
    assert "not measured" in run.stderr
    assert invoke("convert", classifier, tmp_path / "b", "--dtype", "int3").exit_code == 2
    assert invoke("convert", classifier, tmp_path / "c", "--heads", "int8").exit_code == 2


def test_what_half_precision_cannot_hold_is_refused(tmp_path):
    model = mf.load(tiny_encoder(tmp_path / "encoder"))
    with torch.no_grad():
        model.encoder.layer(0).feed_forward.down.weight[0, 0] = 1e6
    model.save(tmp_path / "large")
    run = invoke("convert", tmp_path / "large", tmp_path / "out", "--dtype", "float16")
    assert run.exit_code == 1
    assert "down.weight as float16" in run.stderr
    assert not (tmp_path / "out").exists()


# A real model -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def minilm():
    try:
        return mf.load("minilm")
    except SourceError:
        pytest.skip("minilm is not in the cache and cannot be fetched")


def test_int8_minilm_agrees_with_float32(minilm):
    rng = random.Random(0)
    words = "the a film was it and very good bad lovely dull actor music in of city winter bank price never".split()
    texts = [" ".join(rng.choice(words) for _ in range(rng.randint(3, 25))) for _ in range(48)]
    encoded = windower(minilm)(texts, None).encoded
    before = torch.from_numpy(mean_features(minilm, encoded).copy())
    quantize(minilm)
    after = torch.from_numpy(mean_features(minilm, encoded))
    cosine = torch.nn.functional.cosine_similarity(before, after, dim=1)
    assert cosine.mean() > 0.997
    assert cosine.min() > 0.98
    near, then = (torch.nn.functional.normalize(v, dim=1) for v in (before, after))
    nearest = [(v @ v.T).fill_diagonal_(-1).argmax(1) for v in (near, then)]
    assert (nearest[0] == nearest[1]).float().mean() > 0.8
