"""The exported file: complete without a network, deaf to what its texts say, and what it exports is what it shows."""

import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import viewer_recordings as made
from view_models import decoder, encoder, encoder_decoder
from viewer_recordings import nameless

from moduformer.view.document import exported_page
from moduformer.view.record import record
from moduformer.view.source import Source

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "javascript:alert(3)",
    "\"'><svg/onload=alert(4)>",
    "<!--",
    "\u2028\u202ereversed",
]


@pytest.fixture
def saved(tmp_path, tab):
    def write(*recordings, **more):
        file = tmp_path / "viewer.html"
        file.write_text(made.embedded(recordings, **more), encoding="utf-8")
        return tab(file.as_uri(), offline=True, accept_downloads=True)

    return write


def settled(page):
    page.wait_for_selector(".mf-view:not([aria-busy])", state="attached")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def export(page, kind):
    with page.expect_download() as download:
        page.click(f".mf-exports button:has-text('{kind}')")
    return download.value.path().read_bytes()


def hostile():
    one = made.sentence(words=" ".join(["x"] * len(HOSTILE)))
    source = one.data["sequences"]["source"]
    for token, text in zip(source["tokens"][1:], HOSTILE, strict=False):
        token["text"] = text
    source["text"] = HOSTILE[0]
    one.data["model"] |= {"name": HOSTILE[1], "family": HOSTILE[0], "kind": HOSTILE[3]}
    one.data["prediction"] = {"of": HOSTILE[0], "labels": HOSTILE[:3], "probabilities": [0.5, 0.3, 0.2]}
    one.data["written"] = {
        "sequence": "source",
        "probabilities": [None] + [0.5] * 7,
        "likeliest": [[[text, 0.1] for text in HOSTILE[:5]]] * 8,
    }
    return one


def test_texts_names_and_labels_stay_text(saved, tab):
    page = saved(hostile())
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    settled(page)
    for view in ("matrix", "text", "positions", "lines", "written"):
        page.click(f"button[data-value={view}]")
        settled(page)
        assert page.locator(".mf-viewer :is(img, script, svg, iframe, object, embed)").count() == 0
    assert HOSTILE[0] in page.locator(".mf-prediction").inner_text()
    assert page.locator("h1").inner_text() == HOSTILE[1]
    page.click("button[data-value=head]")
    picture = ElementTree.fromstring(export(page, "SVG"))
    assert {element.tag.rsplit("}")[-1] for element in picture.iter()} <= {"svg", "rect", "path", "text", "image"}
    assert [url for url in requests if not url.startswith(("blob:", "file:"))] == []


def test_without_a_model_nothing_can_be_switched_off(saved):
    page = saved(made.sentence(can=["layer", "rollout"]), answers={"rollout": []})
    assert page.locator("button:visible", has_text="off").count() == 0
    assert page.locator(".mf-check:has-text('Click switches off')").is_hidden()
    assert "X switches" not in page.locator(".mf-hint").inner_text()
    for note in (".mf-stagecard", ".mf-pair"):
        assert page.locator(f"{note} code").inner_text().startswith("moduformer view ")
    page.locator('.mf-head[tabindex="0"]').focus()
    page.keyboard.press("x")
    assert page.locator(".mf-head.mf-off").count() == 0
    page.click("button[data-value=rollout]")
    page.wait_for_selector(".mf-alert:has-text('not in this page')")


@pytest.mark.parametrize("kind", ["encoder", "llama", "t5"])
def test_a_file_tells_the_parts_of_a_score_as_the_model_does(tmp_path, tab, kind):
    one = {
        "encoder": lambda: record(encoder(), "The movie was good"),
        "llama": lambda: record(decoder("llama"), "영화 참"),
        "t5": lambda: record(encoder_decoder("t5"), "The movie was good", "the story"),
    }[kind]()
    file = tmp_path / "page.html"
    file.write_text(exported_page(Source([one]), "en"), encoding="utf-8")
    page = tab(file.as_uri(), offline=True)
    settled(page)
    attention = one.data["attentions"][0]["name"]
    if kind == "t5":
        page.click(f"button[data-value='{attention}']")
        settled(page)
    page.click('.mf-head[data-head="1,1"]')
    page.click("button[data-value=matrix]")
    settled(page)
    page.locator(".mf-matrix").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    page.wait_for_selector(".mf-dimensions li")
    wanted = one.pair(attention, 1, 1, 1, 1)
    parts = [
        sum(wanted["products"]),
        wanted["score"],
        *([wanted["added"]] if wanted["added"] else []),
        wanted["weight"],
    ]
    numbers: list[float] = []
    for _ in range(50):  # The words follow the keys a moment later.
        told = page.locator(".mf-pair p").first.inner_text().replace("−", "-")
        numbers = [float(number) for number in re.findall(r"-?\d+\.\d+", told)]
        if numbers == pytest.approx(parts, abs=0.02):
            break
        page.wait_for_timeout(100)
    assert numbers == pytest.approx(parts, abs=0.02)


def test_everything_in_a_file_that_can_be_operated_has_a_name(saved):
    page = saved(made.sentence(can=["layer"]), made.sentence("2", seed=1, can=["layer"]))
    settled(page)
    assert nameless(page) == []


def test_pictures_and_data_can_be_taken_along(saved):
    one = made.sentence()
    page = saved(one)
    settled(page)
    page.click('.mf-head[data-head="2,3"]')
    settled(page)
    lines = ElementTree.fromstring(export(page, "SVG"))
    texts = [element.text for element in lines.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("believ") == 2
    assert len(list(lines.iter("{http://www.w3.org/2000/svg}path"))) >= 14
    page.click("button[data-value=matrix]")
    settled(page)
    matrix = ElementTree.fromstring(export(page, "SVG"))
    assert len(list(matrix.iter("{http://www.w3.org/2000/svg}image"))) == 1
    picture = export(page, "PNG")
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(picture[16:20], "big") > 400
    data = json.loads(export(page, "JSON"))
    assert data["recording"] == one.data
    assert data["shown"] == {"attention": "encoder.attention", "layer": 2, "head": 3}
    assert np.abs(np.array(data["weights"]) - one.weights["encoder.attention"][2, 3]).max() < 0.003


def test_a_long_text_opens_and_layers_are_fetched_when_they_are_looked_at(tab, serve):
    server = serve(made.long_text())
    page = tab(server.address)
    settled(page)
    assert page.locator(".mf-head").count() == 144

    def fetched():
        return [parameters["layer"] for question, parameters in server.asked if question == "layer"]

    assert fetched() == [0]
    for place in ("7,3", "7,4", "0,5"):
        page.click(f'.mf-head[data-head="{place}"]')
        settled(page)
    assert fetched() == [0, 7]
    page.click("button[data-value=lines]")
    settled(page)
    page.locator(".mf-lines").focus()
    page.keyboard.press("End")
    assert page.locator(".mf-lines").evaluate("(box) => box.scrollTop") > 10000
    # What is drawn is what is in sight, however long the text.
    assert page.locator(".mf-lines canvas").evaluate("(canvas) => canvas.height") < 2000
    assert page.locator(".mf-pane .mf-readout").inner_text().startswith("[SEP] looks at ")
