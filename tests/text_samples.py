"""Texts and small tokenizers shared by the tests of moduformer.text."""

import json
import unicodedata
from pathlib import Path
from typing import Any

#: Ordinary and awkward: Korean in syllables and in Jamo, emoji joined by ZWJ, right-to-left scripts, odd spaces.
TEXTS = [
    "Hello world!",
    "한국어 문장입니다. 정말 좋아요 ㅋㅋ",
    unicodedata.normalize("NFD", "한국어 문장입니다."),
    "가족 👨‍👩‍👧‍👦 이모지 👍🏽",
    "שלום עולם مرحبا بالعالم",
    "  two  spaces\tand\n\nnewline ",
    "",
    "café naïve Ünïcödé",
    "x" * 300,
    "``quoted'' text, 1,000",
    "I was born in 92000, and this is falsé.",
    "中文字符",
    "a\0b",
    " leading",
    "trailing  ",
]

CORPUS = [
    "the quick brown fox jumps over the lazy dog",
    "한국어 문장을 나누는 작은 토크나이저",
    "a tokenizer turns text into numbers and numbers into text",
    "오늘은 날씨가 정말 좋아요 그래서 산책을 갔어요",
    "hello world, hello tokens: 1 2 3 4 5",
] * 20


def write_folder(folder: Path, files: dict[str, Any]) -> Path:
    """Fill a folder from paths to copy, bytes, or objects to write as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if isinstance(content, Path):
            content = content.read_bytes()
        elif not isinstance(content, bytes):
            content = json.dumps(content, ensure_ascii=False).encode()
        (folder / name).write_bytes(content)
    return folder


def byte_level_files(special: list[str], vocab_size: int = 600) -> dict[str, bytes]:
    """A trained `vocab.json` and `merges.txt`, as GPT-2's and RoBERTa's folders have them."""
    import tokenizers

    raw = tokenizers.Tokenizer(tokenizers.models.BPE())
    raw.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        CORPUS,
        tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    model = json.loads(raw.to_str())["model"]
    lines = ["#version: 0.2", *(merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"])]
    return {
        "vocab.json": json.dumps(model["vocab"], ensure_ascii=False).encode(),
        "merges.txt": ("\n".join(lines) + "\n").encode(),
    }


def sentencepiece_file(folder: Path, kind: str, vocab_size: int = 420, **options: Any) -> Path:
    """A SentencePiece model trained on the small corpus."""
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_prefix=str(folder / "trained"),
        vocab_size=vocab_size,
        model_type=kind,
        hard_vocab_limit=False,
        character_coverage=1.0,
        minloglevel=3,
        **options,
    )
    return folder / "trained.model"
