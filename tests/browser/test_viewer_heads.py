"""Heads: found by keyboard, sorted, filtered, switched off, seen in every view."""

import re

import numpy as np
import pytest
import viewer_recordings as made

ATTENTION = "encoder.attention"

PIXELS = 'canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data'
COLOURS = f"(canvas) => new Set(new Uint32Array({PIXELS}.buffer)).size"
MIDDLE_OF_THE_CHOICE = f"""(canvas) => {{  // where the mean of what is drawn in the colour of the choice lies
  const data = {PIXELS};
  let [x, y, n] = [0, 0, 0];
  for (let i = 0; i < data.length; i += 4) {{
    if (data[i] !== 210 || data[i + 1] !== 105 || data[i + 2] !== 30) continue;
    x += (i / 4) % canvas.width;
    y += Math.floor(i / 4 / canvas.width);
    n += 1;
  }}
  return [x / n / canvas.width, y / n / canvas.height];
}}"""


def title(page):
    return page.locator(".mf-heading h2").inner_text()


def readout(page):
    return page.locator(".mf-readout").first.inner_text()


def settled(page):
    page.wait_for_selector(".mf-view:not([aria-busy])", state="attached")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.fixture
def page(tab, serve):
    server = serve(made.sentence())
    page = tab(server.address)
    page.server = server
    settled(page)
    return page


def test_the_grid_of_heads_is_one_stop_of_the_tab_key_and_arrows_move_in_it(page):
    assert page.locator(".mf-head").count() == 24
    assert page.locator('.mf-head[tabindex="0"]').count() == 1
    page.locator('.mf-head[tabindex="0"]').focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "End", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    assert title(page) == "Layer 2, head 4"
    assert page.locator('.mf-head[aria-selected="true"]').get_attribute("aria-label") == "Layer 2, head 4"


def test_lines_tell_the_weight_of_the_pair_that_the_keys_chose(page):
    weights = page.server.made["1"].weights[ATTENTION][0, 0]
    tokens = [token["text"] for token in page.server.made["1"].data["sequences"]["source"]["tokens"]]
    page.locator(".mf-lines").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    column = int(np.argmax(weights[2]))
    assert readout(page) == f"{tokens[2]} looks at {tokens[column]}: {weights[2, column]:.2f}"
    page.wait_for_selector(".mf-pair h2:has-text('→')")
    assert page.locator(".mf-pair h2").inner_text() == f"{tokens[2]} → {tokens[column]}"
    assert page.locator(".mf-dimensions li").count() == 5
    assert (
        "pair",
        {"recording": "1", "attention": ATTENTION, "layer": 0, "head": 0, "query": 2, "key": column},
    ) in page.server.asked
    page.keyboard.press("Escape")
    assert readout(page) == "Choose a token to see where it looks."


def test_a_cell_of_the_matrix_is_where_it_is_drawn_before_and_after_zooming(page):
    weights = page.server.made["1"].weights[ATTENTION][0, 0]
    page.click("button[data-value=matrix]")
    settled(page)
    page.locator(".mf-matrix").focus()
    for key in ["ArrowDown"] * 5 + ["ArrowRight"] * 3:
        page.keyboard.press(key)
    assert readout(page).endswith(f": {weights[4, 3]:.2f}")
    before = readout(page)
    page.keyboard.press("+")
    page.keyboard.press("+")
    settled(page)
    canvas = page.locator(".mf-matrix canvas")
    box = canvas.bounding_box()
    ring = canvas.evaluate(MIDDLE_OF_THE_CHOICE)
    page.keyboard.press("Escape")
    page.mouse.click(box["x"] + ring[0] * box["width"], box["y"] + ring[1] * box["height"])
    assert readout(page) == before


@pytest.mark.parametrize("view", ["lines", "matrix", "text", "positions"])
def test_every_view_draws_what_it_is_given(page, view):
    page.click(f"button[data-value={view}]")
    settled(page)
    if view == "text":
        page.locator(".mf-token").nth(4).click()
        assert page.locator('.mf-token[style*="background"]').count() > 1
        page.keyboard.press("ArrowRight")
        assert page.locator('.mf-token[aria-selected="true"]').inner_text() == "the"
        return
    colours = page.locator(".mf-view canvas").evaluate(COLOURS)
    assert colours > 20


def test_rollout_and_gradient_are_asked_for_and_drawn(page):
    page.click("button[data-value=rollout]")
    settled(page)
    page.locator(".mf-lines").focus()
    page.keyboard.press("ArrowDown")
    assert re.fullmatch(r"\[CLS\] looks at .*\d", readout(page))
    page.click("button[data-value=gradient]")
    settled(page)
    page.select_option(".mf-field:has-text('For') select", "2")
    settled(page)
    asked = [parameters["target"] for question, parameters in page.server.asked if question == "gradient"]
    assert asked == [0, 2]


def test_words_add_up_and_special_tokens_go(page):
    weights = page.server.made["1"].weights[ATTENTION][0, 0]
    page.click(".mf-check:has-text('Whole words')")
    page.click(".mf-check:has-text('Hide special')")
    page.click("button[data-value=text]")
    settled(page)
    shown = page.locator(".mf-token").all_inner_texts()
    assert shown == "the cat sat on the unbelievably soft mat and slept".split()
    page.locator(".mf-token").nth(6).click()
    page.locator(".mf-token").nth(5).hover()
    assert readout(page) == f"soft looks at unbelievably: {weights[9, 6:9].sum():.2f}"


def test_sorting_puts_the_largest_first_and_the_filter_leaves_only_those(page):
    scores = np.array(page.server.made["1"].data["attentions"][0]["scores"]["previous"])
    page.select_option(".mf-field:has-text('Sort') select", "previous")
    layer, head = np.unravel_index(scores.argmax(), scores.shape)
    assert page.locator(".mf-head").first.get_attribute("data-head") == f"{layer},{head}"
    page.locator("input[type=range]").fill("0.5")
    assert page.locator(".mf-head").count() == (scores >= 0.5 * scores.max()).sum()
    page.click(".mf-check:has-text('Lowest')")
    kept = np.where(scores >= 0.5 * scores.max(), scores, np.inf)
    layer, head = np.unravel_index(kept.argmin(), scores.shape)
    assert page.locator(".mf-head").first.get_attribute("data-head") == f"{layer},{head}"
    page.select_option(".mf-field:has-text('Sort') select", "change")
    page.wait_for_selector(".mf-headcard p:has-text('24 heads')")
    assert [question for question, _ in page.server.asked].count("effects") == 1


def test_switching_off_moves_the_prediction_and_on_again_brings_it_back(page):
    page.click('.mf-head[data-head="1,2"]', modifiers=["Alt"])
    page.wait_for_selector(".mf-moved")
    assert page.locator(".mf-bar").first.inner_text().split() == ["joy", "0.71", "→", "0.56"]
    assert page.locator(".mf-off").get_attribute("aria-label") == "Layer 1, head 2, off"
    page.locator('.mf-head[data-head="1,2"]').focus()
    page.keyboard.press("Shift+X")
    page.wait_for_selector(".mf-chips:has-text('6 heads off')")
    page.click("text=All on again")
    assert page.locator(".mf-off").count() == 0
    assert page.locator(".mf-bar").first.inner_text().split() == ["joy", "0.71"]


def test_another_text_can_be_looked_at_and_a_refusal_is_told(page, tab):
    page.click("text=Look at another text")
    page.fill("textarea", "please refuse <b>this</b>")
    page.click("button[type=submit]")
    page.wait_for_selector(".mf-alert:has-text('this text is refused')")
    # The browser itself tells its console of the refused request.
    assert [text for text in tab.said if "400" not in text] == []
    tab.said.clear()
    page.fill("textarea", "a quite new text")
    page.click("button[type=submit]")
    page.wait_for_function(
        "() => document.querySelector('.mf-texts select').selectedOptions[0].textContent.includes('quite new')"
    )
