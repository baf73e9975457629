"""The widget in a living JupyterLab: it is drawn, and its clicks reach the kernel and come back."""

import pytest
from jupyter_lab import run_cell, running_lab
from pipeline_models import folder_of


@pytest.fixture(scope="module", autouse=True)
def installed():
    for name in ("jupyterlab", "ipykernel", "anywidget"):
        pytest.importorskip(name, reason=f"needs {name} (`pip install moduformer[notebook] jupyterlab`)")


def test_the_widget_is_drawn_and_asks_the_kernel(chromium, tmp_path):
    folder = folder_of(tmp_path / "reviews", "BertForSequenceClassification", ("bad", "good"))
    code = f"import moduformer as mf\nmf.view('a good film', model={str(folder)!r}, language='en')"
    with running_lab(tmp_path / "lab", code) as address:
        context = chromium.new_context(viewport={"width": 1280, "height": 1000})
        page = context.new_page()
        wrong = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.set_default_timeout(30_000)
        page.goto(address, timeout=120_000)
        run_cell(page)
        assert page.locator(".mf-head").count() == 4
        page.click('.mf-head[data-head="1,1"]')
        page.wait_for_selector(".mf-view:not([aria-busy])", state="attached")
        assert page.locator(".mf-heading h2").inner_text() == "Layer 1, head 1"
        # JupyterLab has rules of its own for buttons and lists.
        look = """() => [".mf-button", ".mf-scores dt"].map((name) => getComputedStyle(document.querySelector(name)))
          .map(({ borderTopLeftRadius, float, fontWeight }) => [borderTopLeftRadius, float, fontWeight])"""
        assert page.evaluate(look) == [["99px", "none", "400"], ["0px", "none", "400"]]
        # JupyterLab's own keys must not be pressed by the viewer's.
        page.locator(".mf-lines").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(".mf-dimensions li")
        page.locator('.mf-head[data-head="1,1"]').focus()
        page.keyboard.press("x")
        page.wait_for_selector(".mf-moved")
        assert page.locator(".mf-head.mf-off").count() == 1
        assert page.locator(".jp-CodeCell").count() == 2  # `x` would have cut a cell
        page.evaluate("() => document.body.dataset.jpThemeLight = 'false'")
        page.wait_for_selector(".mf-viewer[data-theme=dark]")
        context.close()
    assert wrong == []
