"""Spaces that a tokenizer leaves in what it decodes, taken out where its settings ask for that."""

from __future__ import annotations

from collections.abc import Sequence

from moduformer.text.tokenizer import Tokenizer

_JOINED = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"),
    (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


def decoded(
    tokenizer: Tokenizer, ids: Sequence[int], skip_special_tokens: bool = True, joined: bool | None = None
) -> str:
    """The text of token ids as Hugging Face's tokenizers give it.

    `joined` takes the space before English punctuation and contractions out; None does as `tokenizer_config.json` says
    (`clean_up_tokenization_spaces`), which mostly is not.
    """
    text = tokenizer.decode(ids, skip_special_tokens)
    if joined is None:
        joined = tokenizer.settings.raw.get("clean_up_tokenization_spaces") is True
    if joined:
        for apart, together in _JOINED:
            text = text.replace(apart, together)
    return text
