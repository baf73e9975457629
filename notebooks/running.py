"""Running a source: in a clean kernel, with fixed seeds and one thread, and without network."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paired import Source, SourceMistake, read
from writing import BOTH

CELL_SECONDS = 1800
"""A cell that takes longer hangs; how much work a notebook may be is judged by its processor time."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

SANDBOX = ("unshare", "--map-root-user", "--net")
"""A network namespace of its own, in which there is nothing but 127.0.0.1; no privileges are needed where user
namespaces are allowed."""

_SOCKETS_CLOSED = """\
import ipaddress as _ip, socket as _socket
def _guarded(connect):
    def only_here(self, address):
        if self.family != _socket.AF_UNIX and not _ip.ip_address(address[0]).is_loopback:
            raise OSError("a notebook runs without network")
        return connect(self, address)
    return only_here
_socket.socket.connect = _guarded(_socket.socket.connect)
_socket.socket.connect_ex = _guarded(_socket.socket.connect_ex)
def _unknown(host, *rest, _known=_socket.getaddrinfo, **more):
    if host not in (None, "localhost", "127.0.0.1", "::1"):
        raise _socket.gaierror("a notebook runs without network")
    return _known(host, *rest, **more)
_socket.getaddrinfo = _unknown
"""


@dataclass
class Run:
    """What running a source gave: the outputs of each visible code cell, the seconds of each cell, and any failure.

    `total` are seconds by the clock, `cpu` those of the processor, which other work on the machine does not change.
    """

    outputs: list[list[dict[str, Any]]]
    seconds: list[tuple[int, float]]
    total: float
    failure: str | None = None
    cpu: float = 0.0


def can_unshare() -> bool:
    """Whether this machine lets us take the network away from a process."""
    if shutil.which(SANDBOX[0]) is None:
        return False
    return subprocess.run([*SANDBOX, "true"], capture_output=True).returncode == 0


class Running:
    """A source that runs in a process of its own; `result` waits for it."""

    def __init__(self, path: Path, sandbox: bool) -> None:
        self.path, self.folder = path, Path(tempfile.mkdtemp(prefix="notebook-"))
        command = [*(SANDBOX if sandbox else ()), sys.executable, __file__, str(path), str(self.folder)]
        self.log = (self.folder / "log").open("w")
        # A process killed by Ctrl-C takes its kernel with it.
        self.process = subprocess.Popen(
            command + ([] if sandbox else ["--close-sockets"]),
            env=environment(self.folder),
            cwd=self.folder,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def finished(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def result(self) -> Run:
        """What it gave, once it has ended; its folder is then gone."""
        self.process.wait()
        self.log.close()
        try:
            found = self.folder / "run.json"
            if found.is_file():
                return Run(**json.loads(found.read_text(encoding="utf-8")))
            said = (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-3000:]
            return Run([], [], 0.0, f"the process ended with status {self.process.returncode}:\n{said}")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self) -> None:
        """Ends it and forgets it."""
        self.process.terminate()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def environment(folder: Path) -> dict[str, str]:
    """Variables for a kernel: no settings of the person, no source that is asked, one thread, one order of hashing."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "IPYTHON", "MPL"))}
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    jupyter = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR")
    return (
        kept
        | dict.fromkeys(threads, "1")
        | {name: str(folder / name.lower()) for name in jupyter}
        | {
            "PYTHONHASHSEED": "0",
            "TOKENIZERS_PARALLELISM": "false",
            "MODUFORMER_SOURCES": "none",
            "HF_HUB_OFFLINE": "1",
            "PYTHONWARNINGS": "ignore",
            "JUPYTER_PLATFORM_DIRS": "1",
        }
    )


def execute(source: Source, close_sockets: bool = False, cwd: Path | None = None) -> Run:
    """Runs all code of a source in a new kernel; answers run after their exercises, and must be right."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    code = source.code()
    began = time.monotonic()
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.code) for cell in code])
    client = NotebookClient(
        content, timeout=CELL_SECONDS, kernel_name="python3", record_timing=False, store_widget_state=False
    )
    seconds: list[tuple[int, float]] = []
    outputs: list[list[dict[str, Any]]] = []
    with client.setup_kernel(cwd=str(cwd or Path.cwd())):
        assert client.kc is not None
        if close_sockets:
            client.kc.execute(_SOCKETS_CLOSED, silent=True)
        for number, cell in enumerate(code):
            started = time.monotonic()
            try:
                done = client.execute_cell(content.cells[number], number)
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                said = _COLOURS.sub("", f"{source.name}.md line {cell.line}: {error}")
                return Run(outputs, seconds, time.monotonic() - began, said)
            seconds.append((cell.line, time.monotonic() - started))
            found = [dict(output) for output in done.get("outputs", ())]
            if not cell.answer:
                outputs.append(found)
            elif not any(output.get("data", {}).get(BOTH, {}).get("right") for output in found):
                said = [output.get("data", {}).get("text/plain", "") for output in found]
                return Run(
                    outputs,
                    seconds,
                    time.monotonic() - began,
                    f"{source.name}.md line {cell.line}: this answer does not satisfy the check: {said}",
                )
    return Run(outputs, seconds, time.monotonic() - began)


def raise_loopback() -> None:
    """Switches 127.0.0.1 on, which is off in a new network namespace; kernels are spoken to through it."""
    import fcntl
    import socket
    import struct

    get_flags, set_flags, up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, get_flags, asked))[1]
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh14x", b"lo", flags | up))


def main() -> None:
    """The process of one source: `running.py SOURCE FOLDER`."""
    path, folder = Path(sys.argv[1]), Path(sys.argv[2])
    closed = "--close-sockets" in sys.argv
    if not closed:
        raise_loopback()
    for name in ("jupyter_runtime_dir", "ipythondir"):
        (folder / name).mkdir(exist_ok=True)
    work = folder / "work"
    work.mkdir()
    try:
        run = execute(read(path), closed, work)
    except SourceMistake as mistake:
        run = Run([], [], 0.0, str(mistake))
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    run.cpu = spent.ru_utime + spent.ru_stime
    (folder / "run.json").write_text(json.dumps(vars(run), ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
