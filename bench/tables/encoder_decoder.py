"""Encoder-decoder: ragged sources to targets of one length, greedily and with beams."""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any, ClassVar

from bench.contender import whole
from bench.figures import same_prefix
from bench.peers.encoder_decoders.c_translate2 import CTranslate2Translator
from bench.peers.encoder_decoders.ours import Ours
from bench.peers.encoder_decoders.transformers_model import TransformersTranslator
from bench.peers.encoder_decoders.translator import TranslatorWork
from bench.table import Column, Table

NEVER = -1e4
WIDER = 3.0
"""Drawn weights are made wider than for training, so that what is written depends on the source."""


class EncoderDecoderTable(Table[TranslatorWork]):
    """A translator of OPUS-MT's architecture."""

    name = "encoder-decoder"
    title = "Encoder-decoder: Marian (OPUS-MT's architecture), greedy and five beams"
    about = (
        "Sources are real sentences (Hutto & Gilbert 2014) as tokens, of every length; every contender writes the same "
        "number of tokens for each. Unless a checkpoint is given, the weights are drawn at random, which changes no "
        "contender's arithmetic but makes near ties common. Agreement is the mean number of first tokens that equal "
        "those of float32 `transformers`."
    )
    work_type = TranslatorWork
    contenders: ClassVar = [
        TransformersTranslator(),
        CTranslate2Translator(),
        Ours(),
        CTranslate2Translator(int8=True),
        Ours("int8"),
    ]
    columns = (
        Column("tokens_greedy", "tokens/s, greedy", ratio=True, spread=True),
        Column("tokens_beams", "tokens/s, beams", ratio=True, spread=True),
        Column("one_ms", "one source, ms", ratio=True, lower_is_better=True),
        Column("peak_mib", "peak MiB", lower_is_better=True),
    )
    agreements = (Column("same_greedy", "same tokens, greedy", 1), Column("same_beams", "same, beams", 1))
    reference = "transformers sdpa"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """The checkpoint and the sizes."""
        parser.add_argument("--translator", help="a folder with a Marian checkpoint (default: weights drawn at random)")
        parser.add_argument("--sources", type=int, default=16, help="texts to translate at once")
        parser.add_argument("--new", type=int, default=64, help="tokens that are written for each")
        parser.add_argument("--beams", type=int, default=5)

    def work(self, options: argparse.Namespace) -> TranslatorWork:
        """Sources as ids, through the tokenizer of MiniLM where the checkpoint has none of its own."""
        from tokenizers import Tokenizer

        from bench.sentences import sentences
        from moduformer.sources.resolve import resolve

        folder = Path(options.translator) if options.translator else drawn(Path(options.kept))
        texts, _ = sentences(options.sources)
        if options.translator:
            import moduformer as mf

            tokenizer = mf.load(folder).tokenizer
            sources = [tokenizer.encode(text).ids for text in texts]
        else:
            words = Tokenizer.from_file(str(Path(resolve("minilm").path) / "tokenizer.json"))
            encoded = words.encode_batch(texts, add_special_tokens=False)
            sources = [[*each.ids, 0] for each in encoded]
        return TranslatorWork(str(folder), options.kept, options.threads, sources, options.new, options.beams)

    def agreement(self, output: Any, reference: Any, work: TranslatorWork) -> dict[str, float]:
        """Equal first tokens, one mean for each way of writing."""
        same = [
            statistics.mean(same_prefix(own, theirs) for own, theirs in zip(mine, known, strict=True))
            for mine, known in zip(output, reference)
        ]
        return {"same_greedy": same[0], "same_beams": same[1]}


def drawn(kept: Path) -> Path:
    """A Marian checkpoint whose weights are drawn at random, made once."""
    folder = kept / "marian"
    if not folder.is_dir():
        import torch

        import moduformer as mf

        model = mf.build(mf.spec("opus-mt-en-de"), seed=0)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(WIDER)
            # As in published files: padding begins a text with nothing, and is never written.
            padding = model.spec.pad_id
            model.get_parameter("embedding.tokens.weight")[padding] = 0
            model.get_parameter("heads.language-model.bias")[padding] = NEVER
        with whole(folder) as unfinished:
            model.save(unfinished)
    return folder


TABLE = EncoderDecoderTable()
