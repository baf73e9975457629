"""Names of models: what comes with the package is found without any source."""

import pytest

from moduformer.errors import SourceError
from moduformer.sources import bundled
from moduformer.sources.resolve import resolve


def test_a_model_of_the_package_is_found_by_name_without_any_source(monkeypatch, tmp_path):
    folder = tmp_path / "defaults" / "mood-xx"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (tmp_path / "defaults" / "no-model").mkdir()
    monkeypatch.setattr(bundled, "FOLDER", folder.parent)
    monkeypatch.setenv("MODUFORMER_SOURCES", "none")
    bundled.bundled.cache_clear()
    try:
        found = resolve("mood-xx")
        assert found.path == folder
        assert found.note == "mood-xx, which comes with the library"
        with pytest.raises(SourceError, match="mood-xx"):
            resolve("no-model/")
    finally:
        bundled.bundled.cache_clear()
