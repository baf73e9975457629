"""OpenVINO: the same graph, in float32 or quantised after training by NNCF, calibrated on the first texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.contender import whole
from bench.peers.encoders.encoder import EncoderWork, PaddedEncoder
from bench.peers.encoders.onnx_runtime import export, exported

if TYPE_CHECKING:
    import numpy as np

CALIBRATION = 300
"""Texts that activations are measured on; they are the first of those that are timed, which only helps OpenVINO."""


class OpenVinoEncoder(PaddedEncoder):
    """A compiled model on the CPU; float32 is asked for by name, since it would take bfloat16 where it can."""

    modules: tuple[str, ...] = ("openvino", "transformers", "onnx")
    packages: tuple[str, ...] = ("openvino", "transformers", "onnx")

    def __init__(self, int8: bool = False) -> None:
        self.int8 = int8
        self.name = f"OpenVINO {'int8' if int8 else 'fp32'}, sorted by length"
        if int8:
            self.modules = self.packages = ("openvino", "transformers", "onnx", "nncf")

    def files(self, work: EncoderWork) -> list[Path]:
        """The graph."""
        graph = exported(work)
        return [graph.with_suffix(f".int8-{len(work.texts[:CALIBRATION])}") / "model.xml"] if self.int8 else [graph]

    def convert(self, work: EncoderWork) -> None:
        """Exports, and quantises where asked."""
        if not exported(work).exists():
            export(work)
        if not self.int8:
            return
        import nncf
        import numpy as np
        import openvino

        self.read_tokenizer(work.folder)
        encoded = self._tokenizer.encode_batch_fast(work.texts[:CALIBRATION])
        rows = [np.array([number for number, real in zip(e.ids, e.attention_mask) if real])[None] for e in encoded]
        samples = [{"input_ids": row, "attention_mask": np.ones_like(row)} for row in rows]
        model = openvino.Core().read_model(str(exported(work)))
        quantized = nncf.quantize(model, nncf.Dataset(samples), model_type=nncf.ModelType.TRANSFORMER)
        with whole(self.files(work)[0].parent) as folder:
            openvino.save_model(quantized, str(folder / "model.xml"), compress_to_fp16=False)

    def prepare(self, work: EncoderWork) -> None:
        """Compiles."""
        import openvino

        self.read_tokenizer(work.folder)
        settings = {
            "INFERENCE_NUM_THREADS": work.threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._model = openvino.Core().compile_model(str(self.files(work)[0]), "CPU", settings)

    def hidden(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """The model's one output."""
        found: np.ndarray = self._model({"input_ids": ids, "attention_mask": mask})[0]
        return found
