"""Real sentences for the notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moduformer.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def rated(domain: str = "movies", margin: float = 0.5) -> pd.DataFrame:
    """Sentences that people rated from -4 to 4 (Hutto & Gilbert 2014, MIT), as a table of text, label and rating.

    Arguments:
        domain: "movies", "products", "tweets" or "editorials".
        margin: those nearer to 0 are left out, so that a label is "positive" or "negative".

    Raises `DataError` for an unknown domain, `SourceError` where the data can neither be found nor fetched.
    """
    import pandas as pd

    from moduformer.demo.job import DATA_SET, DOMAINS
    from moduformer.demo.rated import clear_polarity, read_rated
    from moduformer.sources import fetch_data

    if domain not in DOMAINS:
        raise DataError(f"domain is {domain!r}; use one of {', '.join(DOMAINS)}")
    rows = clear_polarity(read_rated(fetch_data(DATA_SET) / DOMAINS[domain]).rows, margin).rows
    return pd.DataFrame(
        {"text": [r.text for r in rows], "label": [r.label for r in rows], "rating": [r.rating for r in rows]}
    )
