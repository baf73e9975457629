"""The model table as data: complete, consistent, in both languages, and found by every name."""

import re
import subprocess
import sys
from collections import Counter

import pytest

import moduformer as mf
from moduformer.catalog.row import count, rows
from moduformer.catalog.words import KOREAN
from moduformer.errors import CatalogError, DataError, SpecError

ROWS = list(rows().values())


def test_the_table_has_its_76_rows_by_access() -> None:
    found = Counter(row.access for row in ROWS)
    assert found == {"open-weights": 45, "published-architecture": 12, "recipe": 14, "api-only": 5}
    assert len(mf.catalog) == len(list(mf.catalog)) == 76
    assert sum(row.year_in_table > 0 for row in ROWS) == 67


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in ROWS])
def test_a_row_is_complete(row) -> None:
    assert row.kind in {"encoder", "decoder", "encoder-decoder", "recurrent", "vision-language", "unpublished"}
    assert (row.kind == "unpublished") == (row.access == "api-only") == bool(row.api)
    assert bool(row.stages) == (row.access == "recipe")
    assert (row.access == "open-weights") <= bool(row.family and row.presets)
    assert row.sources
    assert not row.arxiv or re.fullmatch(r"\d{4}\.\d{4,5}", row.arxiv)
    assert len({size.label for size in row.sizes}) == len(row.sizes)
    assert all(not size.published or count(size.published) for size in row.sizes)
    for words in (row.summary, *row.footnotes, *row.corrections, *(stage.data for stage in row.stages)):
        assert re.search("[가-힣]", words.ko)
        assert not re.search("[가-힣]", words.en)
        assert words.en.strip()


def test_every_term_has_a_korean_word_or_is_a_name() -> None:
    terms = {row.access for row in ROWS} | {row.kind for row in ROWS}
    for row in ROWS:
        terms |= {*row.objectives, *row.positions, *row.norms, *row.attention, *(stage.name for stage in row.stages)}
        terms |= {word for link in row.builds_on for word in link.taken}
    assert sorted(terms - KOREAN.keys()) == []


def test_links_lead_to_rows_and_back_in_time() -> None:
    later = {("flan", "lamda"), ("codegeex", "chatglm")}  # described before, or continued after, what they build on
    for row in ROWS:
        for link in row.builds_on:
            assert link.taken
            assert rows()[link.id].year <= row.year or (row.id, link.id) in later
        assert all(stage.base in rows() for stage in row.stages)
        assert row.shape_of in ("", *rows())


def test_nothing_descends_from_itself() -> None:
    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, (*trail, name)
        for link in rows()[name].builds_on:
            walk(link.id, (*trail, name))

    for name in rows():
        walk(name, ())


def test_no_preset_belongs_to_two_rows() -> None:
    presets = Counter(preset for row in ROWS for preset in row.presets)
    assert [preset for preset, times in presets.items() if times > 1] == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("bert", "bert"),
        ("BERT", "bert"),
        ("GPT 3", "gpt-3"),
        ("google-bert/bert-base-uncased", "bert"),
        ("bert-large-cased", "bert"),
        ("PanGu-α", "pangu-alpha"),
        ("flan_t5", "flan-t5"),
        ("T0pp", "t0"),
        ("ernie", None),
        ("", None),
        ("../../etc/passwd", None),
    ],
)
def test_a_row_is_found_by_any_of_its_names(name: str, found: str | None) -> None:
    assert (name in mf.catalog) == (found is not None)
    if found is None:
        with pytest.raises(KeyError, match="near:"):
            mf.catalog[name]
    else:
        assert mf.catalog[name].id == found


def test_an_unknown_name_names_near_ones() -> None:
    with pytest.raises(CatalogError, match="bert"):
        mf.catalog["berd"]


def test_filters() -> None:
    assert {row.id for row in mf.catalog.filter(kind="decoder", korean=True)} == {"palm", "flan-palm"}
    assert {row.year for row in mf.catalog.filter(year=2019)} == {2019}
    small = mf.catalog.filter(access="open-weights", max_memory="60MB", dtype="fp32")
    assert {row.id for row in small} == {"bert", "electra"}  # bert-tiny and electra-small
    assert len(mf.catalog.filter(max_memory=60_000_000, dtype="fp32", access="open-weights")) == 2
    with pytest.raises(DataError, match="8GB"):
        mf.catalog.filter(max_memory="a lot")
    with pytest.raises(DataError, match="fp32"):
        mf.catalog.filter(dtype="fp64")


def test_a_frame_has_a_line_for_every_row() -> None:
    frame = mf.catalog.to_frame()
    assert len(frame) == 76
    assert frame.loc["bert", "korean"]
    assert frame.loc["gpt-2", "builds_on"] == ("gpt-1",)
    assert frame["korean"].isna().sum() == sum(row.korean is None for row in ROWS)


def test_a_size_is_found_by_label_and_preset() -> None:
    bert = mf.catalog["bert"]
    assert bert.size("large") is bert.size("bert-large-uncased")
    assert bert.size().label == "base"
    assert mf.catalog["gpt-2"].size().label == "small"
    assert bert.spec("bert-base-multilingual-cased").vocab == 119547
    assert bert.memory("base") == {"fp32": 437928960, "bf16": 218964480, "int8": 109482240, "int4": 54741120}
    with pytest.raises(SpecError, match="tiny, mini"):
        bert.size("huge")
    with pytest.raises(SpecError, match="not published"):
        mf.catalog["gpt-4"].spec()
    assert mf.catalog.architecture("gpt-3:175b").num_parameters() == 174_604_259_328


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in ROWS])
def test_the_line_that_runs_a_row_names_something_of_it(row) -> None:
    assert row.run.startswith(("mf.pipeline(", "mf.load(", "mf.build("))
    named = re.findall(r'"([^"]+)"', row.run)
    assert named[-1] in (*row.hub, *row.presets, row.api, *(size.label for size in row.sizes))
    if row.run.startswith("mf.build("):
        assert eval(row.run.removeprefix("mf.build(")[:-1], {"mf": mf}).num_parameters() > 0


def test_footnotes_say_what_the_table_had_wrong() -> None:
    assert "2020" in mf.catalog["gpt-3"].footnotes[0].en
    assert "ten times" in mf.catalog["mpt-7b"].footnotes[0].en
    assert mf.catalog["bert"].footnotes == ()


def test_the_table_is_read_without_torch() -> None:
    program = (
        "import sys, moduformer as mf\nassert len([row.run for row in mf.catalog]) == 76\n"
        "from moduformer.catalog import scaling\nmf.catalog['bert'], 'x' in mf.catalog\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("False", "")
