"""Tiny models of every kind with tokenizers, all of whose parameters are random, for the tests of the viewer."""

from dataclasses import replace
from functools import cache

from core_models import SEEING, SPECS, randomise
from pipeline_models import TEXTS, small, words
from recurrent_models import RECURRENT

import moduformer as mf
from moduformer.model import Model
from moduformer.text.tokenizer import Tokenizer

HOSTILE = "<img src=x onerror=alert(1)> </script><script>alert(2)</script> a\u2028b"
KOREAN = "안녕하세요, 영화 참 좋다 😀"


@cache
def byte_tokens() -> Tokenizer:
    """A byte-level vocabulary so small that most Korean characters are several tokens."""
    return Tokenizer.train(TEXTS * 4, "bpe", 300)


def encoder(architecture: str = "BertForSequenceClassification", **config: object) -> Model:
    """A BERT of two layers with two heads each."""
    return small(architecture, **config)


def decoder(name: str = "llama") -> Model:
    """A decoder of two layers; llama's has four heads that share two keys and values."""
    tokenizer = byte_tokens()
    spec = replace(SPECS[name], vocab=tokenizer.max_id + 1, bos_id=None, eos_id=tokenizer.eos_id)
    model = randomise(mf.build(spec, seed=1), 2)
    model.tokenizer = tokenizer
    return model


def encoder_decoder(name: str = "t5") -> Model:
    """Two layers on both sides, framed words."""
    tokenizer = words()
    spec = replace(SPECS[name], vocab=tokenizer.max_id + 1, decoder_start_id=0, eos_id=tokenizer.sep_id)
    model = randomise(mf.build(spec, seed=1), 3)
    model.tokenizer = tokenizer
    return model


def recurrent(name: str = "bahdanau") -> Model:
    """A recurrent encoder-decoder with one attention."""
    tokenizer = words()
    spec = replace(RECURRENT[name], vocab=tokenizer.max_id + 1)
    model = randomise(mf.build(spec, seed=1), 4)
    model.tokenizer = tokenizer
    return model


def vision() -> Model:
    """An image encoder of 2 x 2 patches and a class token, with a head for labels."""
    return randomise(mf.build(SEEING["vit"], seed=1), 5)
