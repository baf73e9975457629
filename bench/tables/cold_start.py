"""Cold start: importing, `--help`, and the first vector of a text, each in a fresh process."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from bench.contender import Contender, Measured, Work, timed
from bench.peers.encoders.c_translate2 import CTranslate2Encoder
from bench.peers.encoders.encoder import Encoder, EncoderWork
from bench.peers.encoders.onnx_runtime import OnnxRuntimeEncoder
from bench.peers.encoders.open_vino import OpenVinoEncoder
from bench.peers.encoders.ours import Ours
from bench.peers.encoders.sentence_transformer import SentenceTransformerEncoder
from bench.peers.encoders.transformers_model import TransformersEncoder
from bench.table import Column, Table


@dataclass(frozen=True)
class ColdWork(Work):
    """A text to turn into a vector."""

    text: str

    def encoder(self) -> EncoderWork:
        """The same as an encoder's work."""
        return EncoderWork(self.folder, self.kept, self.threads, [self.text], [0], 0)


class Cold(Contender[ColdWork]):
    """Processes that import a library, print its program's help, and encode one text with weights that lie there."""

    def __init__(self, library: str, encoder: Encoder, program: list[str] | None = None) -> None:
        self.name, self.library, self.encoder, self.program = library, library, encoder, program
        self.modules, self.packages = encoder.modules, encoder.packages

    def missing(self) -> str | None:
        """What its encoder needs."""
        return self.encoder.missing()

    def versions(self) -> dict[str, str]:
        """Its encoder's."""
        return self.encoder.versions()

    def files(self, work: ColdWork) -> list[Path]:
        """Its encoder's."""
        return self.encoder.files(work.encoder())

    def convert(self, work: ColdWork) -> None:
        """Its encoder's."""
        self.encoder.convert(work.encoder())

    def prepare(self, work: ColdWork) -> None:
        """Nothing: every turn starts cold, the operating system's file cache aside."""

    def run(self, work: ColdWork) -> Measured:
        """Seconds of each process from its start to its end."""
        measures = {"import": _seconds([sys.executable, "-c", f"import {self.library}"])}
        if self.program:
            measures["help"] = _seconds([sys.executable, *self.program])
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(asdict(work.encoder()), file)
            file.flush()
            command = [sys.executable, "-m", "bench.worker", "encoder", self.encoder.name, file.name, "--first"]
            measures["first"] = _seconds(command)
        return Measured(measures)


def _seconds(command: list[str]) -> float:
    return timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))[0]


class ColdStartTable(Table[ColdWork]):
    """The libraries of the encoder's table."""

    name = "cold-start"
    title = "Cold start"
    about = (
        "Seconds of fresh processes, from start to end: one that imports the library, one that prints its program's "
        "help, and one that loads all-MiniLM-L6-v2 from this machine and makes the vector of one sentence. Converted "
        "weights are there already."
    )
    work_type = ColdWork
    contenders: ClassVar = [
        Cold("transformers", TransformersEncoder("sdpa")),
        Cold("sentence_transformers", SentenceTransformerEncoder()),
        Cold("onnxruntime", OnnxRuntimeEncoder()),
        Cold("openvino", OpenVinoEncoder()),
        Cold("ctranslate2", CTranslate2Encoder()),
        Cold("moduformer", Ours(), ["-m", "moduformer", "--help"]),
    ]
    columns = (
        Column("import", "import, s", 2, ratio=True, lower_is_better=True, spread=True),
        Column("first", "first vector, s", 2, ratio=True, lower_is_better=True, spread=True),
        Column("help", "--help, s", 2, lower_is_better=True, spread=True),
    )
    stand_in = "moduformer"

    def work(self, options: argparse.Namespace) -> ColdWork:
        """One sentence."""
        from bench.sentences import sentences
        from moduformer.sources.resolve import resolve

        return ColdWork(str(resolve("minilm").path), options.kept, options.threads, sentences(1)[0][0])


TABLE = ColdStartTable()
