"""Random configs of every family: each module of this package has a tuple `REFERENCES`."""

import importlib
import pkgutil

from parity.references import Reference

REFERENCES: tuple[Reference, ...] = tuple(
    reference
    for module in sorted(found.name for found in pkgutil.iter_modules(__path__))
    for reference in importlib.import_module(f"{__name__}.{module}").REFERENCES
)
"""Every family of this library that `transformers` has, too."""
