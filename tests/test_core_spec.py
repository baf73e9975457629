"""Specs as data: JSON there and back, differences in words, guards against what cannot be built, published sizes."""

import json
import math
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from core_models import SPECS
from test_core_fields import CASES, put

import moduformer as mf
from moduformer.architecture import (
    Attention,
    Block,
    Embedding,
    FeedForward,
    Head,
    Llama3Scaling,
    RelativeBuckets,
    Rotary,
    Spec,
    Stack,
    Transform,
)
from moduformer.errors import SpecError
from moduformer.families import families
from moduformer.model import build

PRESETS = sorted({name for member in families() for name in member.presets})
ENC, DEC = "encoder.pattern.*", "decoder.pattern.*"


@pytest.mark.parametrize("name", [*SPECS, *PRESETS])
def test_json_there_and_back(name: str) -> None:
    spec = SPECS.get(name) or mf.spec(name)
    assert Spec.from_dict(json.loads(json.dumps(spec.to_dict(), allow_nan=False))) == spec


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: f"{case.base}-{case.path}")
def test_every_changed_field_survives_json_and_shows_in_a_diff(case: Any) -> None:
    before, after = case.specs()
    assert Spec.from_dict(json.loads(json.dumps(after.to_dict()))) == after
    difference = before.diff(after)
    assert difference
    assert len(difference) >= 1
    assert not after.diff(after)
    leaf = case.path.rpartition(".")[2]
    if leaf not in ("pattern", "heads", "kind"):  # these show by the blocks or heads that differ
        whole = case.path.replace("pattern.*", "block").replace("heads.0.", f"heads.{before.heads[0].kind}.")
        assert any(change.path.startswith(whole) for change in difference), str(difference)


def test_diff_in_words() -> None:
    bert, roberta = mf.spec("bert-base-uncased"), mf.spec("roberta-base")
    text = str(bert.diff(roberta))
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert lines["vocab"].endswith("30522 -> 50265")
    assert lines["embedding.segments"].endswith("2 -> 1")
    assert lines["embedding.positions.offset"].endswith("0 -> 2")
    assert str(bert.diff(bert)) == "no difference"
    assert str(mf.spec("gpt2").diff(mf.spec("gpt2-medium"))).count("\n") >= 4
    stack = mf.spec("bert-base-uncased").encoder
    doubled = replace(bert, encoder=replace(stack, pattern=stack.pattern * 2))
    assert str(bert.diff(doubled)) == "encoder.pattern  1 blocks -> 2 blocks"
    block = replace(stack.pattern[0], norm_at=("in",))
    half = bert.diff(replace(bert, encoder=replace(stack, pattern=(stack.pattern[0], block))))
    assert "encoder.block.1.norm_at  ('res',) -> ('in',)" in str(half)
    assert "(none) -> Stack(" in str(mf.spec("gpt2").diff(mf.spec("t5-small")))
    assert "heads.masked-lm" in str(bert.diff(replace(bert, heads=(Head("masked-lm"),))))


BERT, T5, LLAMA, GPT2 = SPECS["bert"], SPECS["t5"], SPECS["llama"], SPECS["gpt2"]
TAG = Head("tag", outputs=3)
GUARDS: list[tuple[Spec, dict[str, Any], str]] = [
    (BERT, {"encoder": None}, "needs an encoder, a decoder or both"),
    *((BERT, {path: value}, f"{path.replace('*', '0')} must be a whole number between 1")
      for path in ("vocab", "dim", "encoder.layers", "embedding.width", "embedding.positions.max",
                   f"{ENC}.attention.heads", f"{ENC}.attention.kv_heads", f"{ENC}.attention.head_dim",
                   f"{ENC}.attention.window", f"{ENC}.feed_forward.width", "encoder.groups")
      for value in (0, -1, 2**31)),
    (BERT, {"vocab": 30522.0}, "vocab must be a whole number between 1 and 16,777,216, but is 30522.0"),
    (BERT, {"vocab": True}, "vocab must be int, but is True"),
    (BERT, {"vocab": "61"}, "vocab must be int, but is '61'"),
    (BERT, {"vocab": None}, "vocab must be int"),
    (BERT, {f"{ENC}.norm.eps": 0.0}, "norm.eps must be a number above 0"),
    (BERT, {f"{ENC}.norm.eps": -1e-5}, "norm.eps must be a number above 0"),
    (BERT, {f"{ENC}.norm.eps": math.nan}, "norm.eps must be a number above 0"),
    (BERT, {f"{ENC}.norm.eps": math.inf}, "norm.eps must be a number above 0"),
    (BERT, {f"{ENC}.norm.eps": "1e-5"}, "norm.eps must be float"),
    (BERT, {f"{ENC}.norm.kind": "batch"}, "norm.kind must be one of layer, rms"),
    (BERT, {f"{ENC}.norm.bias": 1}, "norm.bias must be bool"),
    (BERT, {f"{ENC}.norm": None}, "norm must be Norm"),
    (BERT, {f"{ENC}.dropout": 1.0}, "dropout must be at least 0.0 and below 1.0"),
    (BERT, {f"{ENC}.dropout": -0.1}, "dropout must be at least 0.0"),
    (BERT, {f"{ENC}.dropout": math.nan}, "dropout must be at least 0.0"),
    (BERT, {f"{ENC}.norm_at": ("before",)}, r"norm_at.0 must be one of in, out, res"),
    (BERT, {f"{ENC}.norm_at": "in"}, "norm_at must be"),
    (BERT, {f"{ENC}.flow": "zigzag"}, "flow must be one of"),
    (BERT, {f"{ENC}.feed_forward.activation": "mish"}, "activation must be one of gelu"),
    (BERT, {"embedding.segments": -1}, "segments must be a whole number between 0"),
    (BERT, {"embedding.positions.offset": -1}, "offset must be a whole number between 0"),
    (BERT, {"eos_id": (1, "2")}, "eos_id.1 must be int"),
    (BERT, {"pad_id": "x"}, "pad_id must be int or NoneType"),
    (BERT, {"heads": (Head("tag", outputs=0),)}, "outputs must be a whole number"),
    (BERT, {"encoder.layers": 10_001}, "more than 10,000 layers"),
    (BERT, {"encoder.pattern": ()}, "pattern is empty"),
    (BERT, {"encoder.groups": 3}, "groups=3 does not divide 2 layers"),
    (BERT, {"encoder.groups": 1, "encoder.layers": 3, "encoder.pattern": BERT.encoder.pattern * 2}, "does not divide"),
    (BERT, {"encoder.groups": 2, "encoder.pattern": BERT.encoder.pattern * 2}, "does not divide"),
    (BERT, {f"{ENC}.cross_attention": Attention(2, 8, 2)}, "without an encoder before it cannot have cross_attention"),
    (GPT2, {f"{DEC}.cross_attention": Attention(2, 8, 2)}, "without an encoder before it cannot have cross_attention"),
    (T5, {f"{DEC}.cross_attention": None}, "beside an encoder needs cross_attention"),
    (T5, {f"{DEC}.cross_attention.window": 3}, "no positions"),
    (T5, {f"{DEC}.cross_attention.position": Rotary(4)}, "no positions"),
    (T5, {f"{DEC}.flow": "parallel"}, "no place"),
    (BERT, {f"{ENC}.flow": "parallel"}, "no place for a norm at 'res'"),
    (LLAMA, {f"{DEC}.attention.kv_heads": 3}, "4 heads cannot share 3 key-value heads"),
    (BERT, {f"{ENC}.attention": Attention(2**14, 2**14, 1)}, "more than any published model"),
    (LLAMA, {f"{DEC}.attention.position.dim": 3}, "must be even and at most head_dim 8"),
    (LLAMA, {f"{DEC}.attention.position.dim": 10}, "must be even and at most head_dim 8"),
    (LLAMA, {f"{DEC}.attention.position.base": 1.0}, "base 1.0 must be above 1"),
    (LLAMA, {f"{DEC}.attention.position.scaling": Llama3Scaling(8.0, 4.0, 4.0, 32)}, "high_freq_factor must be above"),
    (T5, {"encoder.position_bias": RelativeBuckets(3, 128)}, "3 buckets cannot be spread"),
    (T5, {"encoder.position_bias": RelativeBuckets(32, 8)}, "32 buckets cannot be spread up to a max_distance of 8"),
    (T5, {"decoder.position_bias": RelativeBuckets(1, 8)}, "1 buckets cannot"),
    (T5, {"encoder.pattern": (T5.encoder.pattern[0], put(T5.encoder.pattern[0], "attention", Attention(1, 6, 1)))},
     "need the same number of heads"),
    (BERT, {"heads": (Head("classify", reads="pool", outputs=2),)}, "no head of kind 'pool' before it"),
    (BERT, {"heads": (Head("classify", reads="pool", outputs=2), Head("pool", reads="first"))}, "before it"),
    (BERT, {"heads": (TAG, TAG)}, "heads.tag is there twice"),
    (BERT, {"heads": (Head("classify", outputs=2),)}, "heads.classify cannot read 'tokens'"),
    (BERT, {"heads": (Head("tag", reads="first", outputs=2),)}, "heads.tag cannot read 'first'"),
    (BERT, {"heads": (Head("span", outputs=3),)}, "heads.span has 2 outputs"),
    (BERT, {"heads": (Head("replaced-token"),)}, "heads.replaced-token has 1 outputs"),
    (BERT, {"heads": (Head("pool", reads="first", transform=Transform(8, "tanh")), Head("classify", reads="pool"))},
     "pooled vector of width 8"),
    (BERT, {"heads": (Head("masked-lm", transform=Transform(8, "tanh"), tied=True),)}, "projects another width"),
    (BERT, {"heads": (Head("masked-lm", tied=True, outputs=7),)}, "its outputs are the vocabulary"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "changes", "message"), GUARDS, ids=[m for _, _, m in GUARDS])
def test_what_cannot_be_built_is_refused(spec: Spec, changes: dict[str, Any], message: str) -> None:
    # Several changes that only together make the fault go in at once, so that none is refused on the way.
    whole = {name: value for name, value in changes.items() if name.startswith("encoder.")}
    if len(whole) > 1:
        changes = {"encoder": replace(spec.encoder, **{name.partition(".")[2]: v for name, v in whole.items()})}
    *first, (path, value) = changes.items()
    for earlier, other in first:
        spec = put(spec, earlier, other)
    with pytest.raises(SpecError, match=message):
        put(spec, path, value)


def test_what_passes_the_guards_can_be_built() -> None:
    for case in CASES.values():
        for spec in case.specs():
            assert build(spec, device="meta").num_parameters() == spec.num_parameters() > 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"vocab": 3, "nonsense": 1}, "unknown field 'nonsense'"),
        ({"vocab": 3}, "missing"),
        ({"vocab": 3, "dim": 4, "embedding": {"width": 4, "positions": {"type": "Alibi"}}}, "no part is called 'Ali"),
        ({"vocab": 3, "dim": 4, "embedding": {"width": 4, "positions": {"type": ["x"]}}}, "no part is called"),
        ({"vocab": 3, "dim": 4, "embedding": 7}, "embedding must be Embedding"),
        ({"vocab": 3, "dim": 4, "embedding": {"width": 4}, "encoder": {"layers": 1, "pattern": 5}}, "pattern must be"),
        ({"vocab": 3, "dim": 4, "embedding": {"width": 4}, "encoder": {"layers": 1, "pattern": [5]}}, "must be Block"),
        ({"vocab": 3, "dim": 4, "embedding": {"width": 4}, "heads": {"kind": "tag"}}, "no part is called"),
        ({"vocab": [], "dim": {}, "embedding": {"width": 4}}, "no part is called|vocab must be int"),
    ],
)  # fmt: skip
def test_data_that_is_no_spec_is_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Spec.from_dict(data)


def test_names_that_are_not_there_name_near_ones() -> None:
    with pytest.raises(SpecError, match=r"no published architecture is called 'bert-base'; near: .*bert-base-uncased"):
        mf.spec("bert-base")
    with pytest.raises(SpecError, match="near: "):
        mf.spec("나는 모델이 아니다")
    assert mf.spec("google-bert/bert-base-uncased") == mf.spec("bert-base-uncased")


def test_a_spec_is_a_value() -> None:
    assert hash(mf.spec("gpt2")) == hash(mf.spec("gpt2"))
    assert mf.spec("gpt2") != mf.spec("gpt2-medium")
    small = Spec(9, 4, Embedding(4), decoder=Stack(1, (Block(Attention(1, 4, 1), FeedForward(8)),), causal=True))
    assert small.num_parameters() == build(small, seed=1).num_parameters()


# Preset, the catalogue's row and size, and the class whose parameters the catalogue counted.
SIZES = [
    ("transformer-base", "transformer", "base", "TransformerForConditionalGeneration"),
    ("transformer-big", "transformer", "big", "TransformerForConditionalGeneration"),
    *((f"bert-{size}", "bert", size, "BertForPreTraining") for size in ("tiny", "mini", "small", "medium")),
    *((f"bert-{size}-uncased", "bert", size, "BertForPreTraining") for size in ("base", "large")),
    ("gpt2", "gpt-2", "small", "GPT2LMHeadModel"),
    *((f"gpt2-{size}", "gpt-2", size, "GPT2LMHeadModel") for size in ("medium", "large", "xl")),
    *((f"t5-{size}", "t5", size, "T5ForConditionalGeneration") for size in ("small", "base", "large", "3b", "11b")),
    *((f"t5-v1_1-{size}", "t5", f"v1.1-{size}", "T5ForConditionalGeneration") for size in ("small", "base", "large")),
    *((f"ernie-{size}", "ernie-baidu", size, "ErnieModel") for size in ("1.0-base-zh", "2.0-base-en", "2.0-large-en")),
    ("ernie-thu-base", "ernie-thu", "base (5 sim + 1 mix + 6 norm)", "BertModel"),
    ("ernie-thu-base-6-6", "ernie-thu", "base", "BertModel"),
    *((f"electra-{n}-discriminator", "electra", n, "ElectraForPreTraining") for n in ("small", "base", "large")),
    *(
        (f"electra-{n}-generator", "electra", f"{n}-generator", "ElectraForMaskedLM")
        for n in ("small", "base", "large")
    ),
    *((f"xlnet-{size}-cased", "xlnet", size, "XLNetModel") for size in ("base", "large")),
    ("distilbert-base-uncased", "distilbert", "base", "DistilBertModel"),
    ("distilbert-base-multilingual-cased", "distilbert", "base-multilingual", "DistilBertModel"),
    *((f"roberta-{size}", "roberta", size, "RobertaForMaskedLM") for size in ("base", "large")),
    *((f"llama-{n}", "llama", m, "LlamaForCausalLM") for n, m in (("7b", "7b"), ("13b", "13b"), ("30b", "33b"))),
    ("llama-65b", "llama", "65b", "LlamaForCausalLM"),
    *((f"llama-2-{size}", "llama-2", size, "LlamaForCausalLM") for size in ("7b", "13b", "70b")),
    ("gpt-neox-20b", "gpt-neox-20b", "20B", "GPTNeoXForCausalLM"),
]  # fmt: skip


def test_counts_equal_the_catalogue(shared: Path) -> None:
    counts = {}
    for file in sorted((shared / "catalog").glob("*.toml")):
        for model in tomllib.loads(file.read_text("utf-8"))["model"]:
            for size in model.get("sizes", []):
                counts[model["id"], size["name"]] = size.get("params_computed")
    presets = {preset: (member, config) for member in families() for preset, config in member.presets.items()}
    wrong = []
    for preset, row, size, name in SIZES:
        member, config = presets[preset]
        found = member.read(config, name).num_parameters()
        if found != counts[row, size]:
            wrong.append((preset, found, counts[row, size]))
    assert not wrong
