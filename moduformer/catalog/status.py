"""What a row can claim, computed from what exists: its family, the counts of its sizes, and what the tests recorded.

Nothing here is typed in a row. `parity.json` is written by `pytest tests/parity`, `trained.json` by
`MODUFORMER_RECORD=1 pytest tests/test_catalog_published.py`, which trains reduced copies.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from moduformer.catalog.row import Row, Size, Words, count
from moduformer.errors import SpecError

NEAR = 0.01
"""Counts this close to the published one are equal to it."""

SIZES = "tests/test_catalog_sizes.py"


@dataclass(frozen=True)
class Check:
    """One thing a row claims or cannot claim yet: whether it holds, what was found, and the test that shows it."""

    name: str
    holds: bool
    found: Words
    test: str = ""


@dataclass(frozen=True)
class Status:
    """All that is known of a row. `full` is everything its kind of access allows."""

    row: Row
    checks: tuple[Check, ...]

    @property
    def full(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)

    @property
    def tests(self) -> tuple[str, ...]:
        """The tests behind it."""
        return tuple(dict.fromkeys(check.test for check in self.checks if check.test))

    def in_language(self, language: str) -> str:
        """What was found, in one line."""
        return "; ".join(check.found.in_language(language) for check in self.checks)


@dataclass(frozen=True)
class Counted:
    """A size beside its published count. `verdict` is "equal", "rounded", "explained", "unexplained", "unpublished" (no
    count to compare with) or "not built", for which `why` says why."""

    size: Size
    parameters: int
    verdict: str
    why: str = ""


def counted(row: Row) -> tuple[Counted, ...]:
    """Every size of a row, counted on its spec."""
    return tuple(_counted(row, size) for size in row.sizes)


def status(row: Row) -> Status:
    """What a row can claim today."""
    by_access = {
        "open-weights": _open_weights,
        "published-architecture": _published,
        "recipe": _recipe,
        "api-only": _interface,
    }
    return Status(row, tuple(by_access[row.access](row)))


@cache
def parity(family: str) -> Mapping[str, Any] | None:
    """What the parity tests recorded for a family, or for one that is read by the same file; None if nothing."""
    from moduformer.families import MODEL_TYPES

    record = _record("parity.json")
    if family in record:
        return record[family]
    siblings = [name for name in MODEL_TYPES if MODEL_TYPES[name] == MODEL_TYPES.get(family)]
    return next((record[name] for name in siblings if name in record), None)


def _counted(row: Row, size: Size) -> Counted:
    try:
        parameters = row.parameters(size.label)
    except SpecError as error:
        return Counted(size, 0, "not built", str(error))
    return Counted(size, parameters, _verdict(size, parameters))


def _verdict(size: Size, parameters: int) -> str:
    published = size.published_parameters
    if not published:
        return "unpublished"
    if abs(parameters / published - 1) <= NEAR:
        return "equal"
    if size.because:
        return "explained"
    return "rounded" if rounds_to(parameters, size.published) else "unexplained"


def rounds_to(parameters: int, figure: str) -> bool:
    """Whether a count written with as many digits as a figure has is that figure: 6,738,415,616 is "6.7B" and "7B"."""
    value = count(figure)
    digits = [character for character in figure if character.isdigit()]
    significant = len("".join(digits).lstrip("0") if "." in figure else "".join(digits).strip("0"))
    place = 10 ** (math.floor(math.log10(value)) - max(significant, 1) + 1)
    return round(parameters / place) * place == value


def _open_weights(row: Row) -> Iterable[Check]:
    yield _sizes(row)
    yield _parity(row)


def _published(row: Row) -> Iterable[Check]:
    yield _sizes(row)
    if row.family:
        yield _parity(row)
        return
    ran = _record("trained.json").get(row.id)
    if ran is None:
        yield Check("trains", False, Words("no reduced copy was trained yet", "축소판 학습 기록이 아직 없음"))
    else:
        below = ran["loss"] < ran["unigram"]
        found = f"{ran['loss']:.2f} < {ran['unigram']:.2f}" if below else f"{ran['loss']:.2f} ≥ {ran['unigram']:.2f}"
        words = Words(f"a reduced copy trains (loss {found} unigram)", f"축소판이 학습됨 (손실 {found} 유니그램)")
        yield Check("trains", below, words, ran["test"])


def _recipe(row: Row) -> Iterable[Check]:
    stages = len(row.stages)
    words = Words(
        f"recipe: not yet run ({stages} stage{'s'[: stages > 1]} described)",
        f"레시피: 아직 실행 안 됨 ({stages}단계 기술)",
    )
    yield Check("recipe", False, words)
    yield _sizes(row)
    if row.family:
        yield _parity(row)


def _interface(row: Row) -> Iterable[Check]:
    from moduformer.hosted.formats import FORMATS

    vendor = (row.api or "").partition(":")[0]
    if vendor in FORMATS:
        yield Check(
            "client",
            True,
            Words(
                f"reached through {vendor}'s interface, which is tested on its wire format", f"{vendor} API로 연결됨"
            ),
            f"tests/test_hosted.py::test_each_vendors_wire_format[{vendor}]",
        )
    else:
        yield Check("client", False, Words("interface only: no client here", "API 전용: 클라이언트 없음"))


def _sizes(row: Row) -> Check:
    """Every size is an architecture whose count is the published one, or the row says why not."""
    closed = [size.label for size in row.sizes if not size.released]
    found = [each for each in counted(row) if each.size.released]
    missing = [each.size.label for each in found if each.verdict == "not built"]
    off = [each.size.label for each in found if each.verdict == "unexplained"]
    explained = sum(each.verdict == "explained" for each in found)
    built = len(found) - len(missing)
    en, ko = f"{built} of {len(found)} sizes build", f"{len(found)}개 크기 중 {built}개 구성"
    if explained:
        en, ko = f"{en}, {explained} count{'s'[: explained > 1]} explained", f"{ko}, {explained}개 차이 설명"
    if closed:
        en, ko = f"{en}, {', '.join(closed)} was never released", f"{ko}, {', '.join(closed)} 미공개"
    if missing:
        en, ko = f"{en}, not {', '.join(missing)}", f"{ko}, 제외: {', '.join(missing)}"
    if off:
        en, ko = f"{en}, counts off: {', '.join(off)}", f"{ko}, 개수 불일치: {', '.join(off)}"
    return Check("sizes", not missing and not off, Words(en, ko), f"{SIZES}::test_a_row_builds[{row.id}]")


def _parity(row: Row) -> Check:
    """The family reads published files and gives the numbers of a reference."""
    found = [parity(family) for family in _families(row)]
    if not found or any(record is None for record in found):
        return Check("parity", False, Words("not compared with a reference", "참조 구현과 비교 안 됨"))
    bound = max((record.get("float32") or record["float64"] for record in found if record), key=float)
    tests = ", ".join(dict.fromkeys(test for record in found if record for test in record["tests"]))
    words = Words(f"agrees with a reference within {bound}", f"참조 구현과 {bound} 이내로 일치")
    return Check("parity", True, words, tests)


def _families(row: Row) -> tuple[str, ...]:
    """The families of a row's presets; a row may have sizes of more than one."""
    from moduformer.families.presets import family_names

    names = family_names()
    return tuple(dict.fromkeys([row.family, *(names[preset] for preset in row.presets)]))


@cache
def _record(name: str) -> Mapping[str, Any]:
    file = files("moduformer.catalog").joinpath(name)
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
