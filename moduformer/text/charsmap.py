"""Check the compiled normalisation rules of SentencePiece before the tokenizer library walks them.

They are a trie in one array of 32-bit units (darts-clone, github.com/s-yata/darts-clone) that maps byte strings to
offsets into a block of replacement strings; a damaged one makes the library read outside the array and panic.
"""

import struct

import numpy as np

from ..errors import TextError


def screen_charsmap(charsmap: bytes, where: str) -> None:
    """Check compiled normalisation rules: a double-array trie, then replacement strings that end with NUL.

    Args:
        charsmap: the bytes of `precompiled_charsmap`.
        where: the file, for messages.

    Raises:
        TextError: some text would lead outside the trie or the replacements.
    """
    if not charsmap:
        return
    if len(charsmap) < 4:
        raise TextError(f"{where}: its normalisation rules are cut off.")
    size = struct.unpack_from("<I", charsmap)[0]
    if size % 4 or size > len(charsmap) - 4:
        raise TextError(f"{where}: its normalisation rules name a trie of {size} bytes, which the file does not hold.")
    replacements = charsmap[4 + size :]
    try:
        replacements.decode("utf-8")
    except UnicodeDecodeError:
        raise TextError(f"{where}: the replacements of its normalisation rules are not UTF-8 text.") from None
    if size == 0:
        raise TextError(f"{where}: its normalisation rules have an empty trie.")
    _screen_trie(np.frombuffer(charsmap, dtype="<u4", offset=4, count=size // 4), replacements, where)


def _screen_trie(units: np.ndarray, replacements: bytes, where: str) -> None:
    # Darts-clone units (github.com/s-yata/darts-clone): bits 0-7 the label, bit 8 "a value follows", bit 9 scales the
    # offset in bits 10-30 by 256, bit 31 marks a value. A text walks node -> node ^ byte -> that ^ its offset, so every
    # node some text can reach must have its whole block of 256 inside the array, and every value must be the start of
    # a replacement.
    size = len(units)
    starts = np.zeros(len(replacements) + 1, dtype=bool)
    starts[0] = True
    starts[np.flatnonzero(np.frombuffer(replacements, dtype=np.uint8) == 0) + 1] = True
    visited = np.zeros(size, dtype=bool)
    labels = np.arange(1, 256, dtype=np.int64)
    frontier = _offsets(units[:1].astype(np.int64))
    while len(frontier):
        if int((frontier | 0xFF).max()) >= size:
            raise TextError(f"{where}: a normalisation rule points outside its trie.")
        visited[frontier] = True
        found = []
        for start in range(0, len(frontier), 1024):
            children = frontier[start : start + 1024, None] ^ labels
            values = units[children].astype(np.int64)
            matches = (values & 0x8000_00FF) == labels
            nodes, edges = children[matches], values[matches]
            below = nodes ^ _offsets(edges)
            leaves = below[(edges >> 8 & 1) == 1]
            if len(leaves):
                if int(leaves.max()) >= size:
                    raise TextError(f"{where}: a normalisation rule points outside its trie.")
                targets = units[leaves].astype(np.int64) & 0x7FFF_FFFF
                if int(targets.max()) >= len(starts) or not bool(starts[targets].all()):
                    raise TextError(f"{where}: a normalisation rule points outside its replacements.")
            found.append(below)
        reached = np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
        if len(reached) and int(reached.max() | 0xFF) >= size:
            raise TextError(f"{where}: a normalisation rule points outside its trie.")
        frontier = reached[~visited[reached]]


def _offsets(units: np.ndarray) -> np.ndarray:
    return (units >> 10) << ((units & 1 << 9) >> 6)
