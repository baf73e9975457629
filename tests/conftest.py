"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of licensed data sets and reference fixtures that stands beside a checkout, not inside it."""
    folder = Path(os.environ.get("MODUFORMER_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"needs the shared data folder, and {folder} is absent (set MODUFORMER_SHARED)")
    return folder
