"""A contender's process: `python -m bench.worker TABLE CONTENDER WORK.json` and then one answer a line.

It says when it is ready; each `run FILE` that it reads makes one turn, whose output goes into FILE. What libraries
print goes to stderr. `--convert` makes the contender's files and ends; `--first` does a first piece of work and ends.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from bench.contender import Contender, Measured
from bench.limits import Limits


def peak_memory(processes: list[int]) -> float:
    """The most memory that this process and those have held, in MiB: the sum of their own peaks."""
    total = 0.0
    for process in ["self", *map(str, processes)]:
        try:
            status = Path(f"/proc/{process}/status").read_text()
            total += int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
        except (OSError, StopIteration):
            import resource

            total += resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return total


def keep(output: Any, path: Path) -> None:
    """Writes what is compared later: matrices as .npy, all else as JSON."""
    if hasattr(output, "shape"):
        import numpy as np

        with path.open("wb") as file:
            np.save(file, np.asarray(output))
    else:
        path.write_text(json.dumps(output))


def read(path: Path) -> Any:
    """What `keep` wrote."""
    if path.read_bytes()[:6] == b"\x93NUMPY":
        import numpy as np

        return np.load(path)
    return json.loads(path.read_text())


def turn(contender: Contender[Any], work: Any, path: Path) -> dict[str, Any]:
    """One turn as JSON."""
    done: Measured = contender.run(work)
    keep(done.output, path)
    return {"measures": done.measures | {"peak_mib": peak_memory(contender.processes())}, "more": done.more}


def main() -> None:
    """Runs until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    table_name, contender_name, work_file, *mode = sys.argv[1:]
    from bench.tables import table

    chosen = table(table_name)
    contender = Limits() if contender_name == Limits.name else chosen.contender(contender_name)
    work = chosen.work_type(**json.loads(Path(work_file).read_text()))
    try:
        if mode == ["--convert"]:
            contender.convert(work)
            return
        start = time.perf_counter()
        contender.prepare(work)
        ready = {"seconds": time.perf_counter() - start, "versions": contender.versions()}
        if mode == ["--first"]:
            contender.run(work)
            return
        print(json.dumps(ready), file=answers)
        for line in sys.stdin:
            _, path = line.split(maxsplit=1)
            print(json.dumps(turn(contender, work, Path(path.strip()))), file=answers)
    # Whatever a library raises belongs into the table's notes, not into this program's end.
    except Exception as error:
        traceback.print_exc()
        words = (str(error).strip().splitlines() or [""])[-1]
        print(json.dumps({"failed": f"{type(error).__name__}: {words[:300]}"}), file=answers)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
