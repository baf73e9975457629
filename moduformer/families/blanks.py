"""Which tokens mark blanks in a text and begin what fills one, in the configs of GLM and its descendants."""

from dataclasses import dataclass
from typing import Any

from moduformer.errors import CheckpointError
from moduformer.weights.config import Config, Get


@dataclass(frozen=True)
class Blanks:
    """The tokens that begin an answer and mark what it fills: keys of the config, and their defaults.

    `running` are the names of those behind which positions run on."""

    start: tuple[str, int]
    blanks: tuple[tuple[str, int], ...]
    running: tuple[str, ...] = ()

    def read(self, config: Config) -> dict[str, Any]:
        """The tokens of an `Infilling`."""
        blanks = tuple(config.get(name, default) for name, default in self.blanks)
        running = tuple(id for (name, _), id in zip(self.blanks, blanks) if name in self.running)
        return {
            "infilling.start": config.get(*self.start),
            "infilling.blanks": blanks,
            "infilling.running": running,
        }

    def write(self, get: Get) -> dict[str, Any]:
        """The same keys. Raises `CheckpointError` for another number of blanks than the format has."""
        blanks = get("infilling.blanks")
        if len(blanks) != len(self.blanks):
            raise CheckpointError(f"this format has {len(self.blanks)} kinds of blanks, not {len(blanks)}")
        return {self.start[0]: get("infilling.start")} | {name: id for (name, _), id in zip(self.blanks, blanks)}


MASKS = ("mask_token_id", "smask_token_id", "gmask_token_id")

TOKENIZERS = {
    50304: (50257, 50258, (50260, 50264, 50263)),
    50048: (50006, 50007, (50003, 50008, 50009)),
    30592: (30522, 30523, (103, 30525, 30524)),
}
"""<|startofpiece|>, <|endofpiece|> and [MASK], [sMASK], [gMASK] of the published vocabularies (GPT-2 BPE, Chinese
SentencePiece, BERT), in which only their tokenizers name them."""


@dataclass(frozen=True)
class Pieces:
    """The tokens that mark blanks and begin and end what fills one: keys of the config, or the vocabulary's own."""

    def read(self, config: Config) -> dict[str, Any]:
        """The tokens of an `Infilling`, and the end of a text. Raises `CheckpointError` where nothing names them."""
        vocab = config.get("vocab_size", 30592)
        own = TOKENIZERS.get(vocab) if isinstance(vocab, int) else None
        if own is None and not {"sop_token_id", *MASKS} <= set(config):
            raise CheckpointError(
                f"config.json: the blanks of a vocabulary of {vocab!r:.20} are not known; add sop_token_id, "
                f"{', '.join(MASKS)} from its tokenizer"
            )
        start, end, blanks = own or (None, None, (None,) * 3)
        return {
            "infilling.start": config.get("sop_token_id", start),
            "infilling.blanks": tuple(config.get(name, blank) for name, blank in zip(MASKS, blanks)),
            "eos_id": config.get("eos_token_id", end),
        }

    def write(self, get: Get) -> dict[str, Any]:
        """The keys. Raises `CheckpointError` for another number of blanks than the format has."""
        blanks = get("infilling.blanks")
        if len(blanks) != len(MASKS):
            raise CheckpointError(f"this format has {len(MASKS)} kinds of blanks, not {len(blanks)}")
        return {"sop_token_id": get("infilling.start"), **dict(zip(MASKS, blanks))}
