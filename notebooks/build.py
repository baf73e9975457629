"""Builds the notebooks from their paired sources.

python notebooks/build.py fetch [NAME]   what the notebooks need from elsewhere; the only step that uses the network
python notebooks/build.py [NAME]         runs every source once, without network, and writes both languages
python notebooks/build.py run [NAME]     the same without writing: whether everything still runs
python notebooks/build.py texts [NAME]   writes texts anew where no code has changed, without running anything
python notebooks/build.py check          whether sources, notebooks and the table of contents agree; runs nothing

NAME is the beginning of a name, such as 00.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import tomllib
from collections.abc import Sequence

from paired import FOLDER, LANGUAGES, Code, Source, SourceMistake, find, sources
from running import Run, Running, can_unshare
from writing import normal, notebook, pages, write

SECONDS_EACH = 240
LARGEST = 2 * 2**20
_PATHS = ("/home/", "/root/", "/tmp/", "/Users/", "site-packages")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="[fetch|run|texts|check] [NAME]")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="notebooks run at once")
    given = parser.parse_args()
    step = given.words.pop(0) if given.words and given.words[0] in ("fetch", "run", "texts", "check") else "build"
    try:
        chosen = find(given.words[0]) if given.words else sources()
        if step == "check":
            return report_check()
        if step == "fetch":
            fetch(chosen)
            return 0
        return texts(chosen) if step == "texts" else run_all(chosen, given.jobs, write_them=step == "build")
    except SourceMistake as mistake:
        print(mistake, file=sys.stderr)
        return 1


def fetch(chosen: Sequence[Source]) -> None:
    """Fetches the models and data that the sources need into moduformer's cache."""
    from moduformer.sources import DATA_SETS, fetch_data, resolve

    for name in sorted({name for source in chosen for name in source.needs}):
        if name in DATA_SETS:
            print(f"{name}: {fetch_data(name).name}")
        else:
            print(f"{name}: {resolve(name).note}")


def run_all(chosen: Sequence[Source], jobs: int, write_them: bool) -> int:
    """Runs sources, `jobs` at once, says how long each took, and writes those that ran."""
    sandbox = can_unshare()
    by = "a network namespace of its own" if sandbox else "closed sockets in the kernel (no `unshare` here)"
    print(f"without network: {by}; {jobs} at once, one thread each", flush=True)
    waiting, going, failed = list(chosen), list[tuple[Source, Running]](), 0
    began = time.monotonic()
    try:
        while waiting or going:
            while waiting and len(going) < jobs:
                source = waiting.pop(0)
                going.append((source, Running(FOLDER / "source" / f"{source.name}.md", sandbox)))
            time.sleep(0.1)
            for source, running in [pair for pair in going if pair[1].finished()]:
                going.remove((source, running))
                failed += not _finished(source, running.result(), write_them)
    finally:
        for _, running in going:
            running.stop()
    print(f"{len(chosen)} notebooks in {len(LANGUAGES)} languages: {time.monotonic() - began:.0f} s, {failed} failed")
    return 1 if failed else 0


def _finished(source: Source, run: Run, write_them: bool) -> bool:
    slowest = max(run.seconds, key=lambda pair: pair[1], default=(0, 0.0))
    print(
        f"{source.name}: {run.total:.0f} s, {run.cpu:.0f} s of one processor; "
        f"the slowest cell {slowest[1]:.0f} s (line {slowest[0]})",
        flush=True,
    )
    if run.failure is None and run.cpu > SECONDS_EACH:
        run.failure = f"{source.name} took {run.cpu:.0f} s of a processor; {SECONDS_EACH} s are allowed"
    if run.failure is not None:
        print(run.failure, file=sys.stderr, flush=True)
        return False
    if write_them:
        for language in LANGUAGES:
            outputs = [[normal(output, language) for output in cell] for cell in run.outputs]
            write(source.notebook(language), notebook(source, language, outputs))
    return True


def texts(chosen: Sequence[Source]) -> int:
    """Writes both notebooks of sources whose code is still that of the notebook, keeping its outputs."""
    failed = 0
    for source in chosen:
        try:
            kept = {language: _outputs(source, language) for language in LANGUAGES}
        except SourceMistake as mistake:
            print(mistake, file=sys.stderr)
            failed = 1
            continue
        for language in LANGUAGES:
            write(source.notebook(language), notebook(source, language, kept[language]))
    return failed


def _outputs(source: Source, language: str) -> list[list[dict]]:
    cells = _code_cells(_read(source, language))
    if [_joined(cell["source"]) for cell in cells] != [cell.code for cell in source.code() if not cell.answer]:
        raise SourceMistake(f"{source.name} ({language}): its code has changed; build it anew")
    return [cell["outputs"] for cell in cells]


# Checking ------------------------------------------------------------------------------------------------------------


def report_check() -> int:
    """Prints what `problems` finds."""
    found = problems()
    for problem in found:
        print(problem, file=sys.stderr)
    print(f"notebooks: {len(sources())} sources, {len(found)} problems")
    return 1 if found else 0


def problems() -> list[str]:
    """Where sources, notebooks and the table of contents do not agree, one line each."""
    every = sources()
    found = _contents({source.name: source for source in every})
    for source in every:
        found += _pairs(source)
        for language in LANGUAGES:
            found += _notebook(source, language)
    expected = {source.notebook(language) for source in every for language in LANGUAGES}
    stray = sorted(set(FOLDER.rglob("*.ipynb")) - expected)
    return found + [
        f"{path.relative_to(FOLDER)} has no source" for path in stray if ".ipynb_checkpoints" not in str(path)
    ]


def _contents(every: dict[str, Source]) -> list[str]:
    contents = tomllib.loads((FOLDER / "contents.toml").read_text(encoding="utf-8"))
    written = contents["written"]
    found = [f"{name} is not among those that contents.toml calls written" for name in every if name not in written]
    for name in written:
        if name not in every:
            found.append(f"{name} has no source")
            continue
        for language in LANGUAGES:
            headings = [heading.lstrip("# ") for heading in every[name].headings(language)]
            sections = contents["sections"][name][language]
            found += [f"{name} has no heading {section!r}" for section in sections if section not in headings]
    return found


def _pairs(source: Source) -> list[str]:
    levels = [[heading.split()[0] for heading in source.headings(language)] for language in LANGUAGES]
    found = [] if levels[0] == levels[1] else [f"{source.name}: the languages have different headings"]
    before: Code | None = None
    for cell in source.cells:
        if isinstance(cell, Code):
            if cell.answer and (before is None or "course.check(" not in before.code):
                found.append(f"{source.name}.md line {cell.line}: an answer without an exercise before it")
            before = cell
    return found


def _notebook(source: Source, language: str) -> list[str]:
    path = source.notebook(language)
    where = path.relative_to(FOLDER).as_posix()
    try:
        content = _read(source, language)
        outputs = _outputs(source, language)
    except SourceMistake as mistake:
        return [str(mistake)]
    found = []
    expected = notebook(source, language, outputs)
    if [_joined(cell["source"]) for cell in content["cells"]] != [cell["source"] for cell in expected["cells"]]:
        found.append(f"{where}: texts have changed; run `python notebooks/build.py texts`")
    kinds = {output["output_type"] for cell in outputs for output in cell}
    found += [f"{where} holds an error"] * ("error" in kinds)
    found += [f"{where} holds a path of a machine: {p}" for p in _PATHS if any(p in page for page in pages(content))]
    if path.stat().st_size > LARGEST:
        found.append(f"{where} has {path.stat().st_size / 2**20:.1f} MiB; {LARGEST / 2**20:.0f} are allowed")
    return found


def _read(source: Source, language: str) -> dict:
    if not source.notebook(language).is_file():
        raise SourceMistake(f"{source.name} ({language}) is not built; run `make notebooks`")
    return json.loads(source.notebook(language).read_text(encoding="utf-8"))


def _code_cells(content: dict) -> list[dict]:
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


def _joined(lines: str | list[str]) -> str:
    return lines if isinstance(lines, str) else "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
