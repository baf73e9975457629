"""The course as pages: every picture is told in words, nothing sticks out, and it can be read in the dark."""

import pytest

from moduformer.course.notebooks import notebooks
from moduformer.course.page import page

SIGHT = """() => {  // the lowest contrast of words, code and tables with what is behind them (WCAG 2, 1.4.3)
  const light = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$|transparent/.test(found)) return light(found);
    }
    return 1;
  };
  const ratios = [...document.querySelectorAll("p, h1, h2, h3, li, td, th, pre.code span, pre.output, a")]
    .filter((element) => element.textContent.trim() && element.offsetParent)
    .map((element) => {
      const pair = [light(getComputedStyle(element).color), ground(element)].sort((a, b) => b - a);
      return (pair[0] + 0.05) / (pair[1] + 0.05);
    });
  return Math.min(...ratios);
}"""


@pytest.mark.parametrize(("number", "language"), [(0, "ko"), (1, "en"), (2, "ko"), (3, "en")])
def test_a_page_reads_well_everywhere(tmp_path, tab, number, language):
    file = tmp_path / "page.html"
    file.write_text(page(notebooks(language)[number], language), encoding="utf-8")
    shown = tab(file.as_uri(), wait="h1", offline=True)
    pictures = shown.locator("img").evaluate_all("(all) => all.map((one) => [one.alt, one.naturalWidth])")
    assert len(pictures) > 8
    assert all(alt.startswith("그림" if language == "ko" else "Figure") and width for alt, width in pictures)
    # Whatever scrolls can be reached by the keyboard.
    scrolling = """() => [...document.querySelectorAll("main *")].filter((element) =>
      element.scrollWidth > element.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(element).overflowX) &&
      element.tabIndex < 0).map((element) => element.outerHTML.slice(0, 200))"""
    for width in (360, 768, 1600):
        shown.set_viewport_size({"width": width, "height": 800})
        assert shown.evaluate("() => document.documentElement.scrollWidth") <= width
        assert shown.evaluate(scrolling) == []
    for scheme in ("light", "dark"):
        shown.emulate_media(color_scheme=scheme)
        assert shown.evaluate(SIGHT) >= 4.5
