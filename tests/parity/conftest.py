"""Writes docs/families.md after a whole run of the parity tests: what was compared, and the largest error seen; and the
same as a record that the catalogue reads."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "families.md"
RECORD = Path(__file__).resolve().parents[2] / "moduformer" / "catalog" / "parity.json"
PROPERTY = "parity"


@pytest.fixture
def seen(record_property: Callable[[str, Any], None]) -> Callable[..., None]:
    """`seen(model_type, class_name, error, "float32")`: notes what one comparison found, for the page."""

    def note(model_type: str, name: str, error: float | None, precision: str = "float32") -> None:
        if error is not None:
            record_property(PROPERTY, (model_type, name, precision, error))

    return note


class Found:
    """The largest error of every family, class and precision; filled from the reports of all workers."""

    def __init__(self) -> None:
        self.errors: dict[str, dict[str, dict[str, float]]] = {}
        self.tests: dict[str, set[str]] = {}
        self.failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collects what a test has noted."""
        self.failed |= report.failed
        if report.when != "teardown":
            return
        for name, value in report.user_properties:
            if name == PROPERTY:
                model_type, variant, precision, error = value
                variants = self.errors.setdefault(model_type, {}).setdefault(variant, {})
                variants[precision] = max(variants.get(precision, 0.0), error)
                self.tests.setdefault(model_type, set()).add(report.nodeid.partition("::")[0])


def pytest_configure(config: pytest.Config) -> None:
    """One collector in the process that sees every report."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Found(), "parity-found")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Writes the page if every family was compared and nothing failed."""
    found = config.pluginmanager.get_plugin("parity-found")
    if found is None or found.failed or not found.errors:
        return
    from moduformer.families import MODEL_TYPES

    # A file of families may know one by several names.
    if set(MODEL_TYPES.values()) - {"native"} <= {MODEL_TYPES[name] for name in found.errors}:
        PAGE.write_text(page(found.errors), encoding="utf-8")
        RECORD.write_text(record(found.errors, found.tests), encoding="utf-8")
        terminalreporter.write_line(f"wrote {PAGE.name}: {len(found.errors)} families")


def record(errors: dict[str, dict[str, dict[str, float]]], tests: dict[str, set[str]]) -> str:
    """The same as JSON: for every family the classes compared, the bound of each precision, and the files of tests."""
    found = {}
    for model_type, variants in sorted(errors.items()):
        largest: dict[str, float] = {}
        for precisions in variants.values():
            for precision, error in precisions.items():
                largest[precision] = max(largest.get(precision, 0.0), error)
        bounds = {precision: above(error) for precision, error in sorted(largest.items())}
        found[model_type] = {"classes": sorted(variants), **bounds, "tests": sorted(tests[model_type])}
    return json.dumps(found, indent=1) + "\n"


def page(errors: dict[str, dict[str, dict[str, float]]]) -> str:
    """The page: a line a family."""
    from moduformer.families import MODEL_TYPES, family

    rows, lengths = [], []
    for model_type in sorted(errors):
        variants = errors[model_type]
        module = importlib.import_module(f"moduformer.families.{MODEL_TYPES[model_type]}")
        lines = len(Path(str(module.__file__)).read_text(encoding="utf-8").splitlines())
        lengths.append(lines)
        largest = {
            precision: max((found[precision] for found in variants.values() if precision in found), default=None)
            for precision in ("float32", "float64")
        }
        shown = " | ".join("-" if error is None else above(error) for error in largest.values())
        presets = ", ".join(family(model_type).presets) or "-"
        rows.append(f"| `{model_type}` | {', '.join(sorted(variants))} | {shown} | {lines} | {presets} |")
    middle = sorted(lengths)[len(lengths) // 2]
    return "\n".join(
        [
            "# Families",
            "",
            "Written by `pytest tests/parity`, which compares every class of every family with a reference whose every",
            "parameter is random: the largest difference seen over all draws and paddings, relative to the largest",
            "value and rounded up to a power of ten.",
            f"{len(rows)} families; the median family file has {middle} lines.",
            "",
            "| family | classes compared | float32 | float64 | lines | presets |",
            "| --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def above(error: float) -> str:
    """The power of ten that an error stays under."""
    return "0" if error == 0 else f"1e{math.ceil(math.log10(error)):+03d}"
