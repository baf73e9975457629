"""A tiny encoder and made-up reviews that it can learn, so that tests need no network."""

import random
from pathlib import Path

import torch

import moduformer as mf
from moduformer.families import family
from moduformer.text.tokenizer import Tokenizer

WORDS = {
    "pos": ["good", "great", "fine", "lovely", "happy"],
    "neg": ["bad", "awful", "sad", "poor", "dull"],
    "odd": ["green", "purple", "orange", "blue", "pink"],
}
FILL = ["the", "a", "film", "was", "it", "and", "is", "very", "so", "this", "that"]
SETTINGS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def reviews(rows: int, classes: tuple[str, ...] = ("neg", "pos"), longest: int = 12, seed: int = 0):
    """Texts and their classes, in turn."""
    rng = random.Random(seed)
    labels = [classes[i % len(classes)] for i in range(rows)]
    return [review(label, rng.randint(4, longest), rng) for label in labels], labels


def review(label: str, words: int, rng: random.Random) -> str:
    """A text of this many words, of which about half belong to the class."""
    chosen = [rng.choice(WORDS[label] if rng.random() < 0.5 else FILL) for _ in range(words - 1)]
    return " ".join([*chosen, rng.choice(WORDS[label])])


def tiny_encoder(folder: Path, positions: int = 64) -> Path:
    """A folder with a random BERT of two small layers and a tokenizer."""
    tokenizer = Tokenizer.train(reviews(200, tuple(WORDS))[0], "wordpiece", 200, lowercase=True)
    config = SETTINGS | {"vocab_size": tokenizer.max_id + 1, "max_position_embeddings": positions}
    model = mf.build(family("bert").read(config, "BertModel"), seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                # The usual 0.02 is for widths of hundreds; at 32 it would leave no signal to learn from in a few steps.
                parameter.mul_(5)
    model.tokenizer = tokenizer
    return model.save(folder)
