"""`moduformer view` and `moduformer heads`, and the scores of heads over texts."""

import json
import math
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import torch
from pipeline_models import folder_of
from typer.testing import CliRunner
from view_models import decoder, encoder, encoder_decoder

import moduformer as mf
from moduformer.cli.app import app
from moduformer.errors import TextError
from moduformer.view import document
from moduformer.view.heads import REPEATED, best, check_induction, head_scores, repeated_tokens

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return folder_of(tmp_path_factory.mktemp("models") / "reviews", "BertForSequenceClassification", ("bad", "good"))


def run(*words: object) -> str:
    torch.set_num_threads(1)
    found = RUNNER.invoke(app, [str(word) for word in words])
    assert found.exit_code == 0, found.output
    return found.stdout


def test_a_saved_classifier_becomes_one_file(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(document, "resource", lambda name: "export default {}" if name == "viewer.js" else "body {}")
    out = tmp_path / "page.html"
    assert run("view", "a good film", "--model", folder, "--second", "not so bad", "--out", out).strip() == str(out)
    content = out.read_text(encoding="utf-8")
    data = json.loads(re.search(r"data-recordings>(.*?)</script>", content).group(1))
    assert [each["sequences"]["source"]["text"] for each in data["recordings"]] == ["a good film", "not so bad"]
    assert data["recordings"][0]["prediction"]["labels"] == ["bad", "good"]
    assert data["recordings"][0]["model"]["name"] == "reviews"
    assert str(folder.parent) not in content


def test_without_a_target_the_models_own_translation_is_looked_at(tmp_path):
    torch.set_num_threads(1)
    size = {"layers": 1, "d_model": 16, "d_ff": 16, "heads": 2, "vocab": 60}
    translator = mf.Seq2Seq(size=size, epochs=300, num_beams=1)
    translator.fit(["a good film", "a long story", "the old city"] * 4, ["좋은 영화", "긴 이야기", "옛 도시"] * 4)
    folder = translator.save(tmp_path / "translator")
    (data,) = [json.loads(line) for line in run("view", "a good film", "--model", folder, "--json").splitlines()]
    assert data["sequences"]["target"]["text"].strip() == translator.predict(["a good film"])[0].strip() == "좋은 영화"
    across = data["attentions"][-1]
    assert (across["name"], across["queries"], across["keys"]) == ("decoder.cross_attention", "target", "source")
    assert data["written"]["from"] == 1


def test_a_folder_that_is_made_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(document, "resource", lambda name: "")
    for place, made in ((tmp_path / "mistyped" / "page.html", True), (tmp_path / "page.html", False)):
        found = RUNNER.invoke(app, ["view", "a good film", "--model", str(folder), "--out", str(place)])
        assert found.exit_code == 0
        assert ("made the folder" in found.stderr) == made
        assert place.is_file()


def test_recordings_as_json_lines(folder):
    found = RUNNER.invoke(
        app, ["view", "-", "--model", str(folder), "--compare", str(folder), "--json"], input="좋은 film"
    )
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert [line["id"] for line in lines] == ["1", "2"]
    assert lines[0]["attentions"][0]["scores"] == lines[1]["attentions"][0]["scores"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["view"], "give a text"),
        (["view", "", "--model", "{folder}"], "this one is empty"),
        (["view", "a", "--second", " ", "--model", "{folder}"], "this one is empty"),
        (["view", "a", "--model", "{folder}", "--language", "fr"], "en or ko"),
        (["view", "a", "--model", "{folder}", "--target", "b"], "target is for"),
        (["view", "a", "--model", "{folder}", "--image", "nowhere.png"], "takes no image"),
        (["view", "city " * 200, "--model", "{folder}"], "positions"),
        (["view", "a", "--model", "nowhere/at/all"], "nowhere"),
        (["heads", "{folder}", "--by", "beauty"], "is one of"),
    ],
)
def test_mistakes_are_said_in_words(folder, words, said):
    found = RUNNER.invoke(app, [word.format(folder=folder) for word in words])
    assert found.exit_code != 0
    assert said in re.sub(r"[\s│]+", " ", found.output)
    assert "Traceback" not in found.output


def test_the_page_is_served_until_ctrl_c(folder):
    program = (
        "from moduformer.view import server; from moduformer.cli import main; import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "server.resource = lambda name: name\nmain()"
    )
    words = ["view", "a good film", "--model", str(folder), "--no-browser"]
    with subprocess.Popen(
        [sys.executable, "-c", program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            address = running.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{20,}/", address)
            with urllib.request.urlopen(f"{address}viewer.js", timeout=60) as answered:
                assert answered.read() == b"viewer.js"
            running.send_signal(signal.SIGINT)
            assert running.wait(60) == 0
            assert "Traceback" not in running.stderr.read()
        finally:
            running.kill()


def test_heads_are_listed_best_first(folder):
    lists = run("heads", folder, "--text", "the movie was very good", "-n", 2)
    assert "look at the previous token" in lists
    assert "induction" not in lists  # an encoder sees what follows anyway
    rows = json.loads(run("heads", folder, "--json", "--text", "the movie was very good"))
    assert len(rows) == 4
    table = run("heads", folder, "--by", "separator", "-n", 3, "--text", "the movie was very good")
    listed = [float(line.split()[-1]) for line in table.splitlines() if re.match(r"\d\.\d ", line)]
    assert listed == sorted(listed, reverse=True)
    assert listed[0] == pytest.approx(max(row["separator"] for row in rows), abs=0.006)


def test_induction_is_measured_onrepeated_tokens_random_tokens():
    """The mean weight on tokens that follow an earlier copy, as counted by hand."""
    model = decoder("gpt2")
    scores = head_scores(model, ["the city was long"])
    assert all(0 <= head.scores["induction"] <= 1 for head in scores)
    assert len(scores) == 4
    recording = repeated_tokens(model, 7)
    ids = recording.inputs.ids
    count = min(REPEATED, 23)
    assert ids[-2 * count : -count] == ids[-count:]
    assert repeated_tokens(model, 7).inputs.ids == ids
    assert repeated_tokens(model, 8).inputs.ids != ids
    weights = recording.weights("decoder.attention", 1, 0)
    start = len(ids) - 2 * count
    # By hand: from each token of the second run to the ones after its earlier copies.
    found = []
    for query in range(len(ids)):
        after = [key for key in range(1, query + 1) if ids[key - 1] == ids[query]]
        if after:
            found.append(sum(float(weights[query, key]) for key in after))
    assert len(found) >= count - 1
    assert start in (0, 1)
    assert recording.attentions["decoder.attention"].scores["induction"][1][0] == pytest.approx(
        sum(found) / len(found), abs=1e-4
    )


def test_best_heads_are_in_order_and_texts_are_checked():
    scores = head_scores(encoder(), ["the movie was very good", "a bad film"])
    values = [head.scores["next"] for head in best(scores, "next", 9)]
    assert values == sorted(values, reverse=True)
    assert not best(scores, "induction")
    both = head_scores(encoder_decoder(), ["the movie was very good"])
    assert {head.attention for head in both} == {
        "encoder.attention",
        "decoder.attention",
        "decoder.cross_attention",
    }
    for wrong in ([], "one text"):
        with pytest.raises(TextError, match="list of texts"):
            head_scores(encoder(), wrong)


def test_the_check_switches_the_best_heads_off():
    model = decoder("gpt2")
    found = head_scores(model, ["the city was long"])
    checked = check_induction(model, found, 1)
    assert [head.name for head in checked.heads] == [best(found, "induction", 1)[0].name]
    assert len({checked.all_heads, checked.without, checked.without_others}) == 3
    recording = repeated_tokens(model, 4)
    ids = recording.inputs.ids
    written = recording.data["written"]["probabilities"]
    half = len(ids) // 2
    losses = [repeated_tokens(model, 4 + row).data["written"]["probabilities"][-half + 1 :] for row in range(4)]
    wanted = sum(-math.log(share) for row in losses for share in row) / sum(map(len, losses))
    assert checked.all_heads == pytest.approx(wanted, rel=1e-3)
    assert len(written) == len(ids)
    with pytest.raises(TextError, match="decoders"):
        check_induction(encoder(), head_scores(encoder(), ["good"]))
