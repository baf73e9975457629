"""Tokenizers: the same ids as `transformers` for every layout, and an error for everything hostile."""

import base64
import copy
import json
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tokenizers
from cost import bounded_cost
from text_samples import CORPUS, TEXTS, byte_level_files, sentencepiece_file, write_folder

from moduformer.errors import TextError
from moduformer.text.rust import tokenizer_errors
from moduformer.text.sentencepiece_file import read_model
from moduformer.text.tokenizer import Tokenizer, check_fits

ROBERTA_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def hugging_face(class_name, folder, **options):
    transformers = pytest.importorskip("transformers")
    return getattr(transformers, class_name).from_pretrained(str(folder), **options)


def assert_same(ours: Tokenizer, theirs, texts=TEXTS) -> None:
    for text in texts:
        expected = theirs(text, return_offsets_mapping=True)
        encoding = ours.encode(text)
        assert encoding.ids == expected["input_ids"], text
        if text:
            assert encoding.offsets == expected["offset_mapping"], text
            pair = theirs("질문 q", text, return_token_type_ids=True)
            encoding = ours.encode("질문 q", text)
            assert encoding.ids == pair["input_ids"], text
            assert encoding.type_ids == pair["token_type_ids"], text
        assert ours.decode(expected["input_ids"]) == theirs.decode(expected["input_ids"], skip_special_tokens=True)
    batch = ours.encode_batch(texts)
    assert [row.ids for row in batch] == [theirs(text)["input_ids"] for text in texts]
    assert [row.ids for row in ours.encode_batch(texts, offsets=False)] == [row.ids for row in batch]


def assert_same_special(ours: Tokenizer, theirs, roles) -> None:
    for role in roles:
        assert getattr(ours, f"{role}_id") == getattr(theirs, f"{role}_token_id"), role


# -- real vocabularies of published models ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("class_name", "model_type", "files", "roles"),
    [
        ("BertTokenizer", "bert", {"vocab.txt": "bert_base_uncased_vocab.txt"}, "pad unk cls sep mask"),
        (
            "BertTokenizer",
            "bert",
            {"vocab.txt": "bert_base_cased_vocab.txt", "tokenizer_config.json": {"do_lower_case": False}},
            "pad unk cls sep mask",
        ),
        (
            "BertTokenizer",
            "electra",
            {
                "vocab.txt": "koelectra_v3_vocab.txt",
                "tokenizer_config.json": {"do_lower_case": False, "strip_accents": False},
            },
            "pad unk cls sep mask",
        ),
        (
            "BertTokenizer",
            "bert",
            {"vocab.txt": "bert_base_uncased_vocab.txt", "tokenizer_config.json": {"tokenize_chinese_chars": False}},
            "pad unk cls sep mask",
        ),
        (
            "GPT2Tokenizer",
            "gpt2",
            {"vocab.json": "gpt2_bpe_encoder.json", "merges.txt": "gpt2_bpe_vocab.bpe"},
            "pad bos eos unk",
        ),
        ("CLIPTokenizer", "clip", {"vocab.json": "clip_encoder.json", "merges.txt": "clip_vocab.bpe"}, "pad bos eos"),
        ("T5Tokenizer", "t5", {"spiece.model": "t5_tokenizer_base.model"}, "pad eos unk bos"),
        ("XLMRobertaTokenizer", "xlm-roberta", {"sentencepiece.bpe.model": "t5_tokenizer_base.model"}, "pad cls mask"),
    ],
)
def test_published_vocabulary_gives_the_same_ids(shared, tmp_path, class_name, model_type, files, roles):
    source = shared / "data/fixtures/tokenizer_vocabs"
    written = {name: source / content if isinstance(content, str) else content for name, content in files.items()}
    folder = write_folder(tmp_path / "model", written)
    theirs = hugging_face(class_name, folder)
    ours = Tokenizer.load(folder, model_type)
    assert_same(ours, theirs)
    assert_same_special(ours, theirs, roles.split())
    assert ours.vocab_size == len(theirs)


@pytest.mark.parametrize("settings", [{}, {"add_bos_token": True, "legacy": True}, {"add_eos_token": True}])
@pytest.mark.parametrize("name", ["test_sentencepiece_bpe.model", "test_sentencepiece_with_bytefallback.model"])
def test_llama_style_model_gives_the_same_ids(shared, tmp_path, name, settings):
    model = shared / "data/fixtures/transformers_samples" / name
    folder = write_folder(tmp_path / "model", {"tokenizer.model": model, "tokenizer_config.json": settings})
    theirs = hugging_face("LlamaTokenizer", folder)
    ours = Tokenizer.load(folder, "llama")
    assert_same(ours, theirs)
    assert_same_special(ours, theirs, ["bos", "eos", "unk", "pad"])


@pytest.mark.parametrize("name", ["test_model.model", "test_ja_model.model"])
def test_plain_sentencepiece_model_gives_the_pieces_of_the_reference(shared, tmp_path, name):
    import sentencepiece

    model = shared / "data/fixtures/sentencepiece" / name
    reference = sentencepiece.SentencePieceProcessor(model_file=str(model))
    ours = Tokenizer.load(write_folder(tmp_path / "model", {"spm.model": model}), "something-new")
    for text in ["This is a test.", "Hello world!", "吾輩は猫である。", "  two  spaces ", "한국어"]:
        assert ours.encode(text).ids == reference.encode(text), text


# -- the same on small vocabularies, so that it also runs without the shared data -------------------------------------


@pytest.mark.parametrize(
    ("class_name", "model_type", "file_name", "options"),
    [
        ("T5Tokenizer", "t5", "spiece.model", {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}),
        (
            "AlbertTokenizer",
            "albert",
            "spiece.model",
            {
                "pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": ["[CLS]", "[SEP]", "[MASK]"],
                "user_defined_symbols": ["(", ")"],
            },
        ),
        (
            "DebertaV2Tokenizer",
            "deberta-v2",
            "spm.model",
            {
                "pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "pad_piece": "[PAD]", "bos_piece": "[CLS]",
                "eos_piece": "[SEP]", "unk_piece": "[UNK]",
            },
        ),
        (
            "XLNetTokenizer",
            "xlnet",
            "spiece.model",
            {"unk_id": 0, "control_symbols": ["<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"]},
        ),
        ("XLMRobertaTokenizer", "xlm-roberta", "sentencepiece.bpe.model", {}),
    ],
)  # fmt: skip
def test_small_unigram_model_gives_the_same_ids(tmp_path, class_name, model_type, file_name, options):
    model = sentencepiece_file(tmp_path / "train", "unigram", **options)
    folder = write_folder(tmp_path / "model", {file_name: model})
    theirs = hugging_face(class_name, folder)
    ours = Tokenizer.load(folder, model_type)
    assert_same(ours, theirs)
    assert_same_special(ours, theirs, ["pad", "bos", "eos", "unk", "cls", "sep", "mask"])


def test_small_llama_model_gives_the_same_ids(tmp_path):
    model = sentencepiece_file(
        tmp_path / "train", "bpe", 600, byte_fallback=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False,
    )  # fmt: skip
    config = {"add_bos_token": True, "add_eos_token": False, "legacy": False}
    folder = write_folder(tmp_path / "model", {"tokenizer.model": model, "tokenizer_config.json": config})
    theirs = hugging_face("LlamaTokenizer", folder)
    ours = Tokenizer.load(folder, "llama")
    assert_same(ours, theirs)
    assert ours.encode("한").ids[0] == ours.bos_id == 1


@pytest.mark.parametrize(
    ("class_name", "model_type", "special"),
    [
        ("RobertaTokenizer", "roberta", ROBERTA_SPECIAL),
        ("RobertaTokenizer", None, ROBERTA_SPECIAL),
        ("GPT2Tokenizer", "gpt2", ["<|endoftext|>"]),
        ("Qwen2Tokenizer", "qwen2", ["<|endoftext|>"]),
        ("GPTNeoXTokenizer", "gpt_neox", ["<|endoftext|>", "<|padding|>"]),
        ("DebertaTokenizer", "deberta", ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]),
    ],
)
def test_small_byte_level_vocabulary_gives_the_same_ids(tmp_path, class_name, model_type, special):
    folder = write_folder(tmp_path / "model", byte_level_files(special))
    theirs = hugging_face(class_name, folder)
    ours = Tokenizer.load(folder, model_type)
    assert_same(ours, theirs)
    assert_same_special(ours, theirs, ["pad", "bos", "eos", "unk", "cls", "sep", "mask"])


def test_added_tokens_of_both_configuration_styles(tmp_path):
    base = byte_level_files(["<|endoftext|>"])
    size = len(json.loads(base["vocab.json"]))
    token = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    four = {
        "added_tokens_decoder": {
            "0": {"content": "<|endoftext|>", "special": True, **token},
            str(size): {"content": "<|im_start|>", "special": True, **token},
            str(size + 1): {"content": "<think>", "special": False, **token},
        },
        "additional_special_tokens": ["<|im_start|>"],
        "eos_token": {"content": "<|endoftext|>", "__type": "AddedToken", **token},
        "pad_token": "<|endoftext|>",
        "model_max_length": 1000000000000000019884624838656,
    }
    five = {"extra_special_tokens": ["<|im_start|>"], "eos_token": "<|endoftext|>", "model_max_length": 77}
    legacy_map = {"eos_token": "<|endoftext|>", "additional_special_tokens": ["<|im_start|>"]}
    for name, files in {
        "four": {"tokenizer_config.json": four},
        "five": {"tokenizer_config.json": five},
        "older": {"special_tokens_map.json": legacy_map, "added_tokens.json": {"<|im_start|>": size}},
    }.items():
        folder = write_folder(tmp_path / name, {**base, **files})
        ours, theirs = Tokenizer.load(folder, "gpt2"), hugging_face("GPT2Tokenizer", folder)
        text = "안녕<|im_start|>user <think> hm"
        assert ours.encode(text).ids == theirs(text)["input_ids"], name
        assert ours.token_to_id("<|im_start|>") == size
        assert ours.eos_id == 0
        skipped = ours.decode(ours.encode(text).ids)
        assert "<|im_start|>" not in skipped
        assert ours.model_max_length == (77 if name == "five" else None)


# -- saving -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_config", [False, True])
@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "bpe"])
def test_saved_tokenizer_loads_in_transformers_with_the_same_ids(tmp_path, kind, with_config):
    ours = Tokenizer.train(CORPUS, kind, vocab_size=400)
    ours.save(tmp_path)
    if with_config:
        model_type = {"wordpiece": "bert", "unigram": "xlm-roberta", "bpe": "gpt2"}[kind]
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    theirs = hugging_face("AutoTokenizer", tmp_path)
    assert_same(ours, theirs, [text for text in TEXTS if text])
    again = Tokenizer.load(tmp_path)
    assert again.digest == ours.digest
    assert again.special_tokens == ours.special_tokens


def test_save_keeps_the_original_files_byte_for_byte(tmp_path):
    Tokenizer.train(CORPUS, "wordpiece", 300).save(tmp_path / "a")
    odd = json.dumps(json.loads((tmp_path / "a/tokenizer.json").read_text()), indent=7).encode() + b"\n\n"
    (tmp_path / "a/tokenizer.json").write_bytes(odd)
    (tmp_path / "a/chat_template.jinja").write_bytes(b"{{ messages }}\r\n")
    loaded = Tokenizer.load(tmp_path / "a")
    loaded.save(tmp_path / "b")
    first = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()} == first


def test_old_layout_is_saved_with_a_tokenizer_json(tmp_path):
    folder = write_folder(tmp_path / "a", byte_level_files(ROBERTA_SPECIAL))
    ours = Tokenizer.load(folder, "roberta")
    ours.save(tmp_path / "b")
    assert (tmp_path / "b/vocab.json").read_bytes() == (folder / "vocab.json").read_bytes()
    (tmp_path / "b/vocab.json").unlink()
    assert Tokenizer.load(tmp_path / "b").digest == ours.digest
    assert_same(ours, hugging_face("AutoTokenizer", tmp_path / "b"), [text for text in TEXTS if text])


def test_folder_without_tokenizer_files_gives_none(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert Tokenizer.load(tmp_path) is None


# -- fields -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "bpe"])
def test_offsets_are_positions_in_the_python_string(kind):
    tokenizer = Tokenizer.train(CORPUS, kind, 400)
    text = "👨‍👩‍👧 hello 한국어 world"
    encoding = tokenizer.encode(text)
    assert len(encoding.ids) == len(encoding.offsets) == len(encoding.word_ids) == len(encoding.special_tokens_mask)
    start = text.index("world")
    inside = [pair for pair, special in zip(encoding.offsets, encoding.special_tokens_mask) if not special]
    last = [(a, b) for a, b in inside if b > start]
    assert text[min(a for a, _ in last) : max(b for _, b in last)].strip() == "world"
    for (a, b), special in zip(encoding.offsets, encoding.special_tokens_mask):
        assert 0 <= a <= b <= len(text)
        assert not special or (a, b) == (0, 0)


def test_facts_of_a_trained_tokenizer():
    tokenizer = Tokenizer.train(CORPUS, "wordpiece", 300)
    assert [tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id] == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert tokenizer.bos_id is None
    assert tokenizer.max_id == tokenizer.vocab_size - 1
    assert tokenizer.special_tokens["cls"] == "[CLS]"
    assert Tokenizer.train(CORPUS, "wordpiece", 150).digest != tokenizer.digest
    assert [step.token_id for step in tokenizer.frame()] == [2, None, 3]
    assert [step.type_id for step in tokenizer.frame(pair=True)] == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "bpe"])
def test_training_learns_the_same_vocabulary_in_every_process(kind):
    texts = [*CORPUS, "".join(chr(0xAC00 + index) for index in range(1500))]
    code = (
        "import json, sys; from moduformer.text.tokenizer import Tokenizer;"
        f"print(Tokenizer.train(json.load(sys.stdin), {kind!r}, 1800).digest)"
    )
    root = Path(__file__).resolve().parent.parent
    other = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(texts), capture_output=True, text=True, check=True, cwd=root
    )
    assert other.stdout.strip() == Tokenizer.train(texts, kind, 1800).digest


def test_good_rules_pass_the_screen(tmp_path):
    units = trie({0: 256 << 10, 353: 0x61 | 1 << 8 | 512 << 10, 865: 2 | 1 << 31})
    (tmp_path / "tokenizer.json").write_bytes(charsmap(units + b"x\0b\0"))
    assert Tokenizer.load(tmp_path).encode("a").ids == [1]


def test_from_tokenizers_takes_special_tokens_and_switches():
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<s>": 0, "</s>": 1, "?": 2, "a": 3}, unk_token="?"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    raw.enable_truncation(2)
    raw.enable_padding(length=50)
    tokenizer = Tokenizer.from_tokenizers(raw, bos_token="<s>", eos="</s>", unk="?", add_bos=True, model_max_length=9)
    assert tokenizer.encode("a a a a").ids == [0, 3, 3, 3, 3]
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.model_max_length) == (0, 1, None, 9)
    with pytest.raises(TextError, match="role"):
        Tokenizer.from_tokenizers(raw, king="<s>")


def test_check_fits():
    tokenizer = Tokenizer.train(CORPUS, "bpe", 300)
    check_fits(tokenizer, tokenizer.max_id + 1)
    with pytest.raises(TextError, match=f"resize the embedding to {tokenizer.max_id + 1}"):
        check_fits(tokenizer, tokenizer.max_id)


# -- text from outside ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "bpe"])
def test_awkward_text_raises_nothing_but_text_error(kind):
    tokenizer = Tokenizer.train(CORPUS, kind, 400)
    for text in [
        "",
        " ",
        "\0",
        "\0" * 100,
        "a" * 100_000,
        "한" * 100_000,
        "a " * 50_000,
        "\U0010ffff",
        "\ufdd0",
        "👨‍👩‍👧" * 999,
    ]:
        encoding = tokenizer.encode(text)
        assert all(0 <= a <= b <= len(text) for a, b in encoding.offsets)
        tokenizer.encode(text, allow_special=False)
    for broken in ["\ud800", "ok \udfff ok", "\ud83d\ude00"]:
        with pytest.raises(TextError, match="surrogate"):
            tokenizer.encode(broken)
        with pytest.raises(TextError, match=r"text 1 .*surrogate"):
            tokenizer.encode_batch(["fine", broken])
        with pytest.raises(TextError, match="pair"):
            tokenizer.encode("fine", broken)
    with pytest.raises(TextError, match="text 1 is NoneType"):
        tokenizer.encode_batch(["fine", None])
    with pytest.raises(TextError, match="one pair for each"):
        tokenizer.encode_batch(["a"], ["b", "c"])
    for ids in [[-1], [2**40], ["x"], [None]]:
        with pytest.raises(TextError):
            tokenizer.decode(ids)
    assert isinstance(tokenizer.decode([4_000_000_000]), str)


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "bpe"])
def test_time_grows_with_length_and_not_with_its_square(kind):
    tokenizer = Tokenizer.train(CORPUS, kind, 400)

    def seconds(text):
        best = 9.0
        for _ in range(3):
            start = time.process_time()
            tokenizer.encode(text)
            best = min(best, time.process_time() - start)
        return best

    for piece in ["a", "한 "]:
        assert seconds(piece * 80_000) < 2 * 4 * max(seconds(piece * 20_000), 0.002)


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "bpe"])
def test_control_tokens_in_text_are_text_when_not_allowed(kind):
    tokenizer = Tokenizer.train(CORPUS, kind, 400)
    special = set(tokenizer.to_tokenizers().get_added_tokens_decoder())
    unknown = {tokenizer.unk_id}
    for token in tokenizer.control_tokens:
        text = f"a {token}{token} b{token}"
        assert special & set(tokenizer.encode(text, add_special_tokens=False).ids)
        literal = tokenizer.encode(text, add_special_tokens=False, allow_special=False).ids
        assert not (special - unknown) & set(literal)
        batch = tokenizer.encode_batch([text], add_special_tokens=False, allow_special=False)
        assert batch[0].ids == literal
    for text in TEXTS:
        assert tokenizer.encode(text, allow_special=False).ids == tokenizer.encode(text).ids
    assert tokenizer.encode("a", "b", allow_special=False).ids == tokenizer.encode("a", "b").ids


def test_control_piece_of_a_unigram_vocabulary_is_unreachable(tmp_path):
    # Without renaming, Viterbi picks the piece "<s>" (score 0) out of plain text.
    model = sentencepiece_file(tmp_path / "train", "unigram")
    tokenizer = Tokenizer.load(write_folder(tmp_path / "model", {"sentencepiece.bpe.model": model}), "xlm-roberta")
    ids = tokenizer.encode("x<s>y</s>", add_special_tokens=False, allow_special=False).ids
    assert not {tokenizer.bos_id, tokenizer.eos_id} & set(ids)
    assert tokenizer.encode("</s>", allow_special=False).ids[-1] == tokenizer.eos_id, "the frame keeps its ids"


def test_encode_parts_joins_text_and_control_tokens():
    tokenizer = Tokenizer.train(CORPUS, "bpe", 400)
    text = "hello 한국<|endoftext|>world"
    parts = [("hello 한", False), ("국", False), ("<|endoftext|>", True), ("world", False)]
    assert tokenizer.encode_parts(parts) == tokenizer.encode(text).ids
    assert tokenizer.eos_id not in tokenizer.encode_parts([(text, False)])
    with pytest.raises(TextError, match="no control token"):
        tokenizer.encode_parts([("world", True)])


# -- hostile files ----------------------------------------------------------------------------------------------------

BASE = json.loads(
    tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "b": 1, "ab": 2, "[X]": 3}, [("a", "b")])).to_str()
)
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def replaced(pattern, content):
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def changed(*path_and_value):
    *path, value = path_and_value
    data = copy.deepcopy(BASE)
    target = data
    for name in path[:-1]:
        target = target[name]
    target[path[-1]] = value
    return json.dumps(data).encode()


def charsmap(content: bytes):
    return changed("normalizer", {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(content).decode()})


def trie(units):
    return struct.pack("<I", 1024 * 4) + struct.pack("<1024I", *(units.get(index, 0) for index in range(1024)))


HOSTILE = {
    "merge shorter than its prefix": changed("model", "continuing_subword_prefix", "####"),
    "merge of an unknown token": changed("model", "merges", [["a", "q"]]),
    "merges that are no list": changed("model", "merges", "ab"),
    "merge of three": changed("model", "merges", ["a b c"]),
    "huge id": changed("model", "vocab", "a", 10**9),
    "negative id": changed("model", "vocab", "a", -1),
    "id that is true": changed("model", "vocab", "a", True),
    "duplicate id": changed("model", "vocab", "a", 1),
    "duplicate key": b'{"model":{"type":"BPE","vocab":{"a":0,"a":1},"merges":[]}}',
    "number of 100,000 digits": b'{"model":{"type":"BPE","vocab":{"a":' + b"9" * 100_000 + b'},"merges":[]}}',
    "10k arrays": b'{"model":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "300 sequences": changed("normalizer", {"type": "Sequence", "normalizers": []})[:-1]
    + b',"decoder":' + b'{"type":"Sequence","decoders":[' * 300 + b"]}" * 300 + b"}",
    "wide sequence": changed("normalizer", {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 1000}),
    "nested repeat": changed("pre_tokenizer", split("(a+)+$")),
    "nested repeat of a class": changed("pre_tokenizer", split(r"(\p{L}+)*[0-9]")),
    "ambiguous alternatives": changed("pre_tokenizer", split("(a|a)*b")),
    "polynomial": changed("normalizer", {"type": "Replace", "pattern": {"Regex": "a*a*a*a*a*b"}, "content": "x"}),
    "back reference": changed("pre_tokenizer", split(r"(a*)\1b")),
    "broken pattern": changed("pre_tokenizer", split("((")),
    "text bomb": changed("normalizer", replaced("a", "a" * 1000)),
    "chained text bomb": changed("normalizer", {"type": "Sequence", "normalizers": [replaced("a", "aa")] * 20}),
    "empty pattern": changed("normalizer", replaced("", "xx")),
    "template with a huge id": changed(
        "post_processor",
        {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "a", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [],
            "special_tokens": {"a": {"id": "a", "ids": [10**9], "tokens": ["a"]}},
        },
    ),
    "added token with a taken id": changed("added_tokens", [{"id": 1, "content": "<x>", **FLAGS}]),
    "added token beyond a gap": changed("added_tokens", [{"id": 900, "content": "<x>", **FLAGS}]),
    "added token with a huge id": changed("added_tokens", [{"id": 10**9, "content": "<x>", **FLAGS}]),
    "same added token twice": changed(
        "added_tokens", [{"id": 4, "content": "<x>", **FLAGS}, {"id": 5, "content": "<x>", **FLAGS}]
    ),
    "empty rules": charsmap(b""),
    "rules without a trie": charsmap(struct.pack("<I", 0)),
    "trie beyond the file": charsmap(struct.pack("<I", 4000)),
    "trie that points outside": charsmap(struct.pack("<II", 4, 0xFFFFFFFF) + b"a\0"),
    "trie value outside": charsmap(trie({0: 256 << 10, 353: 0x61 | 1 << 8 | 512 << 10, 865: 77 | 1 << 31}) + b"x\0"),
    "trie value inside a string": charsmap(
        trie({0: 256 << 10, 353: 0x61 | 1 << 8 | 512 << 10, 865: 1 | 1 << 31}) + b"xy\0"
    ),
    "NaN score": b'{"model":{"type":"Unigram","unk_id":0,"vocab":[["a",NaN]]}}',
    "huge score": b'{"model":{"type":"Unigram","unk_id":0,"vocab":[["a",1e999]]}}',
    "unknown id outside": b'{"model":{"type":"Unigram","unk_id":7,"vocab":[["a",0.0]]}}',
    "half a surrogate pair": b'{"model":{"type":"Unigram","unk_id":0,"vocab":[["\\ud800",1.0]]}}',
    "huge token": json.dumps({"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a" * 4_000_000, 0.0]]}}).encode(),
    "word length": changed("model", "max_input_chars_per_word", 10**12),
    "unknown model": changed("model", "type", "Eval"),
    "array": b"[]",
    "empty": b"",
    "not UTF-8": b"\xff\xfe",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_tokenizer_json_is_refused(tmp_path, name):
    (tmp_path / "tokenizer.json").write_bytes(HOSTILE[name])
    with bounded_cost(), pytest.raises(TextError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)


def test_padding_and_truncation_of_the_file_are_ignored(tmp_path):
    padding = {
        "strategy": {"Fixed": 10**12}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "a",
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_bytes(changed("padding", padding))
    assert Tokenizer.load(tmp_path).encode("abab").ids == [2, 2]


@pytest.mark.parametrize(
    "pattern",
    [
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r" ?[^(\s|[.,!?…。,、।۔،])]+",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
)
def test_patterns_of_published_tokenizers_are_accepted(tmp_path, pattern):
    (tmp_path / "tokenizer.json").write_bytes(changed("pre_tokenizer", split(pattern)))
    assert Tokenizer.load(tmp_path).encode("ab").ids == [2]


def test_panic_of_the_library_becomes_a_text_error(capfd):
    raw = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, []))
    raw.normalizer = tokenizers.normalizers.Precompiled(struct.pack("<II", 4, 0xFFFFFFFF) + b"a\0")
    with pytest.raises(BaseException) as caught:
        raw.encode("a")
    assert not isinstance(caught.value, Exception), "the library no longer panics; this guard may go"
    with pytest.raises(TextError):
        Tokenizer(raw).encode("a")
    with pytest.raises(TextError):
        Tokenizer(raw).encode_batch(["a", "b"])
    with pytest.raises(KeyboardInterrupt), tokenizer_errors("x"):
        raise KeyboardInterrupt


# -- hostile SentencePiece models -------------------------------------------------------------------------------------


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def piece(text, score=0.0):
    return field(1, field(1, text.encode()) + b"\x15" + struct.pack("<f", score))


def test_reader_agrees_with_the_reference(tmp_path):
    import sentencepiece

    path = sentencepiece_file(tmp_path, "unigram")
    reference = sentencepiece.SentencePieceProcessor(model_file=str(path))
    model = read_model(path.read_bytes(), "x")
    assert [p.text for p in model.pieces] == [reference.id_to_piece(i) for i in range(len(reference))]
    assert [p.score for p in model.pieces] == [reference.get_score(i) for i in range(len(reference))]
    assert (model.unk_id, model.bos_id, model.eos_id, model.pad_id) == (
        reference.unk_id(), reference.bos_id(), reference.eos_id(), reference.pad_id(),
    )  # fmt: skip
    assert model.charsmap


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 50,
        varint(1 << 3 | 2) + varint(2**62) + b"x",
        varint(1 << 3 | 2) + b"\xff" * 11,
        field(1, field(1, b"\xff\xfe")),
        field(1, b"\x15" + struct.pack("<f", float("nan"))),
        piece("a" * 4_000_000),
        piece("a") + field(2, varint(3 << 3) + varint(9)),
        piece("a") + field(2, varint(40 << 3) + varint(77)),
        piece("a") + field(3, field(2, b"\1\2")),
        piece("a") + field(3, field(2, struct.pack("<I", 2**31) + b"\0" * 64)),
        piece("a") + field(3, field(2, struct.pack("<I", 2048) + b"\xab\xcd\xef\x01" * 512 + b"x\0")),
        piece("a") + b"\x07",
        piece("a") + field(1, varint(1 << 3 | 2) + varint(9) + b"ab"),
    ],
)
def test_hostile_sentencepiece_model_is_refused(tmp_path, content):
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(TextError, match=r"tokenizer\.model"):
        Tokenizer.load(tmp_path, "llama")


def test_cut_or_flipped_sentencepiece_model_never_escapes(tmp_path, capfd):
    path = sentencepiece_file(tmp_path / "train", "unigram", 200)
    whole = path.read_bytes()
    step = max(1, len(whole) // 50)
    damaged = [whole[:cut] for cut in range(0, len(whole), step)]
    for at in range(0, len(whole), step):
        flipped = bytearray(whole)
        flipped[at] ^= 0xFF
        damaged.append(bytes(flipped))
    for content in damaged:
        folder = write_folder(tmp_path / "model", {"spiece.model": content})
        try:
            Tokenizer.load(folder, "t5").encode("hello 한국어 Ａ½")
        except TextError:
            continue
    assert "panicked" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "files",
    [
        {"vocab.txt": b"\xff\xfe"},
        {"vocab.json": b"[]", "merges.txt": b""},
        {"vocab.json": b'{"a": 0, "b": 0}', "merges.txt": b""},
        {"vocab.json": b'{"a": 0}', "merges.txt": b"a\n"},
        {"vocab.json": b'{"a": 0}', "merges.txt": b"a q\n"},
        {"tokenizer.json": json.dumps(BASE).encode(), "tokenizer_config.json": b"[1]"},
        {"tokenizer.json": json.dumps(BASE).encode(), "tokenizer_config.json": b'{"added_tokens_decoder": {"x": 1}}'},
        {
            "tokenizer.json": json.dumps(BASE).encode(),
            "tokenizer_config.json": {"added_tokens_decoder": {"999999999": {"content": "q"}}},
        },
        {"tokenizer.json": json.dumps(BASE).encode(), "added_tokens.json": {"<x>": -3}},
        {"tokenizer.json": json.dumps(BASE).encode(), "added_tokens.json": {"a": 2}},
        {"tokenizer.json": json.dumps(BASE).encode(), "tokenizer_config.json": b'{"pad_token": "\\ud800"}'},
        {"tokenizer.json": json.dumps(BASE).encode(), "chat_template.jinja": b"\xff"},
    ],
)
def test_damaged_settings_and_vocabularies_are_refused(tmp_path, files):
    with pytest.raises(TextError):
        Tokenizer.load(write_folder(tmp_path / "model", files))


def test_training_refuses_what_it_cannot_do():
    with pytest.raises(TextError, match="kind"):
        Tokenizer.train(CORPUS, "magic")
    with pytest.raises(TextError, match="vocabulary of 2"):
        Tokenizer.train(CORPUS, "bpe", 2)
    with pytest.raises(TextError, match="text 1"):
        Tokenizer.train(["a", "\ud800"], "bpe", 300)
    with pytest.raises(TextError):
        Tokenizer.train([], "unigram", 100)


def test_importing_the_package_is_cheap():
    code = "import sys, moduformer.text; assert 'tokenizers' not in sys.modules and 'torch' not in sys.modules"
    code += "; import moduformer.text.tokenizer, moduformer.text.windows, moduformer.text.chat"
    code += "; assert 'torch' not in sys.modules and 'jinja2' not in sys.modules and 'transformers' not in sys.modules"
    root = Path(__file__).resolve().parent.parent
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
