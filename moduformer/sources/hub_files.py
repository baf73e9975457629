"""Which files of a hub repository make a checkpoint or a data set, and whether a file is the one that is listed."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from moduformer.errors import SourceError
from moduformer.sources.cache import file_sha256

Kind = Literal["model", "dataset"]

_SETTINGS = re.compile(
    r"(?:config|generation_config|adapter_config|preprocessor_config|processor_config|chat_template|modules|sentence_bert_config"
    r"|config_sentence_transformers|[12]_\w+/config)\.json"
    r"|chat_template\.jinja|additional_chat_templates/[\w.-]+\.jinja|README\.md|LICENSE(?:\.\w+)?"
)
TOKENIZER = re.compile(
    r"(?:tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json|vocab\.txt|merges\.txt"
    r"|(?:spiece|tokenizer|sentencepiece|sentencepiece\.bpe|source|target)\.(?:model|spm)"
)
# In order of preference; the first that the repository has is taken and the rest left alone.
_WEIGHTS = (
    re.compile(r"model\.safetensors|model-\d+-of-\d+\.safetensors|model\.safetensors\.index\.json"),
    re.compile(r"adapter_model\.safetensors"),
    re.compile(r"pytorch_model\.bin|pytorch_model-\d+-of-\d+\.bin|pytorch_model\.bin\.index\.json"),
)
_TABLES = re.compile(r".*\.(?:parquet|csv|tsv|jsonl)|README\.md")


@dataclass(frozen=True)
class HubFile:
    """One file of a commit as the hub lists it: LFS files by SHA-256, the small rest by git's hash of a blob."""

    name: str
    size: int
    sha256: str | None
    git_sha1: str | None


def select(files: Iterable[HubFile], repo_id: str, kind: Kind) -> list[HubFile]:
    """The files to fetch; code, other frameworks' weights and duplicates in older formats stay where they are."""
    listed = [file for file in files if _is_plain(file.name)]
    if kind == "dataset":
        chosen = [file for file in listed if _TABLES.fullmatch(file.name)]
        if not any(file.name != "README.md" for file in chosen):
            raise SourceError(
                f"the data set {repo_id} has no parquet, csv, tsv or jsonl file; a loading script is never run"
            )
        return chosen
    chosen = [file for file in listed if _SETTINGS.fullmatch(file.name) or TOKENIZER.fullmatch(file.name)]
    for pattern in _WEIGHTS:
        weights = [file for file in listed if pattern.fullmatch(file.name)]
        if any(not file.name.endswith(".json") for file in weights):
            return chosen + _without_duplicates(weights)
    others = ", ".join(
        sorted(file.name for file in listed if file.name.endswith((".gguf", ".h5", ".msgpack", ".pt")))[:5]
    )
    raise SourceError(
        f"{repo_id} has no model.safetensors or pytorch_model.bin at its top"
        + (f" (it has {others}; download the one you want and give its path)" if others else "")
    )


def _without_duplicates(weights: list[HubFile]) -> list[HubFile]:
    whole = [file for file in weights if "-of-" not in file.name and not file.name.endswith(".index.json")]
    return whole or weights


def _is_plain(name: str) -> bool:
    return (
        ".." not in PurePosixPath(name).parts
        and not name.startswith("/")
        and re.search(r"[\\\x00-\x1f:]", name) is None
    )


def verified(path: Path, listed: HubFile) -> str:
    """SHA-256 of a file whose content fits what the hub lists."""
    found = file_sha256(path)
    if listed.sha256 is not None and found != listed.sha256:
        raise SourceError(f"{listed.name} has sha256 {found}, expected {listed.sha256}; it was removed, try again")
    if listed.sha256 is None and listed.git_sha1 is not None and _git_blob_sha1(path) != listed.git_sha1:
        raise SourceError(
            f"{listed.name} is not the file that the hub lists (git hash {listed.git_sha1}); it was removed"
        )
    return found


def _git_blob_sha1(path: Path) -> str:
    # The hash by which git names a file's content (git-hash-object); the hub lists small files by it.
    digest = hashlib.sha1(b"blob %d\x00" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
