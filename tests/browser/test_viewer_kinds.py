"""Decoders, encoder-decoders, pictures, two recordings side by side, and the other language."""

import base64
import struct
import zlib

import pytest
import viewer_recordings as made


def settled(page):
    page.wait_for_selector(".mf-view:not([aria-busy])", state="attached")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_what_a_decoder_expected_is_told_token_by_token(tab, serve):
    server = serve(made.story())
    page = tab(server.address)
    page.click("button[data-value=written]")
    assert page.locator(".mf-token").count() == 14
    assert page.locator(".mf-own").count() == 4
    page.locator(".mf-token").nth(1).focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".mf-expected b").inner_text() in page.locator(".mf-token").all_inner_texts()
    assert page.locator(".mf-expected .mf-name").all_inner_texts() == [f"word{k}" for k in range(5)]
    page.click("text=Attention × gradient of this token")
    settled(page)
    asked = [parameters for question, parameters in server.asked if question == "gradient"]
    assert asked == [{"recording": "gpt", "attention": "decoder.attention", "token": 2}]


def test_the_logit_lens_has_a_row_a_layer(tab, serve):
    page = tab(serve(made.story()).address)
    page.click("button[data-value=lens]")
    page.wait_for_selector(".mf-lens td")
    assert page.locator(".mf-lens tbody tr").count() == 5
    page.locator('.mf-lens td[tabindex="0"]').focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.locator(".mf-expected .mf-name").first.inner_text() == "l3t1c0"


def test_cross_attention_runs_between_two_texts(tab, serve):
    server = serve(made.translation())
    page = tab(server.address)
    # It is what such a page opens with.
    across = page.locator("button[data-value='decoder.cross_attention']")
    assert across.get_attribute("aria-checked") == "true"
    page.click("button[data-value=text]")
    settled(page)
    boxes = page.locator(".mf-tokens")
    assert [boxes.nth(i).locator(".mf-token").count() for i in (0, 1)] == [6, 8]
    boxes.nth(0).locator(".mf-token").nth(1).click()
    weights = server.made["marian"].weights["decoder.cross_attention"][0, 0]
    assert page.locator(".mf-pane .mf-readout").inner_text().startswith("I looks at ")
    assert f"{weights[1].max():.2f}" in page.locator(".mf-pane .mf-readout").inner_text()


def test_heads_look_at_the_patches_of_a_picture(tab, serve):
    page = tab(serve(made.vision(picture=png(64), side=8)).address)
    settled(page)
    assert page.locator(".mf-chip[aria-pressed=true]").inner_text() == "[CLS]"
    page.locator(".mf-patches").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    assert page.locator(".mf-pane .mf-readout").inner_text().startswith("1,1 looks at ")


def test_two_recordings_share_the_choice_and_can_be_subtracted_where_tokens_are_the_same(tab, serve):
    server = serve(made.sentence(), made.sentence("2", seed=9), made.sentence("3", "quite another text", seed=2))
    page = tab(server.address)
    page.select_option(".mf-field:has-text('Compare') select", "2")
    settled(page)
    assert page.locator(".mf-pane").count() == 2
    page.locator(".mf-lines").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert all(text.startswith("the looks at ") for text in page.locator(".mf-readout").all_inner_texts()[:2])
    page.click(".mf-check:has-text('Difference')")
    page.click("button[data-value=matrix]")
    settled(page)
    assert page.locator(".mf-pane").count() == 1
    page.locator(".mf-matrix").focus()
    page.keyboard.press("ArrowRight")
    one, other = (server.made[id].weights["encoder.attention"][0, 0, 1, 0] for id in "12")
    told = page.locator(".mf-readout").first.inner_text().split(": ")[1].replace("−", "-")
    assert float(told) == pytest.approx(one - other, abs=0.006)
    page.select_option(".mf-field:has-text('Compare') select", "3")
    assert page.locator(".mf-check:has-text('Difference') input").is_disabled()


def test_korean_interface_and_dark_colours(tab, serve):
    page = tab(serve(made.sentence()).address, color_scheme="dark")
    assert page.locator(".mf-viewer").get_attribute("data-theme") == "dark"
    page.click("text=한국어")
    settled(page)
    assert page.locator(".mf-viewer").get_attribute("lang") == "ko"
    assert page.locator("h2").first.inner_text() == "헤드"
    assert page.locator(".mf-heading h2").inner_text() == "층 0, 헤드 0"
    words = page.evaluate("() => document.querySelector('.mf-viewer').innerText")
    english = {"Heads", "Sort", "Prediction", "Lines", "Matrix", "Switch", "Rollout", "Choose", "largest", "Colours"}
    assert not {word for word in english if word in words}
    page.select_option(".mf-field:has-text('화면 색') select", "light")
    assert page.locator(".mf-viewer").get_attribute("data-theme") == "light"


@pytest.mark.parametrize("width", [360, 768, 1920])
def test_nothing_sticks_out_of_the_page(tab, serve, width):
    page = tab(serve(made.sentence()).address, viewport={"width": width, "height": 800})
    settled(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_everything_that_can_be_operated_has_a_name(tab, serve):
    page = tab(serve(made.sentence(), made.sentence("2", seed=1)).address)
    settled(page)
    assert made.nameless(page) == []


WIDGET = """
import view from "./viewer.js";
const listeners = new Set();
const post = (question, parameters) =>
  fetch("api/" + question, { method: "POST", body: JSON.stringify(parameters) });
const recordings = await (await post("recordings", {})).json();
const model = {
  get: (name) => ({ recordings, language: "ko" })[name],
  on: (event, callback) => listeners.add(callback),
  off: (event, callback) => listeners.delete(callback),
  send: async ({ id, question, parameters }) => {
    const response = await post(question, parameters);
    if (question !== "layer") { for (const hear of listeners) hear({ id, answer: await response.json() }, []); return; }
    const bytes = new Uint8Array(await response.arrayBuffer());
    const shifted = new Uint8Array(bytes.length + 3);  // a kernel's buffers begin anywhere
    shifted.set(bytes, 3);
    for (const hear of listeners) hear({ id, answer: null }, [new DataView(shifted.buffer, 3)]);
  },
};
const close = view.render({ model, el: document.getElementById("cell") });
document.addEventListener("close", close);
"""


def test_a_notebook_cell_asks_its_kernel(tab, serve):
    page_text = (
        b'<!doctype html><link rel="icon" href="data:,"><link rel="stylesheet" href="viewer.css"><div id="cell"></div>'
        b'<script type="module" src="widget.js"></script>'
    )
    pages = {"cell": ("text/html", page_text), "widget.js": ("text/javascript", WIDGET.encode())}
    page = tab(serve(made.sentence(), pages=pages).address + "cell")
    settled(page)
    page.locator(".mf-lines").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".mf-dimensions li")
    page.evaluate("() => document.dispatchEvent(new Event('close'))")
    assert page.locator(".mf-viewer").count() == 0


def png(side):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(
        b"\0" + bytes((x * 3 % 256, y * 3 % 256, 128)[c] for x in range(side) for c in range(3)) for y in range(side)
    )
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(content).decode()
