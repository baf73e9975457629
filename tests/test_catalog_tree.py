"""The family tree and the page of the table: nothing overlaps, nothing is missing, and the docs are what is written."""

import re
import xml.etree.ElementTree as ElementTree
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from moduformer.catalog import page, tree
from moduformer.catalog.lineage import Lineage
from moduformer.catalog.row import rows

DOCS = Path(__file__).resolve().parent.parent / "docs"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def drawing() -> ElementTree.Element:
    return ElementTree.fromstring(tree.svg())


def boxes(drawing: ElementTree.Element) -> dict[str, tuple[float, float, float, float]]:
    found = {}
    for node in drawing.iter(f"{SVG}g"):
        if name := node.get("data-id"):
            (rect,) = node.findall(f"{SVG}rect")
            x, y, width, height = (float(rect.get(key, "")) for key in ("x", "y", "width", "height"))
            found[name] = (x, y, x + width, y + height)
    return found


def segments(drawing: ElementTree.Element) -> list[tuple[str, list[tuple[float, float]]]]:
    return [
        (line.get("class", ""), [(float(x), float(y)) for x, y in re.findall(r"([\d.]+),([\d.]+)", line.get("d", ""))])
        for line in drawing.iter(f"{SVG}path")
    ]


def test_every_model_is_drawn_once_and_none_over_another(drawing) -> None:
    found = boxes(drawing)
    assert found.keys() == rows().keys()
    for (one, a), (other, b) in combinations(found.items(), 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (one, other)


def test_no_line_runs_through_a_model(drawing) -> None:
    found = boxes(drawing)
    for style, points in segments(drawing):
        for (x1, y1), (x2, y2) in pairwise(points):
            left, right, top, bottom = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
            for name, (x, y, end, foot) in found.items():
                inside = left < end - 0.1 and right > x + 0.1 and top < foot - 0.1 and bottom > y + 0.1
                assert not inside, (style, name)


def test_no_two_lines_cross(drawing) -> None:
    """A line that stands and one that lies may meet in a corner or a fork, never inside both."""
    pieces = [piece for _, points in segments(drawing) for piece in pairwise(points)]
    lying = [sorted((a, b)) for a, b in pieces if a[1] == b[1]]
    standing = [sorted((a, b), key=lambda point: point[1]) for a, b in pieces if a[0] == b[0]]
    for (x1, y), (x2, _) in lying:
        for (x, top), (_, bottom) in standing:
            assert not (x1 < x < x2 and top < y < bottom), ((x1, x2, y), (x, top, bottom))


def test_a_crossing_would_be_seen() -> None:
    crossed = '<svg xmlns="http://www.w3.org/2000/svg"><path d="M0,5 10,5"/><path d="M5,0 5,10"/></svg>'
    with pytest.raises(AssertionError):
        test_no_two_lines_cross(ElementTree.fromstring(crossed))


def test_columns_are_years_and_children_stand_right_of_what_they_build_on(drawing) -> None:
    places, found = Lineage().places, boxes(drawing)
    by_year = sorted(places.values(), key=lambda place: place.column)
    for before, after in pairwise(by_year):
        assert found[before.row.id][0] <= found[after.row.id][0]
    for name, place in places.items():
        if place.parent and rows()[place.parent].year <= place.row.year:
            assert found[place.parent][2] < found[name][0]


def test_names_fit_their_boxes(drawing) -> None:
    for name, (x, _, end, _) in boxes(drawing).items():
        assert end - x >= 7.2 * len(rows()[name].name) * 0.9, name


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_page_is_whole_and_loads_nothing(language: str) -> None:
    written = tree.html(language)
    assert f'<html lang="{language}">' in written
    assert "{{" not in written
    assert not re.findall(r'(?:src|href|url\()\s*=?\s*["\']?(?:https?:)?//', written)
    assert all(row.summary.in_language(language).split(".")[0][:20] in written for row in rows().values())
    script = written[written.index("<script>") :]
    assert script.count("</script>") == 1


@pytest.mark.parametrize(("language", "suffix"), [("en", ""), ("ko", ".ko")])
def test_the_docs_hold_what_the_commands_write(language: str, suffix: str) -> None:
    again = "run: moduformer models --language {0} --tree docs/pictures/family-tree{1}.svg --page docs/catalog{1}.md"
    picture = (DOCS / "pictures" / f"family-tree{suffix}.svg").read_text(encoding="utf-8")
    assert picture == tree.svg(language), again.format(language, suffix)
    assert (DOCS / f"catalog{suffix}.md").read_text(encoding="utf-8") == page.markdown(language), again.format(
        language, suffix
    )


def test_a_page_has_a_line_for_every_row() -> None:
    lines = [line for line in page.markdown("en").splitlines() if line.startswith("|") and "<br>" in line]
    assert len(lines) == len(rows())
    assert all(line.count(" | ") == 6 for line in lines)
