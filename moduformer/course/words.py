"""Words in Korean and English, and which of the two a reader gets."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from moduformer.catalog.words import locale_language
from moduformer.errors import DataError

Language = Literal["ko", "en"]

BOTH = "application/vnd.moduformer.words+json"
"""Beside the text, a notebook's output holds both languages, so that one run can fill the notebook of each."""


def language(chosen: str | None = None) -> Language:
    """The reader's language.

    The one that is `chosen`, else `MODUFORMER_LANGUAGE`, else that of the notebook that is running (English ones stand
    in a folder `en`), else the environment's. Raises `DataError` for a chosen one that is not "ko" or "en".
    """
    if chosen is not None:
        if chosen not in ("ko", "en"):
            raise DataError(f"language is {chosen!r}; use 'ko' or 'en'")
        return "ko" if chosen == "ko" else "en"
    wanted = os.environ.get("MODUFORMER_LANGUAGE", "")[:2].lower()
    if wanted in ("ko", "en"):
        return "ko" if wanted == "ko" else "en"
    # Jupyter starts a kernel in its notebook's folder.
    if "ipykernel" in sys.modules:
        return "en" if Path.cwd().name == "en" else "ko"
    return "ko" if locale_language() == "ko" else "en"


@dataclass(frozen=True)
class Words:
    """The same in both languages. As a cell's last value it is shown in the language of its notebook."""

    ko: str
    en: str

    def in_language(self, chosen: str | None = None) -> str:
        """The words in the chosen language, or in the reader's (see `language`)."""
        return self.ko if language(chosen) == "ko" else self.en

    def __repr__(self) -> str:
        return self.in_language()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/plain": self.in_language(), BOTH: {"ko": self.ko, "en": self.en}}
