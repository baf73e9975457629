"""Decoder: greedy continuations, the first token and those after it, at batch 1 and at several."""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any, ClassVar

from bench.contender import whole
from bench.figures import same_prefix
from bench.peers.decoders.c_translate2 import CTranslate2Decoder
from bench.peers.decoders.decoder import DecoderWork
from bench.peers.decoders.llama_cpp import LlamaCpp
from bench.peers.decoders.open_vino import OpenVinoDecoder
from bench.peers.decoders.ours import Ours
from bench.peers.decoders.transformers_model import TransformersDecoder
from bench.peers.decoders.v_llm import VLlm
from bench.table import Column, Table


class DecoderTable(Table[DecoderWork]):
    """SmolLM2 continues real texts."""

    name = "decoder"
    title = "Decoder: SmolLM2-135M-Instruct, greedy"
    about = (
        "Continuations of prompts of equal length cut from real texts (Hutto & Gilbert 2014). All contenders have the "
        "weights of one GGUF file (Q4_1), read out to float32 where they take no such file and coded again where they "
        "take another type. Agreement is the number of first tokens that equal those of float32 `transformers`, over "
        "the prompts of the batch."
    )
    work_type = DecoderWork
    contenders: ClassVar = [
        TransformersDecoder("sdpa"),
        TransformersDecoder("eager"),
        TransformersDecoder("sdpa", "bfloat16"),
        CTranslate2Decoder(),
        OpenVinoDecoder("F16", "f32"),
        VLlm("float32"),
        VLlm("bfloat16"),
        Ours(),
        Ours("float32", "float32"),
        Ours("float16", "float16"),
        CTranslate2Decoder(int8=True),
        OpenVinoDecoder("Q8_0"),
        OpenVinoDecoder("Q4_0"),
        LlamaCpp("Q8_0"),
        LlamaCpp("Q4_1"),
        LlamaCpp("Q4_0"),
        Ours("int8", "int8"),
        Ours("int4", "float16"),
        Ours("int4", "int4"),
    ]
    columns = (
        Column("tokens_one", "tokens/s, one", 1, ratio=True, spread=True),
        Column("tokens_batch", "tokens/s, batch", 1, ratio=True, spread=True),
        Column("first_one", "first token, s", 3, ratio=True, lower_is_better=True),
        Column("first_batch", "first of batch, s", 3, ratio=True, lower_is_better=True),
        Column("peak_mib", "peak MiB", lower_is_better=True),
    )
    agreements = (Column("same_mean", "same tokens, mean", 1), Column("same_least", "least"))
    reference = "transformers sdpa float32"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Sizes of prompts and answers."""
        parser.add_argument("--new", type=int, default=128, help="tokens that are written after each prompt")
        parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
        parser.add_argument("--batch", type=int, default=8, help="prompts at once")

    def work(self, options: argparse.Namespace) -> DecoderWork:
        """Prompts, and the weights as a folder that every library reads."""
        from tokenizers import Tokenizer

        from bench.sentences import sentences
        from moduformer.sources.resolve import resolve

        folder = Path(options.kept) / "smollm2"
        if not folder.is_dir():
            import moduformer as mf

            with whole(folder) as unfinished:
                mf.load("smollm2").save(unfinished)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        texts, _ = sentences(200 * options.batch)
        prompts = []
        for row in range(options.batch):
            ids = tokenizer.encode(" ".join(texts[row :: options.batch])).ids
            prompts.append(ids[: options.prompt])
        gguf = str(resolve("smollm2").path)
        return DecoderWork(str(folder), options.kept, options.threads, gguf, prompts, options.batch, options.new)

    def agreement(self, output: Any, reference: Any, work: DecoderWork) -> dict[str, float]:
        """Equal first tokens."""
        same = [same_prefix(own, theirs) for own, theirs in zip(output, reference, strict=True)]
        return {"same_mean": statistics.mean(same), "same_least": min(same)}


TABLE = DecoderTable()
