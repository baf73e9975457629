"""A document as a card and as a page: strangers' words stay words."""

import re
from html.parser import HTMLParser

from moduformer.report.document import Code, Document, Mark, MarkedText, Section, Table, as_html, as_markdown

EVIL = '<script>alert(1)</script> | [x](javascript:y) `a` "b" & \x00\ud800'


def document() -> Document:
    marks = [Mark(0, 3, EVIL, "right"), Mark(4, 7, "X", "wrong"), Mark(5, 9, "Y", "missed")]
    marked = MarkedText("김철수 <b>lives</b> here", marks, EVIL)
    parts = [EVIL, Table(["name", EVIL], [[EVIL, "1"]], EVIL), Code(f"```\n{EVIL}"), marked]
    return Document(EVIL, EVIL, [Section(EVIL, parts), Section("empty", [])], {"tags": [EVIL], "value": 0.5})


def test_the_page_holds_words_as_words_and_loads_nothing():
    page = as_html(document())
    seen: list[str] = []
    opened: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            assert tag not in ("script", "b") or (tag == "b" and opened[-1] == "mark")
            assert all(
                name in ("lang", "charset", "name", "content", "http-equiv", "class", "scope") for name, _ in attrs
            )
            if tag != "meta":
                opened.append(tag)

        def handle_endtag(self, tag):
            assert opened.pop() == tag

        def handle_data(self, data):
            seen.append(data)

    Reader().feed(page)
    assert opened == []
    assert "default-src 'none'" in page
    assert "\x00" not in page
    text = "".join(seen)
    assert text.count("alert(1)") >= 6
    assert "김철수" in text
    assert "lives</b> here" in text
    assert page.encode("utf-8")


def test_marks_that_overlap_show_the_first():
    page = as_html(document())
    assert len(re.findall("<mark", page)) == 2


def test_the_card_holds_words_as_words():
    card = as_markdown(document())
    assert card.startswith("---\n")
    body = card.split("---\n", 2)[2]
    outside = re.sub(r"````python\n.*?\n````", "", body, flags=re.DOTALL)
    assert "<script" not in outside
    assert "](" not in outside
    rows = [line for line in outside.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {3}
    assert "## empty" not in card
    assert as_markdown(document()) == card
