"""A tiny sitting without peers: processes of their own, results written down, and the page made of them."""

import json
import subprocess
import sys

import pytest
from tiny_models import tiny_encoder

from bench import page
from bench.contender import whole
from bench.limits import Limits
from bench.peers.encoders.encoder import EncoderWork
from bench.peers.encoders.ours import Ours
from bench.results_file import as_data, records, write
from bench.sitting import ROOT, Record, sit
from bench.table import Table
from bench.tables import table


class Absent(Ours):
    """A contender whose library is not there."""

    modules = ("no_such_module",)
    packages = ("no-such-package",)


@pytest.fixture(scope="module")
def sat(tmp_path_factory):
    """The encoder's table over three texts: float32, int8, one contender that is not installed, one that fails."""
    absent, failing = Absent(), Ours()
    absent.name, failing.name = "absent", "nobody"
    folder = tiny_encoder(tmp_path_factory.mktemp("encoder"))
    chosen = table("encoder")
    ours = [each for each in chosen.contenders if each.name.startswith("moduformer")]
    work = EncoderWork(str(folder), str(folder / "kept"), 1, ["good film", "bad", "good good book"], [1, 0, 1], 1)
    found = sit("encoder", [*ours, Limits(), absent, failing], work, rounds=2, warm_up=0, patience=120)
    chosen.compare(found, work)
    return chosen, found


def test_every_contender_takes_its_turns(sat):
    _, found = sat
    assert [record.failed for record in found][:3] == [None] * 3
    assert all(len(rounds) == 2 and min(rounds) > 0 for record in found[:3] for rounds in record.measures.values())
    assert set(found[0].measures) == {"sentences_per_second", "milliseconds_alone", "peak_mib"}
    assert "moduformer" in found[0].versions


def test_agreement_stands_beside_speed(sat):
    _, (ours, int8, *_) = sat
    assert ours.agreement["cosine_least"] == pytest.approx(1)
    assert 0.9 < int8.agreement["cosine_least"] < 1


def test_results_and_page_are_written(sat, tmp_path):
    chosen, found = sat
    facts = {
        "table": "encoder",
        "command": "python -m bench encoder",
        "machine": {"cores": "2", "python": "3.11"},
        "limits": found[2].measures,
        "rounds": 2,
        "threads": 1,
        "date": "2026-01-01",
        "load": 0.1,
        "load_after": 0.2,
    }
    write(tmp_path / "encoder.json", as_data(found[:2], facts))
    again = records(json.loads((tmp_path / "encoder.json").read_text()))
    assert chosen.grid(again) == chosen.grid(found[:2])
    (tmp_path / "performance.md").write_text(f"# Mine\n\nbefore\n\n{page.BEGIN}\nold\n{page.END}\n\nafter\n")
    page.write(tmp_path, tmp_path / "performance.md", tmp_path / "pictures")
    text = (tmp_path / "performance.md").read_text()
    assert text.startswith("# Mine\n\nbefore\n")
    assert text.endswith(f"{page.END}\n\nafter\n")
    assert "old" not in text
    assert "| moduformer int8 |" in text


def test_who_is_not_installed_or_fails_is_left_out_with_the_reason(sat):
    _, (*_, absent, failing) = sat
    assert absent.missing == "not installed: pip install -c constraints.txt no-such-package"
    assert failing.failed == "it ended: KeyError: 'nobody'"
    assert not absent.ran
    assert not failing.ran


def test_an_unfinished_file_has_no_name(tmp_path):
    def fail() -> None:
        with whole(tmp_path / "made") as path:
            path.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not (tmp_path / "made").exists()
    with whole(tmp_path / "made") as path:
        path.write_text("all")
    assert (tmp_path / "made").read_text() == "all"


def test_ratios_are_of_the_first_contender_or_of_our_own():
    chosen: Table = table("encoder")
    ours, theirs = Record("moduformer float32", {"a": [1.0]}), Record(chosen.contenders[0].name, {"a": [1.0]})
    assert chosen.base([ours, theirs]) is theirs
    theirs.measures = {}
    assert chosen.base([Record("moduformer int8", {"a": [1.0]}), ours, theirs]) is ours
    assert chosen.base([theirs]) is None


@pytest.mark.parametrize("words", [["--help"], ["encoder", "--help"]])
def test_the_program_shows_its_tables_without_loading_torch(words):
    code = (
        "import sys\nfrom bench.__main__ import main\n"
        f"try:\n    main({words!r})\nfinally:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "encoder-decoder" in done.stdout
    assert done.stdout.endswith("False\n")


def test_the_command_says_what_to_do_without_a_checkout(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    import moduformer
    from moduformer.cli.app import app

    monkeypatch.setattr(moduformer, "__file__", str(tmp_path / "moduformer" / "__init__.py"))
    done = CliRunner().invoke(app, ["bench", "encoder", "--rows", "3"])
    assert done.exit_code == 1
    assert "checkout" in done.stderr
