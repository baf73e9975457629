"""Notebooks: their sources are read strictly, run without network, and what is committed is what they make."""

import json
import socket
import sys
import threading
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
sys.path.insert(0, str(FOLDER))

import build  # noqa: E402
import paired  # noqa: E402
import running  # noqa: E402
import writing  # noqa: E402

TOY = """\
<!-- needs: minilm -->
<!-- ko -->
# 제목

```text
# 제목이 아님
```
<!-- en -->
# Title

```python
print(1 + 1)
```

<!-- ko -->
연습
<!-- en -->
Exercise

```python
from moduformer import course

course.check("00-weights", None)
```

```python answer
course.check("00-weights", [0.6439, 0.2369, 0.0871, 0.0321])
```
"""


def test_committed_notebooks_are_those_of_the_sources():
    assert build.problems() == []


def test_a_source_is_cells_in_order():
    source = paired.parse("toy", TOY)
    assert source.needs == ("minilm",)
    assert [type(cell).__name__ for cell in source.cells] == ["Text", "Code", "Text", "Code", "Code"]
    assert source.headings("ko") == ["# 제목"]
    assert [cell.answer for cell in source.code()] == [False, False, True]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (TOY.replace("<!-- en -->\nExercise", ""), "no en part"),
        (TOY.replace("Exercise", ""), "no en part"),
        (TOY.replace("<!-- ko -->\n연습\n", ""), "right after its ko part"),
        (TOY + "lost words\n", "stands in no cell"),
        (TOY.rstrip().removesuffix("```"), "never closed"),
    ],
)
def test_a_broken_source_is_named_by_its_line(broken, said):
    with pytest.raises(paired.SourceMistake, match=said):
        paired.parse("toy", broken)


def run(text: str, folder: Path, sandbox: bool) -> running.Run:
    path = folder / "toy.md"
    path.write_text(text, encoding="utf-8")
    return running.Running(path, sandbox).result()


def test_one_run_fills_both_languages(tmp_path):
    found = run(TOY, tmp_path, running.can_unshare())
    assert found.failure is None
    source = paired.parse("toy", TOY)
    texts = {}
    for language in paired.LANGUAGES:
        outputs = [[writing.normal(output, language) for output in cell] for cell in found.outputs]
        content = writing.notebook(source, language, outputs)
        texts[language] = "\n".join(writing.pages(content))
        assert content["cells"][1]["source"] == "print(1 + 1)"
        assert "<details>" in content["cells"][-1]["source"]
        assert writing.BOTH not in json.dumps(content)
    assert texts["ko"].startswith("2\n")
    assert "아직 답이 없습니다" in texts["ko"]
    assert "No answer yet" in texts["en"]


def test_a_wrong_answer_fails_the_build(tmp_path):
    assert "does not satisfy" in run(TOY.replace("0.6439", "0.5"), tmp_path, False).failure


def test_an_error_fails_the_build_and_names_the_line(tmp_path):
    failure = run(TOY.replace("1 + 1", "1 / 0"), tmp_path, False).failure
    assert "toy.md line 11" in failure
    assert "ZeroDivisionError" in failure


@pytest.mark.parametrize("sandbox", [True, False])
def test_a_notebook_reaches_nothing_outside(tmp_path, sandbox):
    if sandbox and not running.can_unshare():
        pytest.skip("this machine does not let us take the network away from a process")
    reached = []
    outside = socket.create_server(("0.0.0.0", 0))
    address, port = socket.gethostbyname(socket.gethostname()), outside.getsockname()[1]
    if address.startswith("127."):
        address = "192.0.2.1"  # a network that nobody has (RFC 5737)
    threading.Thread(target=lambda: reached.append(outside.accept()), daemon=True).start()
    code = f"import socket\nsocket.create_connection(({address!r}, {port}), 5)"
    found = run(TOY.replace("print(1 + 1)", code), tmp_path, sandbox)
    outside.close()
    assert "without network" in found.failure or "unreachable" in found.failure
    assert not reached


def test_what_was_not_built_is_a_problem(tmp_path, monkeypatch):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "toy.md").write_text(TOY, encoding="utf-8")
    contents = '[sections.toy]\nko = ["제목", "다른 제목"]\nen = ["Title"]\n'
    (tmp_path / "contents.toml").write_text('written = ["toy"]\n' + contents, encoding="utf-8")
    for module in (build, paired):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(paired, "SOURCES", tmp_path / "source")
    assert build.problems() == [
        "toy has no heading '다른 제목'",
        "toy (ko) is not built; run `make notebooks`",
        "toy (en) is not built; run `make notebooks`",
    ]
    source = paired.parse("toy", TOY)
    path = tmp_path / "toy.ipynb"
    shown = [[], [{"output_type": "stream", "name": "stdout", "text": "in /home/somebody"}]]
    writing.write(path, writing.notebook(source, "ko", shown))
    assert "toy.ipynb holds a path of a machine: /home/" in build.problems()
    changed = path.read_text(encoding="utf-8").replace("1 + 1", "1 + 2")
    path.write_text(changed, encoding="utf-8")
    assert "toy (ko): its code has changed; build it anew" in build.problems()
