"""A JupyterLab on this machine with a notebook in it; nobody else is answered, and nothing outlives its block."""

import json
import os
import secrets
import subprocess
import sys
import time
from contextlib import contextmanager


@contextmanager
def running_lab(folder, code, seconds=300):
    """Starts JupyterLab in `folder` with a notebook of one cell, and yields the notebook's address.

    Arguments:
        folder: where the notebook and all that JupyterLab writes lie.
        code: the cell's.
        seconds: how long it may take to start.
    """
    places = {name: folder / name.lower() for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    work = folder / "work"
    for place in (*places.values(), work):
        place.mkdir(parents=True)
    # It would ask whether it may fetch news.
    silent = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    settled = places["JUPYTER_CONFIG_DIR"] / "labconfig" / "default_setting_overrides.json"
    settled.parent.mkdir()
    settled.write_text(json.dumps(silent), encoding="utf-8")
    cell = {"cell_type": "code", "id": "a", "source": code, "metadata": {}, "outputs": [], "execution_count": None}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (work / "look.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    key = secrets.token_urlsafe(24)
    words = [
        "--no-browser",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port=0",
        f"--ServerApp.root_dir={work}",
        "--LabApp.extension_manager=readonly",
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        words.append("--allow-root")
    settings = os.environ | {name: str(place) for name, place in places.items()} | {"JUPYTER_TOKEN": key}
    log = folder / "lab.log"
    with log.open("wb") as said:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *words], env=settings, stdout=said, stderr=said)
        try:
            until = time.monotonic() + seconds
            while not (found := list(places["JUPYTER_RUNTIME_DIR"].glob("jpserver-*.json"))):
                if server.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(errors='replace')[-3000:]}")
                time.sleep(0.2)
            address = json.loads(found[0].read_text(encoding="utf-8"))["url"]
            yield f"{address}lab/tree/look.ipynb?token={key}"
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def run_cell(page, seconds=300):
    """Runs the notebook's cell and waits for the viewer in its output."""
    page.locator(".jp-CodeCell .cm-content").click(timeout=1000 * seconds)
    idle = ".jp-Notebook-ExecutionIndicator[data-status='idle']"
    page.wait_for_selector(idle, state="attached", timeout=1000 * seconds)
    page.keyboard.press("Shift+Enter")
    found = page.locator(".jp-OutputArea :is(.mf-head, [data-mime-type='application/vnd.jupyter.stderr'])").first
    found.wait_for(timeout=1000 * seconds)
    assert page.locator(".jp-OutputArea .mf-head").count(), page.locator(".jp-OutputArea").first.inner_text()
