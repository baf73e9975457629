"""Encoder: ragged real sentences to vectors, throughput and the latency of one sentence."""

from __future__ import annotations

import argparse
from typing import Any, ClassVar

from bench.figures import cosines, probe_agreement
from bench.peers.encoders.c_translate2 import CTranslate2Encoder
from bench.peers.encoders.encoder import EncoderWork
from bench.peers.encoders.onnx_runtime import OnnxRuntimeEncoder
from bench.peers.encoders.open_vino import OpenVinoEncoder
from bench.peers.encoders.ours import Ours
from bench.peers.encoders.sentence_transformer import SentenceTransformerEncoder
from bench.peers.encoders.transformers_model import TransformersEncoder
from bench.table import Column, Table


class EncoderTable(Table[EncoderWork]):
    """MiniLM over the sentences of Hutto & Gilbert."""

    name = "encoder"
    title = "Encoder: all-MiniLM-L6-v2, ragged real sentences"
    about = (
        "Mean-pooled vectors of reviews, tweets and editorials (Hutto & Gilbert 2014). Agreement is with float32 "
        "`transformers`: the cosine of each text's vector, and the share of texts to which one linear classifier, "
        "fitted to half the reference vectors, gives the same label."
    )
    work_type = EncoderWork
    contenders: ClassVar = [
        TransformersEncoder("sdpa"),
        TransformersEncoder("sdpa", by_length=True),
        TransformersEncoder("eager"),
        SentenceTransformerEncoder(),
        OnnxRuntimeEncoder(),
        OpenVinoEncoder(),
        CTranslate2Encoder(),
        Ours(),
        OnnxRuntimeEncoder(int8=True),
        OpenVinoEncoder(int8=True),
        CTranslate2Encoder(int8=True),
        Ours("int8"),
    ]
    columns = (
        Column("sentences_per_second", "sentences/s", ratio=True, spread=True),
        Column("milliseconds_alone", "one sentence, ms", 1, ratio=True, lower_is_better=True, spread=True),
        Column("peak_mib", "peak MiB", lower_is_better=True),
    )
    agreements = (
        Column("cosine_mean", "cosine, mean", 4),
        Column("cosine_least", "least", 4),
        Column("labels", "same label, %", 1, scale=100),
    )
    reference = "transformers sdpa, as given"

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """How many sentences."""
        parser.add_argument("--rows", type=int, default=2000, help="sentences (default 2,000)")
        parser.add_argument("--single", type=int, default=50, help="sentences that are read one by one too")

    def work(self, options: argparse.Namespace) -> EncoderWork:
        """The sentences and MiniLM's folder."""
        from bench.sentences import sentences
        from moduformer.sources.resolve import resolve

        texts, labels = sentences(options.rows)
        return EncoderWork(str(resolve("minilm").path), options.kept, options.threads, texts, labels, options.single)

    def agreement(self, output: Any, reference: Any, work: EncoderWork) -> dict[str, float]:
        """Cosines and a probe's labels."""
        mean, least = cosines(output, reference)
        return {
            "cosine_mean": mean,
            "cosine_least": least,
            "labels": probe_agreement(output, reference, work.labels),
        }


TABLE = EncoderTable()
