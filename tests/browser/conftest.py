"""A headless Chromium for the tests of the viewer's page; they are skipped where there is none."""

import shutil

import pytest
import viewer_recordings as made


@pytest.fixture(scope="session")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (`pip install playwright`)")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs a Chromium on the path")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium):
    """Opens pages; at the end of the test none may have said anything on its console."""
    said, contexts = [], []

    def open_page(address, wait=".mf-head", **settings):
        context = chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | settings))
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.set_default_timeout(30_000)
        page.set_default_navigation_timeout(60_000)
        page.goto(address)
        page.wait_for_selector(wait)
        return page

    open_page.said = said
    yield open_page
    for context in contexts:
        context.close()
    assert said == []


@pytest.fixture
def serve():
    servers = []

    def start(*recordings, **more):
        servers.append(made.Server(recordings, **more))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
