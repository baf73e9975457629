"""ONNX Runtime: the exported graph, in float32 or with dynamically quantised int8 products."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.contender import whole
from bench.peers.encoders.encoder import EncoderWork, PaddedEncoder

if TYPE_CHECKING:
    import numpy as np


def exported(work: EncoderWork) -> Path:
    """Where the float32 graph lies."""
    return Path(work.kept) / f"{Path(work.folder).name}.onnx"


def export(work: EncoderWork) -> None:
    """Exports the encoder with rows and tokens left open."""
    import torch
    from transformers import AutoModel

    class Body(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(work.folder, attn_implementation="eager").eval()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return hidden

    axes = {0: "rows", 1: "tokens"}
    ids = torch.ones(3, 7, dtype=torch.long)
    with whole(exported(work)) as path:
        torch.onnx.export(
            Body(),
            (ids, ids),
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=["hidden"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "hidden": axes},
            opset_version=17,
            dynamo=False,
        )


class OnnxRuntimeEncoder(PaddedEncoder):
    """An `InferenceSession` on the CPU with every graph optimisation."""

    modules = ("onnxruntime", "onnx", "transformers")
    packages = ("onnxruntime", "onnx", "transformers")

    def __init__(self, int8: bool = False) -> None:
        self.int8 = int8
        self.name = f"ONNX Runtime {'dynamic int8' if int8 else 'fp32'}, sorted by length"

    def files(self, work: EncoderWork) -> list[Path]:
        """The graph."""
        graph = exported(work)
        return [graph.with_suffix(".int8.onnx") if self.int8 else graph]

    def convert(self, work: EncoderWork) -> None:
        """Exports, and quantises where asked."""
        graph = exported(work)
        if not graph.exists():
            export(work)
        if self.int8:
            from onnxruntime.quantization import QuantType, quantize_dynamic

            with whole(self.files(work)[0]) as path:
                quantize_dynamic(str(graph), str(path), weight_type=QuantType.QInt8, per_channel=True)

    def prepare(self, work: EncoderWork) -> None:
        """Opens the session."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = work.threads
        options.inter_op_num_threads = 1
        self.read_tokenizer(work.folder)
        self._session = onnxruntime.InferenceSession(str(self.files(work)[0]), options, ["CPUExecutionProvider"])

    def hidden(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """The session's one output."""
        found: np.ndarray = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return found
