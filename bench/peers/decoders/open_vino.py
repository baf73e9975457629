"""OpenVINO GenAI, which reads GGUF files itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.peers.decoders.decoder import Decoder, DecoderWork
from bench.peers.decoders.requantized import place, requantize


class OpenVinoDecoder(Decoder):
    """An `LLMPipeline` on the CPU."""

    modules = ("openvino_genai", "gguf")
    packages = ("openvino-genai", "gguf")

    def __init__(self, kind: str, precision: str | None = None) -> None:
        self.kind, self.precision = kind, precision
        self.name = f"OpenVINO GenAI {kind}{f' weights, {precision}' if precision else ''}"

    def files(self, work: DecoderWork) -> list[Path]:
        """The file in its type."""
        return [place(work, self.kind)]

    def convert(self, work: DecoderWork) -> None:
        """From the published file."""
        requantize(work, self.kind)

    def prepare(self, work: DecoderWork) -> None:
        """Loads and compiles."""
        import openvino_genai

        settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": work.threads, "PERFORMANCE_HINT": "LATENCY"}
        if self.precision:
            settings["INFERENCE_PRECISION_HINT"] = self.precision
        self._pipeline = openvino_genai.LLMPipeline(str(self.files(work)[0]), "CPU", **settings)

    def write(self, prompts: Sequence[list[int]], new: int) -> list[list[int]]:
        """Ids in, ids out."""
        import numpy as np
        import openvino
        import openvino_genai

        ids = np.array(prompts, dtype=np.int64)
        inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids)))
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens, config.ignore_eos, config.do_sample = new, True, False
        return [list(row) for row in self._pipeline.generate(inputs, config).tokens]
