"""Small languages whose rules are known, so that what a model has learned of them can be measured in seconds."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from moduformer.text.tokenizer import Tokenizer

NOUNS = {
    "cat": "goyangi",
    "dog": "gae",
    "bird": "sae",
    "child": "ai",
    "ball": "gong",
    "tree": "namu",
    "moon": "dal",
    "book": "chaek",
}
VERBS = {"sees": "bonda", "likes": "joahanda", "draws": "geurinda", "finds": "chatneunda", "knows": "anda"}
ADJECTIVES = {"red": "ppalgan", "small": "jageun", "old": "oraedoen", "new": "saeroun", "cold": "chagaun"}
AND = {"and": "geurigo"}
DICTIONARY = NOUNS | VERBS | ADJECTIVES | AND

GOOD, BAD = 1, 0
MOODS: dict[str, tuple[list[str], list[str]]] = {
    "both": ("bad awful poor nasty".split(), "good great lovely nice".split()),
    "shop": (
        "flimsy broken noisy slow leaky blurry loose rusty".split(),
        "sturdy reliable handy durable fast quiet sharp smooth".split(),
    ),
    "film": (
        "dull clumsy tedious predictable shallow boring silly hollow lifeless bland".split(),
        "witty moving gripping charming clever thrilling tender brilliant hilarious vivid".split(),
    ),
}
THINGS = {
    "shop": "phone charger lamp kettle radio drill chair tent camera watch".split(),
    "film": "plot actor ending dialogue music script hero scene story camera".split(),
}
SAYING = "is was seemed felt".split()
_SLIPS = 0.06


def word_order_pairs(count: int, seed: int = 0, clauses: Iterable[int] = (1, 2, 3, 4)) -> list[tuple[str, str]]:
    """Sentences of an English word order, and the same in a Korean one, the verb last.

    A clause is subject, verb and object, each noun with an adjective or without: "cat sees red ball" becomes "goyangi
    ppalgan gong bonda".

    Arguments:
        count: how many pairs.
        seed: equal seeds give equal pairs.
        clauses: how many clauses a sentence may have; one of these by chance.
    """
    draw, lengths = random.Random(seed), tuple(clauses)
    pairs = []
    for _ in range(count):
        source: list[str] = []
        target: list[str] = []
        for number in range(draw.choice(lengths)):
            joined = ["and"] if number else []
            subject, verb, thing = _noun(draw), [draw.choice(list(VERBS))], _noun(draw)
            source += joined + subject + verb + thing
            target += joined + subject + thing + verb
        pairs.append((" ".join(source), " ".join(DICTIONARY[word] for word in target)))
    return pairs


def toy_reviews(
    count: int, about: Literal["shop", "film"] = "film", seed: int = 0, slips: float = _SLIPS
) -> list[tuple[str, int]]:
    """Reviews of things bought in a shop, or of films, and whether each is good (1) or bad (0).

    The adjectives of a review are of one mood but for a few `slips`. Half of a mood's words or fewer are known to both
    kinds of reviews.
    """
    draw = random.Random(seed)
    return [_review(draw, about, slips) for _ in range(count)]


def word_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """A tokenizer for which everything between spaces is a token: pad 0, start 1, end 2, mask 3, unknown 4."""
    import tokenizers
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    from moduformer.text.tokenizer import Tokenizer

    special = {"pad": "[PAD]", "bos": "[START]", "eos": "[END]", "mask": "[MASK]", "unk": "[UNK]"}
    words = sorted({word for text in texts for word in text.split()})
    raw = tokenizers.Tokenizer(
        WordLevel({word: i for i, word in enumerate([*special.values(), *words])}, unk_token=special["unk"])
    )
    raw.add_special_tokens(list(special.values()))
    raw.pre_tokenizer = WhitespaceSplit()
    return Tokenizer.from_tokenizers(raw, **special)


def _noun(draw: random.Random) -> list[str]:
    noun = draw.choice(list(NOUNS))
    return [draw.choice(list(ADJECTIVES)), noun] if draw.random() < 0.4 else [noun]


def _review(draw: random.Random, about: str, slips: float) -> tuple[str, int]:
    mood = draw.choice((BAD, GOOD))
    pools = [MOODS["both"][side] + MOODS[about][side] for side in (BAD, GOOD)]
    parts = []
    for _ in range(draw.choice((1, 2, 3))):
        words = draw.sample(pools[mood], 2)
        if draw.random() < slips:
            words[1] = draw.choice(pools[1 - mood])
        said = words[0] if draw.random() < 0.15 else " and ".join(words)
        parts.append(f"the {draw.choice(THINGS[about])} {draw.choice(SAYING)} {said}")
    return " , ".join(parts) + " .", mood
