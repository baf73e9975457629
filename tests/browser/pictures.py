"""Makes the pictures of docs/viewer.md again: `python tests/browser/pictures.py [NAME ...]`.

Needs playwright, Pillow and a Chromium; the picture of the notebook also needs JupyterLab.
"""

import shutil
import sys
import tempfile
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from jupyter_lab import run_cell, running_lab
from PIL import Image
from playwright.sync_api import sync_playwright

import moduformer as mf

REPOSITORY = Path(__file__).resolve().parents[2]
PICTURES = REPOSITORY / "docs" / "pictures"
CAT = "The unbelievable cat sat on the mat because it was tired, and it slept."
FOX = "The quick brown fox jumps over the lazy dog. The quick brown fox jumps over the lazy"
REVIEWS = (
    "그 영화는 생각보다 훨씬 재미있었고 배우들의 연기도 정말 훌륭했다.",
    "그 영화는 생각보다 훨씬 지루했었고 배우들의 연기도 정말 훌륭했다.",
)
CELL = f'import moduformer as mf\n\nmf.view("{CAT}", model="minilm", language="en")'


def settled(page):
    """Waits until what was asked for is drawn."""
    page.wait_for_selector(".mf-view:not([aria-busy])", state="attached")
    page.wait_for_timeout(600)


def press(page, where, *keys):
    page.locator(where).first.focus()
    for key in keys:
        page.keyboard.press(key)


def keep(page, name, whole=True):
    settled(page)
    place = PICTURES / f"viewer-{name}.png"
    picture = Image.open(BytesIO(page.screenshot(full_page=whole)))
    # A page has few colours; a palette of them is a third of the size.
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(place, optimize=True)
    print(f"{place.relative_to(REPOSITORY)}: {place.stat().st_size / 1000:.0f} kB", flush=True)


@contextmanager
def opened(browser, shown, wait=".mf-head", **settings):
    """A tab with a view, served, or with a file."""
    context = browser.new_context(**({"viewport": {"width": 1320, "height": 900}} | settings))
    server = None if isinstance(shown, str) else shown.serve()
    try:
        page = context.new_page()
        page.set_default_timeout(300_000)
        page.goto(shown if server is None else server.address, timeout=120_000)
        page.wait_for_selector(wait, timeout=120_000)
        yield page
    finally:
        context.close()
        if server is not None:
            server.close()


def minilm(browser, wanted):
    """`lines`, `difference`, `narrow` and, as a file, `matrix`."""
    model = mf.load("minilm")
    cats = mf.view(CAT, model=model, second=CAT.replace("cat", "dog"), names=["MiniLM"], notebook=False, language="en")
    if "lines" in wanted:
        with opened(browser, cats) as page:
            page.click('.mf-head[data-head="5,11"]')
            settled(page)
            press(page, ".mf-lines", *["ArrowDown"] * 15, "ArrowRight")
            page.wait_for_selector(".mf-dimensions li")
            keep(page, "lines")
    if "difference" in wanted:
        with opened(browser, cats) as page:
            page.select_option(".mf-field:has-text('Compare') select", "2")
            page.click('.mf-head[data-head="3,5"]')
            page.click(".mf-check:has-text('Difference')")
            page.click("button[data-value=matrix]")
            keep(page, "difference")
    if "narrow" in wanted:
        with opened(browser, cats, viewport={"width": 360, "height": 800}) as page:
            page.click('.mf-head[data-head="5,11"]')
            keep(page, "narrow")
    if "matrix" in wanted:
        text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
        offsets = model.tokenizer.encode(text).offsets
        with tempfile.TemporaryDirectory() as folder:
            part = text[: offsets[487][1]]
            shown = mf.view(part, model=model, names=["MiniLM"], notebook=False, language="en")
            file = shown.save(Path(folder) / "page.html")
            with opened(browser, file.as_uri(), offline=True) as page:
                page.click('.mf-head[data-head="3,2"]')
                settled(page)
                keep(page, "matrix")


def e5(browser, wanted):
    """`korean`."""
    first, second = REVIEWS
    shown = mf.view(first, model="e5-small", second=second, names=["e5-small"], notebook=False, language="ko")
    with opened(browser, shown, viewport={"width": 1320, "height": 1000}) as page:
        page.select_option(".mf-field:has-text('비교') select", "2")
        page.click('.mf-head[data-head="7,4"]')
        page.click(".mf-check:has-text('단어로')")
        settled(page)
        press(page, ".mf-lines", *["ArrowDown"] * 6)
        keep(page, "korean")


def smollm2(browser, wanted):
    """`induction`, `written` and `lens`, one after another on one page."""
    shown = mf.view(FOX, model="smollm2", generate=6, names=["SmolLM2"], notebook=False, language="en")
    with opened(browser, shown, color_scheme="dark") as page:
        page.select_option(".mf-field:has-text('Sort') select", "induction")
        page.locator("input[type=range]").fill("0.15")
        heads = page.locator(".mf-head")
        best = [heads.nth(place).get_attribute("data-head") for place in range(4)]
        for head in best:
            press(page, f'.mf-head[data-head="{head}"]', "x")
        press(page, f'.mf-head[data-head="{best[0]}"]', "Enter")
        page.wait_for_selector(".mf-moved")
        settled(page)
        press(page, ".mf-lines", *["ArrowDown"] * 13)
        keep(page, "induction")
        page.click("button[data-value=written]")
        page.locator(".mf-written .mf-token").nth(13).click()
        keep(page, "written")
        page.click("text=All on again")
        page.click("button[data-value=lens]")
        page.wait_for_selector(".mf-lens td")
        page.locator(".mf-lens tbody td").nth(2).click()
        keep(page, "lens")


def translator(browser, wanted):
    """`cross`."""
    text = ">>ja<< I bought this red bicycle at the station last week."
    shown = mf.view(text, model="translation", names=["English to Japanese"], notebook=False, language="en")
    with opened(browser, shown) as page:
        page.select_option(".mf-field:has-text('Sort') select", "entropy")
        page.click(".mf-check:has-text('Lowest first')")
        page.click('.mf-head[data-head="2,2"]')
        page.click("button[data-value=matrix]")
        keep(page, "cross")


def lab(browser, wanted):
    """`widget`: a cell of JupyterLab."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_lab(Path(folder) / "lab", CELL) as address,
        opened(browser, address, ".jp-CodeCell", viewport={"width": 1400, "height": 1180}) as page,
    ):
        run_cell(page)
        page.keyboard.press("Control+b")
        page.click('.mf-head[data-head="5,11"]')
        settled(page)
        press(page, ".mf-lines", *["ArrowDown"] * 15, "ArrowRight")
        page.wait_for_selector(".mf-dimensions li")
        keep(page, "widget", whole=False)


MADE = {
    minilm: ("lines", "difference", "narrow", "matrix"),
    e5: ("korean",),
    smollm2: ("induction", "written", "lens"),
    translator: ("cross",),
    lab: ("widget",),
}


def main() -> None:
    """Makes those that are named, or all."""
    named = set(sys.argv[1:]) or {name for names in MADE.values() for name in names}
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for make, names in MADE.items():
            if wanted := named & set(names):
                make(browser, wanted)
        browser.close()


if __name__ == "__main__":
    main()
