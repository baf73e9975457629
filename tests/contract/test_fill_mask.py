"""The fill-mask pipeline beside that of `transformers` 4.57."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from calls import Call
from small_models import bert, byte_level, meta_space, roberta

ONE, TWO = "The movie was very [MASK].", "이 영화 정말 [MASK] 없다"
SEVERAL = "The [MASK] was very [MASK], and [MASK] it was long."
LONG = " ".join([ONE, *["It was bad, and old."] * 60])

CALLS = [
    Call([ONE]),
    Call([TWO]),
    Call(["[MASK]"]),
    Call([SEVERAL]),
    Call([[ONE]]),
    Call([[SEVERAL]]),
    Call([[ONE, TWO, SEVERAL]]),
    Call([[]]),
    Call([ONE], {"top_k": 1}),
    Call([ONE], {"top_k": 12}),
    Call([[ONE, SEVERAL]], {"top_k": 2}),
    Call([ONE], construct={"top_k": 3}),
    Call([ONE], {"top_k": 2}, {"top_k": 3}),
    Call([ONE], {"targets": "good"}),
    Call([ONE], {"targets": ["good", "bad", "great"]}),
    Call([ONE], {"targets": ["good", "bad", "great"], "top_k": 2}),
    Call([ONE], {"targets": ["good", "goodness", "##s", "good"]}),
    Call([TWO], {"targets": ["재미", "좋다", "없는말"]}),
    Call([SEVERAL], {"targets": ["movie", "acting"]}),
    Call([ONE], construct={"targets": ["good", "bad"]}),
    Call([LONG], {"tokenizer_kwargs": {"truncation": True}}),
    Call([LONG], {"tokenizer_kwargs": {"truncation": True, "max_length": 20}}),
    Call([ONE], {"tokenizer_kwargs": {"add_special_tokens": False}}),
    Call(["The [SEP] movie was [MASK] [PAD] long !"]),
    Call([[ONE, TWO, SEVERAL]], generator=True),
]


@pytest.mark.slow
def test_every_call_gives_the_same(same: Callable[..., None], tmp_path: Path):
    folder = bert(tmp_path / "plain", "ForMaskedLM")
    same("fill-mask", folder, CALLS)
    apart = bert(tmp_path / "apart", "ForMaskedLM")
    config = apart / "tokenizer_config.json"
    said = json.loads(config.read_text(encoding="utf-8")) | {"clean_up_tokenization_spaces": True}
    config.write_text(json.dumps(said), encoding="utf-8")
    same("fill-mask", apart, [*CALLS[:4], Call(["I ' m [MASK] , he do n't !"])])


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", [byte_level(False), byte_level(True), meta_space()])
def test_tokens_that_hold_a_space(tokenizer, same: Callable[..., None], tmp_path: Path):
    calls = [
        Call([" ".join(text.replace("[MASK]", "<mask>").split()[:40])], call.kwargs, call.construct)
        for call in CALLS
        if isinstance(text := call.args[0], str) and "[SEP]" not in text
    ]
    same("fill-mask", roberta(tmp_path, "ForMaskedLM", tokenizer), calls)


@pytest.mark.slow
def test_what_is_an_error_there_is_one_here(reference: Callable, tmp_path: Path):
    from moduformer import pipeline
    from moduformer.errors import PipelineError

    folder = bert(tmp_path, "ForMaskedLM")
    pipe = pipeline("fill-mask", model=str(folder))
    for args, kwargs in (
        (["no mask here"], {}),
        ([["fine [MASK]", "no mask here"]], {}),
        ([LONG + " [MASK]"], {"tokenizer_kwargs": {"truncation": True, "max_length": 4}}),
        ([ONE], {"targets": []}),
    ):
        case = {"task": "fill-mask", "model": str(folder), "args": args, "kwargs": kwargs, "construct": {}}
        assert "error" in reference([{**case, "generator": False}])[0]
        with pytest.raises(PipelineError):
            pipe(*args, **kwargs)
