"""The page in the package is what its source builds to."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "moduformer" / "view" / "page"


def test_the_source_builds_to_the_very_bytes_of_the_package(tmp_path):
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs Node and npm")
    folder = tmp_path / "viewer"
    shutil.copytree(REPOSITORY / "viewer", folder, ignore=shutil.ignore_patterns("node_modules"))
    for words in (["ci", "--no-audit", "--no-fund"], ["run", "check"], ["run", "build"]):
        done = subprocess.run([npm, *words], cwd=folder, capture_output=True, text=True, timeout=300)
        if words[0] == "ci" and re.search(r"ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT|ENETUNREACH", done.stderr):
            pytest.skip("needs a package registry, and none answers")
        assert done.returncode == 0, done.stdout + done.stderr
    built = tmp_path / "moduformer" / "view" / "page"
    assert {file.name for file in built.iterdir()} == {"viewer.js", "viewer.css"}
    for file in built.iterdir():
        assert file.read_bytes() == (PAGE / file.name).read_bytes(), (
            f"run `npm ci && npm run build` in viewer/: {file.name}"
        )


def test_the_module_can_stand_inside_a_page_and_loads_nothing():
    script, style = ((PAGE / name).read_text(encoding="utf-8") for name in ("viewer.js", "viewer.css"))
    for word in (
        "</script",
        "<!--",
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "import(",
    ):
        assert word not in script
    assert not re.search(r'setAttribute\(["\'`]style', script)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", script)
    assert not re.search(r"@import|url\(", style)
