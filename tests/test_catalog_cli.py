"""`moduformer models`: as a person types it."""

import json

import pytest
from typer.testing import CliRunner

from moduformer.cli.app import app

run = CliRunner()


@pytest.fixture(autouse=True)
def english(monkeypatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("COLUMNS", "200")


def ask(*words: str) -> str:
    done = run.invoke(app, ["models", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_all_and_some() -> None:
    assert len(json.loads(ask("--json"))) == 76
    assert [row["id"] for row in json.loads(ask("--year", "2020", "--json"))] == ["electra", "gpt-3", "vit"]
    found = json.loads(ask("--kind", "encoder", "--korean", "--access", "open-weights", "--json"))
    assert {row["id"] for row in found} == {"bert", "distilbert"}
    assert all(row["korean"] is False for row in json.loads(ask("--no-korean", "--json")))
    assert "The table says 2019; it came out in 2020" in ask("--year", "2020")
    assert ask("--year", "1999") == ""


def test_a_card_in_english_and_korean(monkeypatch) -> None:
    english = ask("bert")
    assert "masked language modelling" in english
    assert 'mf.pipeline("fill-mask", model="google-bert/bert-base-uncased")' in english
    assert "109,482,240" in english
    korean = ask("BERT", "--language", "ko")
    assert "가려진 단어 예측" in korean
    monkeypatch.setenv("LC_ALL", "ko_KR.UTF-8")
    assert ask("bert") == korean


def test_a_card_as_json_holds_what_is_computed() -> None:
    card = json.loads(ask("gpt-2", "--json"))
    assert card["counted"][0] == {
        "label": "small",
        "parameters": 124439808,
        "verdict": "explained",
        "weight_bytes": {"fp32": 497759232, "bf16": 248879616, "int8": 124439808, "int4": 62219904},
    }
    assert card["status"]["full"] is True
    assert card["run"].startswith("mf.pipeline(")


def test_status_of_one_kind_and_its_count() -> None:
    table = ask("--status", "--access", "api-only")
    assert table.splitlines()[-1].startswith("api-only: 5, full: ")
    checks = json.loads(ask("--status", "--year", "2018", "--json"))
    assert {row["id"] for row in checks} == {"bert", "gpt-1", "marianmt", "ulmfit"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["berd"], "near: bert"),
        (["--kind", "fish"], "encoder-decoder"),
        (["--access", "free"], "open-weights"),
        (["--language", "fr"], "en, ko"),
        (["--max-memory", "much"], "8GB"),
        (["--tree", "tree.png"], ".svg or .html"),
    ],
)
def test_mistakes_are_said(words: list[str], said: str) -> None:
    done = run.invoke(app, ["models", *words])
    assert done.exit_code != 0
    assert said in done.output
    assert not done.stdout.strip()


def test_show_and_diff_take_rows() -> None:
    done = run.invoke(app, ["show", "gpt-3:175b", "--json"])
    assert json.loads(done.stdout)["parameters"] == 174_604_259_328
    done = run.invoke(app, ["diff", "bert", "roberta", "--json"])
    assert {change["path"] for change in json.loads(done.stdout)} >= {"vocab"}
    done = run.invoke(app, ["show", "gpt-4"])
    assert done.exit_code == 1
    assert "not published" in done.output


def test_pictures_and_pages_are_written(tmp_path) -> None:
    for name in ("tree.svg", "tree.html"):
        assert ask("--tree", str(tmp_path / name)).strip() == str(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 10_000
    ask("--page", str(tmp_path / "page.md"))
    assert (tmp_path / "page.md").read_text(encoding="utf-8").startswith("# The model table")
