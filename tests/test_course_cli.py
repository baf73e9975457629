"""`moduformer course`: what is listed, what is opened, and that a reader's own copy is never overwritten."""

import json
import subprocess
import webbrowser

import pytest
from typer.testing import CliRunner

from moduformer.cli.app import app
from moduformer.course import notebooks as places
from moduformer.course.alt_text import alt_text
from moduformer.course.page import page

CELLS = [
    {
        "cell_type": "markdown",
        "source": ["# A title\n", "\n", "Some *text*.\n", "\n", "| a | b |\n| - | - |\n| 1 | 2 |"],
    },
    {"cell_type": "markdown", "source": "## A section\n\n```python\n# no heading\nx = 1\n```"},
    {
        "cell_type": "code",
        "source": "print('<b>')",
        "outputs": [
            {"output_type": "stream", "text": ["<b>\n"]},
            {"output_type": "display_data", "data": {"image/png": "AAAA\n"}},
            {"output_type": "execute_result", "data": {"text/html": ["<table></table>"], "text/plain": "t"}},
        ],
    },
]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    for place in (tmp_path / "there", tmp_path / "there" / "en"):
        place.mkdir()
        (place / "00_Toy.ipynb").write_text(json.dumps({"cells": CELLS}), encoding="utf-8")
    (tmp_path / "there" / "contents.toml").touch()
    monkeypatch.setattr(places, "CHECKOUT", tmp_path / "there")
    monkeypatch.setattr(places, "has_jupyterlab", lambda: False)
    return tmp_path


def run(*words):
    return CliRunner().invoke(app, ["course", *words])


def test_the_list_names_notebooks_and_sections(checkout):
    shown = run("--language", "en")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == ["00_Toy", "  A title", "    A section"]


def test_without_jupyterlab_a_page_opens(checkout, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    shown = run("00", "--language", "en", "--out", str(checkout / "mine"))
    assert shown.exit_code == 0, shown.output
    made = checkout / "mine" / "en" / "00_Toy.html"
    assert opened == [made.resolve().as_uri()]
    text = made.read_text(encoding="utf-8")
    assert "<h1>A title</h1>" in text
    assert "<td>1</td>" in text
    assert "&lt;b&gt;" in text
    assert '<html lang="en">' in text
    assert "http" not in text
    assert '<img alt="Figure: A section" src="data:image/png;base64,AAAA">' in text


def test_a_picture_is_told_in_the_words_that_its_code_draws():
    code = (
        "figure, axes = plt.subplots(1, 2)\n"
        "axes[0].set(title=f'{name}: layer 2', xlabel='a \"step\"')\n"
        "axes[1].set_title('loss')\nplt.plot(values, label='GRU')\nplt.plot(others, label=name)\nplt.title('loss')\n"
    )
    assert alt_text(code, "1. Why?", "en") == 'Figure: 1. Why? — title: …: layer 2, loss; x axis: a "step"; legend: GRU'
    assert alt_text(code, "왜?", "ko", 2, 3).startswith("그림 2/3: 왜? — 제목: …: layer 2, loss; 가로축:")
    for odd in ("%matplotlib inline", "plt.title(f'{x}')", "\0", "(" * 500):
        assert alt_text(odd, "A", "en") == "Figure: A"


def test_with_jupyterlab_the_readers_copy_opens_and_is_kept(checkout, monkeypatch):
    started = []
    monkeypatch.setattr(places, "has_jupyterlab", lambda: True)
    done = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(subprocess, "run", lambda words, **_: started.append(words) or done)
    mine = checkout / "mine" / "00_Toy.ipynb"
    assert run("00", "--language", "ko", "--out", str(mine.parent)).exit_code == 0
    assert started[0][-2:] == ["jupyterlab", str(mine)]
    mine.write_text("my work", encoding="utf-8")
    run("00", "--language", "ko", "--out", str(mine.parent))
    assert mine.read_text(encoding="utf-8") == "my work"


@pytest.mark.parametrize(
    ("words", "said"), [(("07",), "names 0 notebooks"), (("--language", "fr"), "use 'ko' or 'en'")]
)
def test_mistakes_are_named(checkout, words, said):
    shown = run(*words)
    assert shown.exit_code == 1
    assert said in shown.stderr


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"cells": 3}', b'{"cells": [1]}', b"\xff", b"[" * 100_000])
def test_a_damaged_notebook_is_named(checkout, content):
    (checkout / "there" / "00_Toy.ipynb").write_bytes(content)
    shown = run("--language", "ko")
    assert shown.exit_code == 1
    assert "00_Toy.ipynb is no notebook" in shown.stderr


def test_installed_notebooks_are_found(checkout, monkeypatch):
    class Installed:
        def __init__(self, path):
            self.path, self.name = path, path.name

        def locate(self):
            return self.path

    there = checkout / "there"
    files = [Installed(there / "00_Toy.ipynb"), Installed(there / "en" / "00_Toy.ipynb"), Installed(there / "x.py")]
    monkeypatch.setattr(places, "CHECKOUT", checkout / "absent")
    monkeypatch.setattr(places.metadata, "files", lambda name: files)
    assert [each.path for each in places.notebooks("en")] == [there / "en" / "00_Toy.ipynb"]
    assert page(places.find("00", "ko"), "ko").startswith('<!doctype html>\n<html lang="ko">')
