"""The library made of this folder's C files by the machine's own compiler, once a processor, and kept in the cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import torch

from moduformer.errors import SourceError
from moduformer.sources.cache import home

SWITCH = "MODUFORMER_NATIVE"
"""Set to 0, nothing is compiled or loaded, and PyTorch's operations do the work."""

FLAGS = (
    "-std=gnu11",
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-strict-aliasing",
    "-fPIC",
    "-fopenmp",
    "-shared",
    "-Wl,--as-needed",
)
WIDE = "-mprefer-vector-width=512"
SECONDS = 120
"""A compiler that takes longer is stopped."""


@cache
def library() -> ctypes.CDLL | None:
    """The library, compiled on the first call ever; None where that is impossible, see `reason`."""
    found = _found()
    return found if isinstance(found, ctypes.CDLL) else None


def reason() -> str | None:
    """Why there is no library, in words; None where there is one."""
    found = _found()
    return found if isinstance(found, str) else None


@cache
def _found() -> ctypes.CDLL | str:
    if os.environ.get(SWITCH, "1").strip() == "0":
        return f"{SWITCH} is 0"
    if not sys.platform.startswith("linux"):
        return f"compiled kernels are for Linux, not {sys.platform}"
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not compiler or shutil.which(compiler) is None:
        return "no C compiler (cc or gcc) is installed"
    threads = next(iter(sorted(Path(torch.__file__).parent.glob("lib/libgomp*.so*"))), None)
    if threads is None:
        return "this PyTorch has no OpenMP of GNU's"
    try:
        return ctypes.CDLL(str(_built(compiler, threads)))
    except (OSError, SourceError, subprocess.SubprocessError) as error:
        return f"{compiler} did not make the kernels: {error}"


def _built(compiler: str, threads: Path) -> Path:
    """The library's file; compiled unless one of the same source, compiler and processor is there and is our own."""
    sources = {part.name: part.read_text(encoding="utf-8") for part in files(__package__).iterdir() if _is_source(part)}
    flags = (*FLAGS, WIDE) if platform.machine() in ("x86_64", "AMD64") else FLAGS
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=SECONDS, check=True).stdout
    key = hashlib.sha256(repr((sorted(sources.items()), flags, version, _processor())).encode()).hexdigest()[:24]
    folder = home() / "native"
    target = folder / f"{key}.so"
    if _is_ours(target):
        return target
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as scratch:
        made = Path(scratch) / "native.so"
        for name, text in sources.items():
            (Path(scratch) / name).write_text(text, encoding="utf-8")
        units = [str(Path(scratch) / name) for name in sorted(sources) if name.endswith(".c")]
        # PyTorch's own OpenMP comes first, so that both share one set of threads.
        command = [compiler, *flags, *units, str(threads), "-lm", "-o", str(made)]
        done = subprocess.run(command, capture_output=True, timeout=SECONDS)
        if done.returncode:
            raise SourceError(done.stderr.decode(errors="replace").strip()[-400:])
        made.chmod(0o600)
        os.replace(made, target)
    return target


def _is_source(part: Traversable) -> bool:
    return part.name.endswith((".c", ".h"))


def _is_ours(path: Path) -> bool:
    """Whether a file is there that only this user, or the administrator, could have written."""
    try:
        owned = [part.stat() for part in (path, path.parent)]
    except FileNotFoundError:
        return False
    if any(part.st_uid not in (os.getuid(), 0) or part.st_mode & 0o022 for part in owned):
        raise SourceError(f"{path} could have been written by someone else; remove it, or set {SWITCH}=0")
    return True


def _processor() -> str:
    """What the processor can do, as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
