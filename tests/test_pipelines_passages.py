"""Long texts in passages: nothing left out, edges where readers pause, no character taken apart."""

import random
import unicodedata

import pytest

from moduformer.errors import PipelineError
from moduformer.pipelines.passages import join, passages

ENGLISH = "The sun rises. It was a dark, long night; Dr. Lee left at 3.5 p.m. Who lives here? Nobody does! The end."
KOREAN = "영화가 정말 재미있다. 음악도 좋았다! 서울은 오래된 도시이다? 강이 흐른다."
JAPANESE = "映画はとても面白かった。音楽もよかった！古い町です。川が流れる。"


def words(text: str) -> int:
    return len(text.split())


def characters(text: str) -> int:
    return len(text)


def check(text: str, limit: int, length=words) -> list[str]:
    found = passages(text, limit, length)
    parts = [text[one.start : one.end] for one in found]
    place = 0
    for one, part in zip(found, parts):
        assert text[place : one.start].strip() == ""
        if one is not found[0]:
            assert one.before == text[place : one.start]
        assert part == part.strip()
        assert 0 < length(part) <= limit
        place = one.end
    assert text[place:].strip() == ""
    return parts


def test_edges_are_paragraphs_then_sentences_then_words():
    assert check("One two.\n\nThree four. Five six.\n\nSeven.", 4) == ["One two.", "Three four. Five six.", "Seven."]
    assert check(ENGLISH, 9)[0] == "The sun rises."
    assert "Dr. Lee left" in check(ENGLISH, 12)[1]
    assert check("a b c d e f g", 3) == ["a b c", "d e f", "g"]
    assert check("line one\nline two\nline three", 4) == ["line one\nline two", "line three"]
    # Where blank lines set paragraphs off, a line break is no edge.
    assert check("wide\npage text.\n\nnext one", 4) == ["wide\npage text.", "next one"]
    assert check(JAPANESE, 18, characters) == [
        "映画はとても面白かった。",
        "音楽もよかった！古い町です。",
        "川が流れる。",
    ]


def test_what_fits_is_one_passage():
    assert check(ENGLISH, 1000) == [ENGLISH]
    found = passages("  x  ", 10, words)
    assert (found[0].start, found[0].end) == (2, 3)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 13])
def test_nothing_is_lost_whatever_the_text(limit: int):
    rng = random.Random(limit)
    pieces = [ENGLISH, KOREAN, JAPANESE, "\n\n", "\n", " ", "word", "오래된", "a.b.c", "...", "  ", "\t"]
    for _ in range(40):
        text = "".join(rng.choices(pieces, k=rng.randint(1, 12)))
        if text.strip():
            check(text, limit)
            check(text, limit + 3, characters)


def test_no_syllable_is_split_even_in_single_letters():
    for text in (KOREAN, unicodedata.normalize("NFD", "오래된도시" * 30), "가족👨‍👩‍👧이모지👍🏽é" * 20):
        for part in check(text, 14, characters):
            assert not unicodedata.combining(part[0])
            assert not "\u1160" <= part[0] <= "\u11ff"
            assert part[0] not in "\u200d\ufe0f"
    whole = unicodedata.normalize("NFD", "오래된도시" * 30)
    parts = check(whole, 14, characters)
    assert "".join(unicodedata.normalize("NFC", part) for part in parts) == unicodedata.normalize("NFC", whole)


def test_a_window_too_small_for_a_character_is_an_error():
    with pytest.raises(PipelineError, match="not hold even one character"):
        passages("abc", 1, lambda part: 2 * len(part))
    with pytest.raises(PipelineError, match="no room"):
        passages("abc", 0, words)


def test_measuring_is_rare():
    calls = []
    text = " ".join(f"Sentence number {i} stands here." for i in range(3000))

    def length(part: str) -> int:
        calls.append(part)
        return len(part.split())

    assert len(passages(text, 1000, length)) == 15
    assert len(calls) < 600


def test_parts_are_joined_as_they_stood():
    assert join(["One.", "Two.", "Three."], ["", " ", "\n\n\n"]) == "One. Two.\n\nThree."
    assert join(["映画。", "音楽。", "film."], ["", "", ""]) == "映画。音楽。 film."
    assert join(["영화다.", "좋다."], ["", ""]) == "영화다. 좋다."
    assert join(["", " a ", "", "b"], ["", " ", " ", "\n"]) == "a\nb"
