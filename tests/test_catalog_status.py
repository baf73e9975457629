"""What rows claim is computed from what is there, and nothing claims more."""

from pathlib import Path

import pytest

from moduformer.catalog import status as statuses
from moduformer.catalog.row import rows
from moduformer.catalog.status import parity, status
from moduformer.families import MODEL_TYPES

REPOSITORY = Path(__file__).resolve().parent.parent
EVERY = [pytest.param(row, id=row.id) for row in rows().values()]


@pytest.mark.parametrize("row", EVERY)
def test_a_row_claims_what_is_there_and_no_more(row) -> None:
    found = status(row)
    checks = {check.name: check for check in found.checks}
    assert found.full == all(check.holds for check in found.checks)
    assert found.in_language("en")
    assert found.in_language("ko")
    assert all(check.test for check in found.checks if check.holds)
    for test in found.tests:
        for file in test.split(", "):
            assert (REPOSITORY / file.partition("::")[0]).is_file(), file
    if row.access == "recipe":
        assert not checks["recipe"].holds
        assert "not yet run" in checks["recipe"].found.en
    if row.access == "api-only":
        assert set(checks) == {"client"}
    if row.access == "open-weights":
        assert checks["parity"].holds == (parity(row.family) is not None)


def test_a_family_that_was_not_compared_is_not_claimed(monkeypatch) -> None:
    whole = dict(statuses._record("parity.json"))
    assert status(rows()["bert"]).full
    less = {family: record for family, record in whole.items() if family != "bert"}
    monkeypatch.setattr(statuses, "_record", lambda name: less)
    statuses.parity.cache_clear()
    try:
        found = status(rows()["bert"])
        assert not found.full
        assert "not compared" in found.in_language("en")
    finally:
        statuses.parity.cache_clear()


def test_a_wrong_count_is_seen(monkeypatch) -> None:
    row = rows()["gpt-j"]
    monkeypatch.setattr(type(row), "parameters", lambda self, size=None: 7_000_000_000)
    assert "counts off: 6b" in status(row).in_language("en")


def test_a_reduced_copy_counts_when_it_beats_the_unigram(monkeypatch) -> None:
    row = rows()["palm"]
    for loss, full in ((3.0, True), (5.0, False)):
        ran = {"palm": {"loss": loss, "unigram": 4.0, "test": "tests/test_catalog_status.py"}}
        monkeypatch.setattr(statuses, "_record", lambda name, ran=ran: ran if name == "trained.json" else {})
        assert status(row).full is full


def test_the_record_of_parity_is_that_of_the_page() -> None:
    """Both are written by the parity tests; one that was edited by hand would differ."""
    page = {}
    for line in (REPOSITORY / "docs" / "families.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            family, classes, single, double, *_ = (cell.strip(" `") for cell in line.strip("|").split("|"))
            page[family] = (classes.split(", "), single, double)
    record = {
        family: (found["classes"], found.get("float32", "-"), found.get("float64", "-"))
        for family, found in statuses._record("parity.json").items()
    }
    assert record == page
    assert record.keys() <= MODEL_TYPES.keys()
