"""The notebook's own code that puts a model on a hub, where one answers: what it sends can be loaded from there."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from pipeline_models import folder_of
from sources_servers import FakeHub, send, serving

import moduformer as mf

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "notebooks"))

import paired

(CELL,) = [
    cell.code for cell in paired.read(paired.SOURCES / "02_text_classification.md").code() if "def share(" in cell.code
]
PROGRAM = "import json, sys\nimport moduformer as mf\nfolder = sys.argv[1]\n{cell}\nprint(json.dumps(str({last})))\n"
KEY = "hf_ofatest"


class OpenHub(FakeHub):
    """A hub that also takes a repository and one commit of files from whoever has the key."""

    def __call__(self, handler, server):
        path = unquote(urlsplit(handler.path).path)
        given = json_lines(handler) if handler.command == "POST" else []
        if given and handler.headers.get("Authorization") != f"Bearer {KEY}":
            return send(handler, 401, {}, b"{}")
        if path == "/api/repos/create":
            assert given[0]["visibility"] == "private"
            return answered(handler, {"url": f"{server.url}/{self.repo_id}", "name": self.repo_id})
        if path == f"/api/models/{self.repo_id}/preupload/main":
            modes = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in given[0]["files"]
            ]
            return answered(handler, {"files": modes})
        if path == f"/api/models/{self.repo_id}/commit/main":
            sent = [line["value"] for line in given if line["key"] == "file"]
            self.files |= {file["path"]: base64.b64decode(file["content"]) for file in sent}
            url = f"{server.url}/{self.repo_id}/commit/{self.commit}"
            return answered(handler, {"success": True, "commitUrl": url, "commitOid": self.commit})
        return super().__call__(handler, server)


def json_lines(handler):
    body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    if handler.headers.get("Content-Type") == "application/x-ndjson":
        return [json.loads(line) for line in body.splitlines()]
    return [json.loads(body)]


def answered(handler, content):
    send(handler, 200, {"Content-Type": "application/json"}, json.dumps(content).encode())


def shared(folder, home, **settings):
    """What the cell shows at its end, run in a process whose surroundings are these."""
    cell, last = CELL.rstrip().rsplit("\n", 1)
    assert last.startswith("share(")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    kept = {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}
    kept |= {"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "MODUFORMER_LANGUAGE": "en"} | settings
    words = [sys.executable, "-c", PROGRAM.format(cell=cell, last=last), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, env=kept, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("models") / "mood", "BertForSequenceClassification", ("bad", "good"))


def test_a_folder_goes_to_a_hub_and_loads_from_there(folder, tmp_path, monkeypatch):
    hub = OpenHub("someone/mood", {})
    with serving(hub) as server:
        said = shared(folder, tmp_path / "hf", HF_ENDPOINT=server.url, HF_TOKEN=KEY)
        assert said == f"{server.url}/someone/mood/commit/{hub.commit}"
        assert hub.files == {file.name: file.read_bytes() for file in folder.iterdir()}
        for name in [name for name in os.environ if name.startswith(("HF_", "MODUFORMER_", "PIP_"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "reader"))
        monkeypatch.setenv("MODUFORMER_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("MODUFORMER_SOURCES", "hub")
        there = mf.pipeline("text-classification", "someone/mood")("a good film", top_k=None)
    assert there == mf.pipeline("text-classification", folder)("a good film", top_k=None)


@pytest.mark.parametrize("settings", [{}, {"HF_TOKEN": KEY, "HF_HUB_OFFLINE": "1"}])
def test_without_a_login_or_a_network_it_says_so_and_asks_nobody(folder, tmp_path, settings):
    with serving(OpenHub("someone/mood", {})) as server:
        assert "Skipped" in shared(folder, tmp_path / "hf", HF_ENDPOINT=server.url, **settings)
        assert server.requests == []
