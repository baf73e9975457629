"""Reading tables: every string stays itself, every bad row has a line, nothing hostile takes memory."""

import csv
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cost import processor_seconds, yardstick

from moduformer.errors import DataError
from moduformer.train import parquet as parquet_module
from moduformer.train.tables import read_table

STRINGS = ["NA", "null", "None", "007", "1e5", "TRUE", "", "nan", " 1 ", "1,5", "-", "N/A", "0x10", "2020-01-01"]


def write(folder: Path, name: str, content: str | bytes, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def rows(table) -> list[list]:
    return table.frame.values.tolist()


# 17 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_cells_stay_the_strings_they_are(tmp_path, suffix):
    delimiter = {"csv": ",", "tsv": "\t"}[suffix]
    path = tmp_path / f"data.{suffix}"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["text", "label"])
        writer.writerows((f"sentence {i}", value) for i, value in enumerate(STRINGS))
    table = read_table(path)
    assert table.column("label") == STRINGS
    assert all(type(value) is str for value in table.column("label"))
    # The attack: pandas' defaults lose most of these.
    assert pd.read_csv(path, sep=delimiter)["label"].astype(str).tolist() != STRINGS


def test_quoting_agrees_with_the_csv_module(tmp_path):
    cells = [
        'say "hi"',
        "a,b",
        "two\nlines",
        "two\r\nlines",
        '"',
        '""',
        ",",
        " lead",
        "",
        "줄\n바꿈",
        "u\u2028v\x0bw\x85x",
    ]
    expected = [[a, b] for a in cells for b in cells]
    path = tmp_path / "data.csv"
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
        for ending in ("\n", "\r\n"):
            with path.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, quoting=quoting, lineterminator=ending).writerows([["text", "label"], *expected])
            table = read_table(path)
            assert rows(table) == expected
            assert table.rows_read == len(expected)


def test_lines_count_physical_lines(tmp_path):
    path = write(tmp_path, "data.csv", 'text,label\n"two\nlines",a\nthree,b\n\n\nfour,c\n')
    table = read_table(path)
    assert table.lines == [2, 4, 7]
    assert table.rows == [1, 2, 3]
    assert table.where(2) == "line 7"


# 18 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('text,label\ngood,a\n"never closed,b\nmore,c\n', 3),
        ('text,label\n"good",a\n"cut', 3),
        ("text,label\ngood,a\nwith\0nul,b\n", 3),
        ("text,label\ngood,a\nonly one cell\nmore,c\n", 3),
        ("text,label\ngood,a\nmore,c\none,two,three\n", 4),
        ('text,label\ngood,a\n"closed"then,b\n', 3),
        (b"text,label\n" + "좋은 영화".encode() + b",a\nbad \xff byte,b\n", 3),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path, content, line):
    path = write(tmp_path, "data.csv", content)
    with pytest.raises(DataError, match=rf"data\.csv.*line {line}\b"):
        read_table(path)


def test_rows_read_are_used_or_reported(tmp_path):
    lines = ["text,label"]
    for i in range(100):
        lines.append("ragged" if i % 10 == 3 else f"nul\0,{i}" if i % 10 == 7 else f"text {i},{i % 2}")
    path = write(tmp_path, "data.csv", "\n".join(lines) + "\n")
    table = read_table(path, bad_rows="report")
    assert table.rows_read == 100 == len(table) + len(table.refused)
    assert [bad.row for bad in table.refused] == [i + 1 for i in range(100) if i % 10 in (3, 7)]
    assert all(bad.line == bad.row + 1 for bad in table.refused)
    assert "1 cells where the header has 2" in table.refused[0].reason
    assert "NUL" in table.refused[1].reason


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp949", "euc-kr"]
)
def test_encodings_are_found(tmp_path, encoding):
    content = "text,label\n" + "".join(f"영화가 정말 좋았다 {i},긍정\n" for i in range(50))
    table = read_table(write(tmp_path, "data.csv", content, encoding))
    assert table.columns == ["text", "label"]
    assert table.column("label") == ["긍정"] * 50
    assert table.column("text")[7] == "영화가 정말 좋았다 7"
    assert bool(table.notes) == (encoding not in ("utf-8", "utf-8-sig"))


@pytest.mark.parametrize(("encoding", "said"), [("latin-1", "latin-1"), ("cp1252", "cp1252")])
def test_western_encodings_come_last_and_are_said(tmp_path, encoding, said):
    text = "Äpfel für das Café, naïve façade" + (" “quoted”" if encoding == "cp1252" else "")
    table = read_table(write(tmp_path, "data.csv", f'text,label\n"{text}",a\nplain,b\n', encoding))
    assert table.column("text")[0] == text
    assert any(said in note for note in table.notes)


def test_western_text_that_decodes_as_korean_by_accident_is_not_korean(tmp_path):
    content = "text,label\nÄpfel,a\nÄrger,b\n"
    assert content.encode("latin-1").decode("cp949") != content
    assert read_table(write(tmp_path, "data.csv", content, "latin-1")).column("text") == ["Äpfel", "Ärger"]


def test_damaged_utf8_is_not_read_as_another_encoding(tmp_path):
    good = "text,label\n" + "한국어 문장입니다,a\n" * 20
    path = write(tmp_path, "data.csv", good.encode() + "잘린 글".encode()[:-1] + b",b\n")
    with pytest.raises(DataError, match="line 22: byte 0x"):
        read_table(path)
    assert read_table(path, bad_rows="report").refused[0].line == 22


def test_header_delimiter_and_names_are_guessed_and_said(tmp_path):
    table = read_table(write(tmp_path, "a.csv", "내용 ; 라벨\n좋다, 정말;1\n싫다;0\n"))
    assert table.columns == ["내용", "라벨"]
    assert rows(table) == [["좋다, 정말", "1"], ["싫다", "0"]]
    assert any("semicolon" in note for note in table.notes)
    headless = read_table(write(tmp_path, "b.csv", "good film,pos\nbad film,neg\nfine film,pos\n"))
    assert len(headless) == 3
    assert headless.columns == ["column_1", "column_2"]
    assert any("looks like data" in note for note in headless.notes)
    assert len(read_table(tmp_path / "b.csv", header=True)) == 2
    with pytest.raises(DataError, match="'text' is used more than once"):
        read_table(write(tmp_path, "c.csv", "text,text\na,b\n"))


def test_tsv_without_quoting_is_read_literally(tmp_path):
    path = write(tmp_path, "ratings.tsv", 'id\tdocument\tlabel\n1\t"인생 영화\t1\n2\t그는 "최고" 다\t1\n3\t별로\t0\n')
    table = read_table(path)
    assert table.column("document") == ['"인생 영화', '그는 "최고" 다', "별로"]
    assert any("quotes are read as plain" in note for note in table.notes)
    quoted = read_table(write(tmp_path, "q.tsv", 'text\tlabel\n"tab\there"\ta\nplain\tb\n'))
    assert quoted.column("text") == ["tab\there", "plain"]


def test_columns_are_required_and_suggested(tmp_path):
    path = write(tmp_path, "data.csv", "text,label,id\na,b,1\n")
    assert read_table(path, ["label", "text"]).columns == ["text", "label"]
    with pytest.raises(DataError, match=r"no column 'lable'\. Did you mean 'label'"):
        read_table(path, ["lable"])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "empty"),
        ("a.csv", b"\n\n", "empty"),
        ("a.xlsx", b"PK\x03\x04rest", "Excel"),
        ("a.csv", b"PK\x03\x04rest", "Excel"),
        ("a.csv.gz", b"\x1f\x8b\x08", "gzip"),
        ("a.pkl", b"\x80\x04\x95", "pickle"),
        ("a.parquet", b"text,label\n", "not a Parquet file"),
        ("a.parquet", b"PAR1", "not a Parquet file"),
        ("a.parquet", b"PAR1" + b"\xff" * 40 + b"PAR1", "not a Parquet file"),
    ],
)
def test_other_files_are_refused_by_what_they_are(tmp_path, name, content, said):
    with pytest.raises(DataError, match=said):
        read_table(write(tmp_path, name, content))


def test_missing_files_and_wrong_sources(tmp_path):
    for source in (tmp_path / "none.csv", tmp_path, "a\0b.csv", 5, "\ud800.csv"):
        with pytest.raises(DataError):
            read_table(source)
    with pytest.raises(DataError, match="no text encoding"):
        read_table(write(tmp_path, "a.csv", "a,b\n"), encoding="klingon")


# 19 --------------------------------------------------------------------------------------------------------------

HOSTILE_LINES = {
    "nesting": "[" * 100_000 + "]" * 100_000,
    "nested objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "nested value": '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "nesting Python would follow": '{"text": ' + "[" * 100 + "]" * 100 + "}",
    "integer Python would read": '{"text": "a", "n": ' + "9" * 100 + "}",
    "NaN": '{"text": "a", "score": NaN}',
    "infinity": '{"text": "a", "score": -Infinity}',
    "overflow": '{"text": "a", "score": 1e999}',
    "duplicate": '{"text": "a", "text": "b"}',
    "inner duplicate": '{"text": {"a": 1, "a": 1}}',
    "integer": '{"text": "a", "n": ' + "9" * 100_000 + "}",
    "cut": '{"text": "a", "label": "b',
    "cut object": '{"text": "a"',
    "no object": '["a", "b"]',
    "surrogate": '{"text": "\\ud800"}',
    "escaped NUL": '{"text": "a\\u0000b"}',
    "trailing": '{"text": "a"} {"text": "b"}',
}


@pytest.mark.parametrize("kind", HOSTILE_LINES)
def test_hostile_json_lines_are_refused_with_their_line(tmp_path, kind):
    good = '{"text": "좋다 \\"[{", "label": 1}\n'
    path = write(tmp_path, "data.jsonl", good + good + HOSTILE_LINES[kind])
    with pytest.raises(DataError, match="line 3: "):
        read_table(path)
    table = read_table(path, bad_rows="report")
    assert (len(table), table.rows_read, table.refused[0].line) == (2, 3, 3)


def test_json_values_keep_their_types(tmp_path):
    values = ["1", 1, 1.0, True, None, ["a", "b"], {"k": "NA"}, "null", 12345678901234567890]
    content = "".join(json.dumps({"text": "t", "label": v}, ensure_ascii=False) + "\n" for v in values)
    for name, text in {
        "a.jsonl": content,
        "b.json": json.dumps([{"text": "t", "label": v} for v in values], indent=1),
    }.items():
        found = read_table(write(tmp_path, name, text)).column("label")
        assert found == values
        assert [type(v) for v in found] == [type(v) for v in values]


def test_json_arrays_are_read_row_by_row(tmp_path):
    data = [{"text": 'a ] } " \\ [ {', "labels": [[1], {"x": []}]}, {"text": "나\\n\n", "labels": []}, {"text": "c"}]
    for indent in (None, 2):
        table = read_table(write(tmp_path, "a.json", json.dumps(data, indent=indent)))
        assert table.column("text") == [row["text"] for row in data]
        assert table.column("labels") == [[[1], {"x": []}], [], None]
    assert any("1 rows have no 'labels'" in note for note in table.notes)
    assert read_table(write(tmp_path, "b.json", json.dumps({"version": "1", "data": data}))).column("text")[2] == "c"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('[\n{"text": "a"},\n{"text": "b"', 3),
        ('[\n{"text": "a"}\n{"text": "b"}\n]', 3),
        ('[\n{"text": "a"},\n{"text": NaN}\n]', 3),
        ('[\n{"text": "a"},\n{"text": "a", "text": "b"}\n]', 3),
        ('[\n{"text": "a"},\n' + "[" * 100_000, 3),
        ('[\n{"text": "a"},\n3\n]', 4),
        ('[\n{"text": "a"}\n]\n{}', 4),
    ],
)
def test_damaged_json_arrays_are_refused_with_a_line(tmp_path, content, line):
    with pytest.raises(DataError, match=rf"line {line}\b"):
        read_table(write(tmp_path, "a.json", content))


# 20 --------------------------------------------------------------------------------------------------------------


def test_parquet_keeps_types_and_missing_values(tmp_path):
    data = {
        "text": ["NA", "", None, "007"],
        "label": [1, None, 3, 4],
        "flag": [True, None, False, True],
        "tags": [["a", "b"], [], None, ["c"]],
        "spans": [[{"start": 1, "label": "PER"}], [], None, []],
        "score": [1.0, 2.5, None, 4.0],
    }
    for options in (
        {},
        {"compression": "zstd", "use_dictionary": False},
        {"data_page_version": "2.0"},
        {"version": "1.0"},
    ):
        pq.write_table(pa.table(data), tmp_path / "a.parquet", row_group_size=2, **options)
        table = read_table(tmp_path / "a.parquet")
        assert table.frame.to_dict("list") == data
        assert type(table.column("label")[0]) is int
        assert (table.rows_read, table.lines) == (4, None)
        assert read_table(tmp_path / "a.parquet", ["tags"]).columns == ["tags"]


def test_page_headers_account_for_every_byte(tmp_path):
    table = pa.table({"text": [f"text {i} " * 20 for i in range(5000)], "tags": [["x", str(i)] for i in range(5000)]})
    for options in ({}, {"use_dictionary": False, "data_page_size": 2000}, {"compression": "none"}):
        path = tmp_path / "a.parquet"
        pq.write_table(table, path, **options)
        metadata = pq.read_metadata(path)
        with path.open("rb") as file:
            for i in range(2):
                chunk = metadata.row_group(0).column(i)
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                total, values, pages = parquet_module._declared_size(
                    file, start, chunk.total_compressed_size, path.stat().st_size
                )
                # The footer's figure includes the page headers, a few dozen bytes a page without statistics.
                assert 0 < chunk.total_uncompressed_size - total < 20_000 * pages
                assert values == chunk.num_values


class Hostile(pa.ExtensionType):
    def __init__(self) -> None:
        super().__init__(pa.string(), "moduformer.test.hostile")

    def __arrow_ext_serialize__(self) -> bytes:
        return b"payload"

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type, serialized):
        raise AssertionError("the payload was loaded")


def test_extension_types_are_refused_before_their_loader_runs(tmp_path):
    pa.register_extension_type(Hostile())
    try:
        array = pa.ExtensionArray.from_storage(Hostile(), pa.array(["a"]))
        pq.write_table(pa.table({"text": array}), tmp_path / "a.parquet")
        with pytest.raises(DataError, match="extension type"):
            read_table(tmp_path / "a.parquet")
    finally:
        pa.unregister_extension_type("moduformer.test.hostile")
    with pytest.raises(DataError, match="extension type"):
        read_table(tmp_path / "a.parquet")


def test_a_damaged_arrow_schema_is_refused(tmp_path):
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    raw = (tmp_path / "a.parquet").read_bytes()
    stored = pq.read_metadata(tmp_path / "a.parquet").metadata[b"ARROW:schema"]
    broken = write(tmp_path, "b.parquet", raw.replace(stored, b"!" * len(stored)))
    with pytest.raises(DataError):
        read_table(broken)


def test_every_cut_and_many_flipped_bytes_of_parquet_end_in_a_data_error(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", "b"] * 20, "tags": [["x"], ["y", "z"]] * 20}), path)
    raw = path.read_bytes()
    for cut in range(0, len(raw), 37):
        with pytest.raises(DataError):
            read_table(write(tmp_path, "cut.parquet", raw[:cut]))
    for at in range(4, len(raw), 23):
        damaged = bytearray(raw)
        damaged[at] ^= 0x5A
        try:
            read_table(write(tmp_path, "flip.parquet", bytes(damaged)))
        except DataError:
            continue


ATTACKS = """
    import pathlib, re, sys, time
    import numpy, pandas, pyarrow, pyarrow.compute, pyarrow.parquet
    from moduformer.errors import DataError
    from moduformer.train.tables import read_table
    def peak():
        status = pathlib.Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\\s+(\\d+)", status).group(1))
    read_table(sys.argv[1])
    for path in sys.argv[2:]:
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is in use
        before = peak()
        begin = time.process_time()
        try:
            read_table(path)
            raise SystemExit(path + " was read")
        except DataError as error:
            message = str(error)
        took = time.process_time() - begin
        grown = (peak() - before) // 1024
        print(pathlib.Path(path).name, round(took, 2), grown, message[:200], sep="|")
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures memory through Linux's /proc")
def test_large_hostile_files_take_neither_time_nor_memory(tmp_path):
    huge = b"x" * 200_000_000
    write(tmp_path, "field.csv", b"text,label\ngood,a\n" + huge + b",b\n")
    write(tmp_path, "quoted.csv", b'text,label\ngood,a\n"' + huge[:1000] + b"\n" + (b"y" * 99 + b"\n") * 800_000)
    write(tmp_path, "line.jsonl", b'{"text": "a"}\n{"text": "' + huge[:80_000_000] + b'"}\n')
    write(tmp_path, "array.json", b'[{"text": "a"},\n{"text": "' + huge[:80_000_000] + b'"}]\n')
    del huge
    bomb = pa.array([f"{i:04}" + "0" * 2**20 for i in range(400)])
    pq.write_table(pa.table({"text": bomb}), tmp_path / "bomb.parquet", compression="zstd", use_dictionary=False)
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["z" * 500_000]))
    pq.write_table(pa.table({"text": repeated}), tmp_path / "dictionary.parquet", compression="zstd")
    offsets = pa.array(range(20_001), pa.int32())
    lists = pa.ListArray.from_arrays(offsets, repeated)
    pq.write_table(pa.table({"text": lists}), tmp_path / "lists.parquet", compression="zstd")
    pq.write_table(pa.table({"flag": pa.array([True]).take(pa.array([0] * 8_000_000))}), tmp_path / "runs.parquet")
    good = tmp_path / "good.parquet"
    pq.write_table(pa.table({"text": ["a", "b"], "tags": [["x"], ["y"]]}), good)
    names = ["field.csv", "quoted.csv", "line.jsonl", "array.json"]
    names += ["bomb.parquet", "dictionary.parquet", "lists.parquet", "runs.parquet"]
    for name in names[4:]:
        assert (tmp_path / name).stat().st_size < 2_000_000
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ATTACKS), str(good), *(str(tmp_path / name) for name in names)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    unit = processor_seconds(yardstick)
    results = [line.split("|") for line in done.stdout.splitlines()]
    assert [name for name, *_ in results] == names
    for name, took, grown, message in results:
        assert float(took) < 100 * unit, (name, took, unit)
        assert int(grown) < 64, (name, grown)
        assert "line 3" in message or "line 2" in message or "more than" in message, message


# memory ----------------------------------------------------------------------------------------------------------


def test_tables_in_memory_keep_types_and_name_missing_values():
    frame = pd.DataFrame(
        {"text": ["a", None, "NA"], "label": pd.array([1, None, 3], dtype="Int64"), "x": [1.5, None, 2]}
    )
    table = read_table(frame)
    assert table.frame.to_dict("list") == {"text": ["a", None, "NA"], "label": [1, None, 3], "x": [1.5, None, 2.0]}
    assert [type(v) for v in table.column("label")] == [int, type(None), int]
    assert read_table([{"text": "a", "label": True}, {"text": "b"}]).column("label") == [True, None]
    assert rows(read_table({"text": ["a"], "label": ["b"]})) == [["a", "b"]]
    assert read_table(pa.table({"text": ["a"]})).column("text") == ["a"]
    frame.loc[0, "text"] = "changed"
    assert table.column("text")[0] == "a"
    with pytest.raises(DataError, match="differ in length"):
        read_table({"text": ["a"], "label": []})
    with pytest.raises(DataError, match="row 2: a row is a dict"):
        read_table([{"text": "a"}, "b"])


def test_real_files_are_read_as_independent_readers_read_them(shared):
    for name in ("klue_ynat_dev/train.csv", "cola/train.csv"):
        with (shared / "data" / name).open(encoding="utf-8", newline="") as file:
            expected = list(csv.reader(file, strict=True))
        table = read_table(shared / "data" / name)
        assert [table.columns, *rows(table)] == expected
    for name in ("emotion/validation.parquet", "go_emotions/validation.parquet", "klue_ner_dev/test.parquet"):
        path = shared / "data" / name
        assert read_table(path).frame.to_dict("list") == pq.read_table(path).to_pydict()
