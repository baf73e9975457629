"""Marian's two SentencePiece models and joint ids, beside SentencePiece itself."""

import json
from pathlib import Path

import pytest
import sentencepiece

from moduformer.errors import TextError
from moduformer.text.tokenizer import Tokenizer

ENGLISH = "the old city was very dark and the bright sun rises over a long river where we lived".split()
KOREAN = "오래된 도시는 아주 어둡고 밝은 해가 우리가 살던 긴 강 위로 떠오른다".split()
TEXTS = [
    "the old city",
    "  sun   rises\tover ",
    "오래된 the city",
    "zebra!",
    "½ fi the",
    "",
    ">>kor<< the sun",
    "x" * 90,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("marian")
    pieces = {"</s>": 0, "<unk>": 1}
    for name, words in (("source", ENGLISH), ("target", KOREAN)):
        lines = [" ".join(words[i : i + 4]) for i in range(len(words))] * 30
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_prefix=str(place / name), vocab_size=70, hard_vocab_limit=False,
            bos_id=-1, pad_id=-1, eos_id=0, unk_id=1, minloglevel=3,
        )  # fmt: skip
        (place / f"{name}.model").rename(place / f"{name}.spm")
        own = sentencepiece.SentencePieceProcessor(model_file=str(place / f"{name}.spm"))
        for number in range(own.get_piece_size()):
            pieces.setdefault(own.id_to_piece(number), len(pieces))
    for token in (">>kor<<", "<pad>"):
        pieces[token] = len(pieces)
    (place / "vocab.json").write_text(json.dumps(pieces, ensure_ascii=False), encoding="utf-8")
    (place / "tokenizer_config.json").write_text('{"source_lang": "en", "target_lang": "ko"}')
    return place


def expected(folder: Path, text: str) -> list[int]:
    ids = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    source = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
    code, rest = ([text[:7]], text[7:]) if text.startswith(">>kor<<") else ([], text)
    return [ids.get(piece, ids["<unk>"]) for piece in [*code, *source.encode(rest, out_type=str)]] + [ids["</s>"]]


def test_text_is_read_with_the_source_and_numbered_jointly(folder: Path):
    tokenizer = Tokenizer.load(folder, "marian")
    assert tokenizer is not None
    for text in TEXTS:
        assert tokenizer.encode(text).ids == expected(folder, text), text
    assert (tokenizer.eos_id, tokenizer.unk_id) == (0, 1)
    assert tokenizer.pad_id == tokenizer.max_id


def test_ids_of_the_target_become_its_text(folder: Path):
    tokenizer = Tokenizer.load(folder, "marian")
    ids = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    target = sentencepiece.SentencePieceProcessor(model_file=str(folder / "target.spm"))
    text = "오래된 도시는 긴 강"
    written = [ids[piece] for piece in target.encode(text, out_type=str)]
    assert tokenizer.decode([tokenizer.pad_id, *written, ids["▁"], 0]) == text


def test_a_saved_tokenizer_keeps_both_models(folder: Path, tmp_path: Path):
    Tokenizer.load(folder, "marian").save(tmp_path)
    for name in ("source.spm", "target.spm", "vocab.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    again = Tokenizer.load(tmp_path, "marian")
    assert [again.encode(text).ids for text in TEXTS] == [expected(folder, text) for text in TEXTS]


@pytest.mark.parametrize(
    ("vocabulary", "said", "what"),
    [
        ('{"</s>": 0, "<unk>": 2}', "{}", "without gaps"),
        ('{"</s>": 0, "<unk>": "1"}', "{}", "without gaps"),
        ("[]", "{}", "not an object"),
        ('{"</s>": 0, "a": 1}', "{}", "'<unk>' is missing"),
        ('{"</s>": 0, "<unk>": 1}', '{"separate_vocabs": true}', "vocabularies of their own"),
    ],
)
def test_files_that_cannot_be_marians_are_refused(folder: Path, tmp_path: Path, vocabulary: str, said: str, what: str):
    (tmp_path / "source.spm").write_bytes((folder / "source.spm").read_bytes())
    (tmp_path / "vocab.json").write_text(vocabulary)
    (tmp_path / "tokenizer_config.json").write_text(said)
    with pytest.raises(TextError, match=what):
        Tokenizer.load(tmp_path, "marian")
