"""Checks on a `tokenizer.json` before the compiled library sees it.

The library trusts its input: it panics on a merge shorter than its prefix, renumbers added tokens silently, and loops
over a vocabulary up to its largest id. Format: https://huggingface.co/docs/tokenizers (the serialisation of
`tokenizers.Tokenizer`).
"""

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any

from ..errors import TextError
from .charsmap import screen_charsmap
from .patterns import screen_pattern

#: The largest published files hold 262k tokens and 33 MB.
MAX_BYTES = 96 * 2**20
#: Pieces are looked up at every position of a text, so their length multiplies the cost of encoding.
MAX_PIECE = 4096
#: How far ids may run ahead of the number of tokens; a few published vocabularies have holes.
MAX_ID_GAP = 100_000
MAX_COMPONENTS = 64
MAX_GROWTH = 64
MAX_ADDED = 200_000

_MODELS = ("WordPiece", "BPE", "Unigram", "WordLevel")


def parse_json(content: bytes, where: str, limit: int = MAX_BYTES) -> Any:
    """Parse JSON from an untrusted file: bounded size, no duplicate keys, no NaN, any depth answered by an error.

    Raises:
        TextError: the content is not such JSON.
    """
    if len(content) > limit:
        raise TextError(f"{where}: {len(content):,} bytes, more than the {limit:,} a file of this kind may have.")
    try:
        return json.loads(
            content.decode("utf-8-sig"), object_pairs_hook=_object_without_duplicates, parse_constant=_refuse_constant
        )
    except _DuplicateKey as error:
        raise TextError(f"{where}: the key {error.args[0]!r} appears twice in one object.") from None
    except RecursionError:
        raise TextError(f"{where}: nested too deeply to be a tokenizer file.") from None
    except (ValueError, MemoryError) as error:
        raise TextError(f"{where}: not valid JSON ({str(error)[:120]}); download the file again.") from None


class _DuplicateKey(Exception):
    pass


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKey(key[:80])
            seen.add(key)
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def screen_tokenizer(data: Any, where: str) -> None:
    """Check the parsed content of a `tokenizer.json`; returns nothing when it may be handed to the library.

    Checked: types, number and length of tokens, ids unique and near the number of tokens, merges made of known tokens,
    added tokens that do not contradict the vocabulary, pipeline components few and not growing text, regular
    expressions that end (`moduformer.text.patterns`), ids of templates inside the vocabulary.

    Args:
        data: the parsed JSON.
        where: the file, for messages.

    Raises:
        TextError: with the first thing that is wrong.
    """
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        raise TextError(f"{where}: not a tokenizer file (it has no `model` object).")
    model = data["model"]
    kind = model.get("type")
    if kind is not None and kind not in _MODELS:
        raise TextError(f"{where}: unknown tokenizer model {str(kind)[:40]!r}; known are {', '.join(_MODELS)}.")
    ids = _screen_vocabulary(model, where)
    added = _screen_added_tokens(data.get("added_tokens"), ids, where)
    if "merges" in model:
        _screen_merges(model, ids, where)
    longest = model.get("max_input_chars_per_word")
    if longest is not None and not (_is_int(longest) and 0 < longest <= 10_000):
        raise TextError(f"{where}: `max_input_chars_per_word` is {str(longest)[:40]}; 1 to 10,000 are allowed.")
    for name in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        _screen_pipeline(data.get(name), ids | added, f"{where}, {name}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _screen_vocabulary(model: dict[str, Any], where: str) -> dict[str, int]:
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, list):
        ids: dict[str, int] = {}
        for index, entry in enumerate(vocabulary):
            if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)) or not (
                isinstance(entry[1], int | float) and not isinstance(entry[1], bool) and abs(entry[1]) < 1e30
            ):
                raise TextError(f"{where}: vocabulary entry {index} is not a pair of a token and a score.")
            # A few published SentencePiece vocabularies repeat a piece; the library keeps the last, so do we.
            ids[entry[0]] = index
        if not ids:
            raise TextError(f"{where}: the vocabulary is empty.")
        unknown = model.get("unk_id")
        if unknown is not None and not (_is_int(unknown) and 0 <= unknown < len(vocabulary)):
            raise TextError(f"{where}: `unk_id` {str(unknown)[:40]} is outside the {len(vocabulary)} tokens.")
    elif isinstance(vocabulary, dict):
        ids = vocabulary
        bound = len(ids) + MAX_ID_GAP
        seen: dict[int, str] = {}
        for token, number in ids.items():
            if not _is_int(number) or not 0 <= number < bound:
                raise TextError(
                    f"{where}: token {token[:40]!r} has the id {str(number)[:40]}, impossible among {len(ids)} tokens."
                )
            if number in seen:
                raise TextError(f"{where}: tokens {seen[number][:40]!r} and {token[:40]!r} share the id {number}.")
            seen[number] = token
    else:
        raise TextError(f"{where}: the model has no vocabulary.")
    longest = max(map(len, ids), default=0)
    if longest > MAX_PIECE:
        raise TextError(f"{where}: a token of {longest:,} characters; {MAX_PIECE:,} are allowed.")
    for token in ids:
        if not token.isascii():
            _refuse_surrogates(token, where)
    return ids


def _refuse_surrogates(token: str, where: str) -> None:
    try:
        token.encode("utf-8")
    except UnicodeEncodeError:
        raise TextError(f"{where}: a token contains half of a surrogate pair, which is not text.") from None


def _screen_added_tokens(entries: Any, ids: dict[str, int], where: str) -> dict[str, int]:
    if entries is None:
        return {}
    if not isinstance(entries, list) or len(entries) > MAX_ADDED:
        raise TextError(f"{where}: `added_tokens` is not a list of at most {MAX_ADDED:,} tokens.")
    bound = len(ids) + len(entries) + MAX_ID_GAP
    owners = {number: token for token, number in ids.items()} if entries else {}
    added: dict[str, int] = {}
    for entry in entries:
        content = entry.get("content") if isinstance(entry, dict) else None
        number = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(content, str) or len(content) > MAX_PIECE:
            raise TextError(f"{where}: an added token has no usable `content`.")
        _refuse_surrogates(content, where)
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < bound:
            raise TextError(f"{where}: added token {content[:40]!r} has the impossible id {str(number)[:40]}.")
        if owners.get(number, content) != content:
            raise TextError(
                f"{where}: added token {content[:40]!r} and token {owners[number][:40]!r} share the id {number}."
            )
        if added.get(content, number) != number or (content in ids and ids[content] != number):
            raise TextError(f"{where}: added token {content[:40]!r} appears with two different ids.")
        owners[number] = content
        added[content] = number
    return added


def _screen_merges(model: dict[str, Any], ids: dict[str, int], where: str) -> None:
    merges = model["merges"]
    if not isinstance(merges, list):
        raise TextError(f"{where}: `merges` is not a list.")
    prefix = model.get("continuing_subword_prefix") or ""
    if not isinstance(prefix, str):
        raise TextError(f"{where}: `continuing_subword_prefix` is not text.")
    for index, merge in enumerate(merges):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
            raise TextError(f"{where}: merge {index} is not a pair of tokens.")
        left, right = parts
        if not right.startswith(prefix):
            raise TextError(f"{where}: merge {index} continues a word but does not begin with {prefix[:20]!r}.")
        joined = left + right[len(prefix) :]
        for token in (left, right, joined):
            if token not in ids:
                raise TextError(f"{where}: merge {index} needs the token {token[:40]!r}, which the vocabulary lacks.")


def _components(node: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    if depth > 8:
        yield {"type": "nested more than 8 deep"}
    elif isinstance(node, dict):
        yield node
        for name in ("normalizers", "pretokenizers", "processors", "decoders"):
            children = node.get(name)
            if isinstance(children, list):
                for child in children[: MAX_COMPONENTS + 1]:
                    yield from _components(child, depth + 1)


def _screen_pipeline(node: Any, ids: dict[str, int], where: str) -> None:
    if node is None:
        return
    if not isinstance(node, dict):
        raise TextError(f"{where}: not an object.")
    growth = 1
    parts = []
    for part in _components(node):
        parts.append(part)
        if len(parts) > MAX_COMPONENTS or part.get("type") == "nested more than 8 deep":
            raise TextError(f"{where}: more than {MAX_COMPONENTS} steps, or steps nested more than 8 deep.")
    bound = max(ids.values(), default=0) + 1
    for part in parts:
        pattern = part.get("pattern")
        if isinstance(pattern, dict) and isinstance(pattern.get("Regex"), str):
            screen_pattern(pattern["Regex"], where)
        if part.get("type") == "Replace":
            content = part.get("content")
            growth *= max(1, len(content)) if isinstance(content, str) else 1
            # An empty pattern matches between all characters.
            if isinstance(pattern, dict) and pattern.get("String") == "":
                raise TextError(f"{where}: a replacement with an empty pattern.")
        elif part.get("type") == "Precompiled":
            try:
                rules = base64.b64decode(part.get("precompiled_charsmap") or "", validate=True)
            except (binascii.Error, TypeError, ValueError):
                raise TextError(f"{where}: its normalisation rules are not base64 text.") from None
            screen_charsmap(rules, where)
        elif part.get("type") == "Prepend":
            growth += len(str(part.get("prepend", ""))) // 16
        if growth > MAX_GROWTH:
            raise TextError(f"{where}: its replacements can make a text more than {MAX_GROWTH} times longer.")
        _screen_template(part, bound, where)


def _screen_template(part: dict[str, Any], bound: int, where: str) -> None:
    numbers: list[Any] = []
    for name in ("sep", "cls"):
        pair = part.get(name)
        if isinstance(pair, list) and len(pair) == 2:
            numbers.append(pair[1])
    specials = part.get("special_tokens")
    if isinstance(specials, dict):
        if len(specials) > MAX_COMPONENTS:
            raise TextError(f"{where}: a template with {len(specials)} special tokens.")
        for special in specials.values():
            listed = special.get("ids") if isinstance(special, dict) else None
            numbers += listed[: MAX_COMPONENTS + 1] if isinstance(listed, list) else [None]
    for name in ("single", "pair"):
        steps = part.get(name)
        if isinstance(steps, list) and len(steps) > MAX_COMPONENTS:
            raise TextError(f"{where}: a template of {len(steps)} steps.")
    if len(numbers) > MAX_COMPONENTS:
        raise TextError(f"{where}: a template with more than {MAX_COMPONENTS} special ids.")
    for number in numbers:
        if not _is_int(number) or not 0 <= number < bound:
            raise TextError(f"{where}: a template inserts the id {str(number)[:40]}, outside the vocabulary.")
