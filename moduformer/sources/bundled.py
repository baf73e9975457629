"""The models that come with the package: adapters and heads on default models, and small models of their own."""

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "defaults"
"""A folder a model, each an ordinary checkpoint or adapter with its model card."""


@cache
def bundled() -> dict[str, Path]:
    """The folders of these models by the name that `mf.load` takes."""
    return {path.parent.name: path.parent for path in sorted(FOLDER.glob("*/config.json"))}
