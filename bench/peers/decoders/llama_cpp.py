"""llama.cpp, as npm's `node-llama-cpp` brings it ready built.

`npm install --ignore-scripts --prefix runs/bench/node node-llama-cpp` installs it; MODUFORMER_BENCH_NODE names another
folder that holds its `node_modules`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.peers.decoders.decoder import Decoder, DecoderWork
from bench.peers.decoders.requantized import place, requantize

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = Path(__file__).with_suffix(".mjs")


def node_folder() -> Path:
    """The folder in which `node_modules` is looked for."""
    return Path(os.environ.get("MODUFORMER_BENCH_NODE", ROOT / "runs" / "bench" / "node"))


class LlamaCpp(Decoder):
    """A GGUF file in a process of node's; rows of a batch are sequences of one context."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.name = f"llama.cpp {kind}"
        if kind != "Q4_1":
            self.modules = self.packages = ("gguf",)

    def missing(self) -> str | None:
        """node, and the package."""
        if shutil.which("node") is None:
            return "not installed: node.js"
        if not (node_folder() / "node_modules" / "node-llama-cpp").is_dir():
            return "not installed: npm install --ignore-scripts --prefix runs/bench/node node-llama-cpp"
        return super().missing()

    def versions(self) -> dict[str, str]:
        """The package's, and llama.cpp's release in it."""
        package = node_folder() / "node_modules" / "node-llama-cpp"
        release = json.loads((package / "llama" / "binariesGithubRelease.json").read_text())["release"]
        return {
            "node-llama-cpp": json.loads((package / "package.json").read_text())["version"],
            "llama.cpp": str(release),
        }

    def files(self, work: DecoderWork) -> list[Path]:
        """The file in its type."""
        return [place(work, self.kind)]

    def convert(self, work: DecoderWork) -> None:
        """From the published file."""
        requantize(work, self.kind)

    def prepare(self, work: DecoderWork) -> None:
        """Starts node and loads the file."""
        settings = {
            "file": str(self.files(work)[0]),
            "threads": work.threads,
            "sequences": work.batch,
            "context": max(map(len, work.prompts)) + work.new + 8,
            "package": (node_folder() / "node_modules" / "node-llama-cpp" / "dist" / "index.js").as_uri(),
        }
        self._node = subprocess.Popen(
            ["node", str(PROGRAM), json.dumps(settings)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._node.stdout is not None
        ready = self._node.stdout.readline()
        if not ready:
            raise RuntimeError("node ended before the model was loaded")

    def write(self, prompts: Sequence[list[int]], new: int) -> list[list[int]]:
        """One question to node, one answer."""
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        print(json.dumps({"prompts": list(prompts), "new": new}), file=self._node.stdin, flush=True)
        found: list[list[int]] = json.loads(self._node.stdout.readline())
        return found

    def processes(self) -> list[int]:
        """Node's."""
        return [self._node.pid]
