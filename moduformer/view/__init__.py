"""The attention viewer: `mf.view("text", model="minilm")` shows what every head looks at, and what changes without it.

One page has three homes: a local server (`moduformer view`), a notebook widget, and a file without network. Each draws
recordings (`record`), and asks what a recording does not hold; `docs/viewer-format.md` says what both sides may expect.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moduformer.view.opening import View


class Room(ModuleType):
    """This module, which is also the function `mf.view(...)`."""

    def __call__(self, text: str | None = None, **options: Any) -> View | Any:
        """See `opening.view`."""
        from moduformer.view.opening import view

        return view(text, **options)


sys.modules[__name__].__class__ = Room
