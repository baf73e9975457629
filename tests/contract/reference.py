"""Run by a Python that has `transformers` 4.57: makes pipelines and calls, and writes what they gave as JSON.

Knows nothing of this library. A line of standard input names a file with calls and a file for the answers.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    """The value with numbers of numpy and torch as Python's, and generators as lists."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if hasattr(value, "item"):
        return value.item()
    if hasattr(value, "__next__") or type(value).__name__ == "PipelineIterator":
        return [plain(entry) for entry in value]
    return value


def main() -> None:
    """Answers one job after another."""
    warnings.simplefilter("ignore")
    import transformers

    assert transformers.__version__.startswith("4.57"), transformers.__version__
    transformers.logging.set_verbosity_error()
    for line in sys.stdin:
        job, out = line.split()
        answers = [answer(case) for case in json.loads(Path(job).read_text(encoding="utf-8"))]
        Path(out).write_text(json.dumps(answers, ensure_ascii=False), encoding="utf-8")
        print("done", flush=True)


def answer(case: dict[str, Any]) -> dict[str, Any]:
    """What a call gave, or the error it raised."""
    from transformers import pipeline

    try:
        pipe = pipeline(case["task"], model=case["model"], device="cpu", **case["construct"])
        args, kwargs = case["args"], case["kwargs"]
        if case["generator"]:
            args = [(entry for entry in args[0]), *args[1:]]
        return {"result": plain(pipe(*args, **kwargs))}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main()
