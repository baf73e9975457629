"""Reading a pickle as data: nothing it names is imported, and nothing in it is called.

A pickle is a program for a small stack machine, whose GLOBAL opcode fetches any Python object and whose REDUCE opcode
calls it. Here GLOBAL looks a name up in a table of inert values and REDUCE applies one of the few constructors in this
file, so all that a hostile pickle can do is to describe tensors, and the description is checked later.

Sources: opcodes of protocols 0 to 5 as Python's `pickletools` decodes them; the names in state dicts as
`torch/_utils.py` and `torch/storage.py` write them.
"""

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from moduformer.errors import CheckpointError
from moduformer.weights.safetensors_file import DTYPES
from moduformer.weights.tensor_file import quoted

# These bound what a hostile pickle costs to two seconds and some 64 MiB. A state dict needs about 35 opcodes and 150
# bytes a tensor.
MAX_OPCODES = 600_000
MAX_PICKLE_BYTES = 8_000_000


@dataclass(frozen=True, slots=True)
class StorageType:
    """What a pickle calls `torch.FloatStorage` and the like; without a dtype it counts bytes."""

    dtype: torch.dtype | None

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize if self.dtype else 1


@dataclass(frozen=True, slots=True)
class StorageRef:
    """A run of elements which lies elsewhere in the checkpoint under the name `key`."""

    kind: StorageType
    key: str
    numel: int

    @property
    def nbytes(self) -> int:
        return self.numel * self.kind.itemsize


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A strided view of a storage as the pickle describes it; whether it fits is not yet known."""

    storage: StorageRef
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class Pickle:
    """What a pickle holds.

    Args:
        value: dicts, lists, tuples, text, bytes, numbers, dtypes, `StorageRef` and `TensorRef`. It may contain itself,
            and printing or comparing it can take forever, so walk it only as deep as you know.
        storages: every storage it refers to, by key.
    """

    value: Any
    storages: dict[str, StorageRef]


def read_pickle(stream: BytesIO, path: Path, most: int = MAX_OPCODES) -> Pickle:
    """Read one pickle and leave `stream` behind its end.

    Args:
        stream: at most `MAX_PICKLE_BYTES`, positioned at the pickle's first byte.
        path: the file to name in errors.
        most: opcodes it may have.

    Raises:
        CheckpointError: the pickle names something outside the table, uses an opcode no state dict needs, is malformed,
            or is larger than any state dict.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count == most:
                raise _Refusal(f"holds a pickle of more than {most} opcodes")
            machine.step(opcode.name, argument)
        return Pickle(machine.stack[-1], machine.storages)
    except _Refusal as error:
        raise CheckpointError(
            f"{path} {error}. Only plain state dicts are read; look for the same model in safetensors."
        ) from error
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise CheckpointError(
            f"{path} holds a damaged pickle, or one of more than {MAX_PICKLE_BYTES} bytes. Fetch the file again, "
            "or look for the same model in safetensors."
        ) from error


class _Refusal(Exception):
    """A well-formed request that is not granted; the text completes the sentence '<path> ...'."""


@dataclass(frozen=True, slots=True)
class _Constructor:
    """A name that a pickle may call, and what is done in its stead."""

    apply: Callable[..., Any]


class _Machine:
    """The pickle's stack, its memo, and the stacks that MARK has put aside."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.storages: dict[str, StorageRef] = {}
        self._outer: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        if opcode in _LITERALS:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode]())
        elif opcode in _STEPS:
            _STEPS[opcode](self, argument)
        else:
            raise _Refusal(f"uses the pickle opcode {opcode}, which state dicts do not need")

    def mark(self, _: Any) -> None:
        self._outer.append(self.stack)
        self.stack = []

    def _since_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self._outer.pop()
        return items

    def pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._since_mark()

    def pop_mark(self, _: Any) -> None:
        self._since_mark()

    def dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def put(self, index: int) -> None:
        # Picklers count the memo from 0 up. Indices of any size could be chosen to collide in a dict.
        if not 0 <= index < MAX_OPCODES:
            raise ValueError("memo index")
        self._memo[index] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.put(len(self._memo))

    def get(self, index: int) -> None:
        if index not in self._memo:
            raise ValueError("memo index")
        self.stack.append(self._memo[index])

    def make_tuple(self, _: Any) -> None:
        items = self._since_mark()
        self.stack.append(tuple(items))

    def make_short_tuple(self, count: int) -> None:
        items = [self.stack.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(items)))

    def make_list(self, _: Any) -> None:
        items = self._since_mark()
        self.stack.append(items)

    def append(self, _: Any) -> None:
        item = self.stack.pop()
        self._extend([item])

    def appends(self, _: Any) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise _Refusal(f"appends to a {type(target).__name__} instead of a list")
        target.extend(items)

    def make_dict(self, _: Any) -> None:
        items = self._since_mark()
        self.stack.append({})
        self._update(items)

    def set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def set_items(self, _: Any) -> None:
        self._update(self._since_mark())

    def _update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise _Refusal(f"sets an item of a {type(target).__name__} instead of a dict")
        _insert(target, zip(items[::2], items[1::2], strict=True))

    def find_global(self, name: str) -> None:
        if name not in GLOBALS:
            raise _Refusal(
                f"asks for {quoted(name.replace(' ', '.'))}, which is code or a type that no state dict needs"
            )
        self.stack.append(GLOBALS[name])

    def find_stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a global is named by two strings")
        self.find_global(f"{module} {name}")

    def reduce(self, _: Any) -> None:
        arguments, constructor = self.stack.pop(), self.stack.pop()
        if not isinstance(constructor, _Constructor) or not isinstance(arguments, tuple):
            raise _Refusal(f"calls a {type(constructor).__name__}")
        self.stack.append(constructor.apply(*arguments))

    def build(self, _: Any) -> None:
        # `state_dict()` hangs a `_metadata` attribute on its OrderedDict: module versions, of no use without modules.
        self.stack.pop()
        if not isinstance(self.stack[-1], dict):
            raise _Refusal(f"sets attributes of a {type(self.stack[-1]).__name__}")

    def find_storage(self, _: Any) -> None:
        reference = self.stack.pop()
        if not isinstance(reference, tuple) or reference[0] != "storage":
            raise _Refusal("holds whole modules instead of a state dict")
        _, kind, key, _, numel, *view = reference
        if not isinstance(kind, StorageType) or not isinstance(key, str) or view not in ([], [None]):
            raise _Refusal("refers to a storage in an unknown way")
        storage = StorageRef(kind, key, _whole(numel))
        if self.storages.setdefault(key, storage).nbytes != storage.nbytes:
            raise _Refusal(f"gives the storage {quoted(key)} two sizes")
        self.stack.append(storage)


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError("a size, offset or stride is no whole number")
    return value


def _wholes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple):
        raise ValueError("a shape is no tuple")
    return tuple(map(_whole, values))


def _insert(target: dict[Any, Any], pairs: Iterable[tuple[Any, Any]]) -> None:
    for key, value in pairs:
        # Other keys can be nested or chosen so that hashing them takes forever.
        if not isinstance(key, str) and (type(key) is not int or abs(key) >= 1 << 31):
            raise _Refusal(f"has a {type(key).__name__} that is not a small number as the key of a dict")
        if key in target:
            raise _Refusal(f"gives the key {quoted(str(key))} twice")
        target[key] = value


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    _insert(made, pairs)
    return made


def _tensor(
    storage: Any, offset: Any, shape: Any, stride: Any, _grad: Any = None, _hooks: Any = None, metadata: Any = None
) -> TensorRef:
    return _typed_tensor(storage, offset, shape, stride, _grad, _hooks, None, metadata)


def _typed_tensor(
    storage: Any, offset: Any, shape: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, metadata: Any = None
) -> TensorRef:
    if not isinstance(storage, StorageRef):
        raise ValueError("a tensor without storage")
    dtype = dtype or storage.kind.dtype
    if not isinstance(dtype, torch.dtype):
        raise ValueError("a tensor without dtype")
    if metadata:
        raise _Refusal("holds a tensor with a pending conjugation or negation")
    return TensorRef(storage, dtype, _whole(offset), _wholes(shape), _wholes(stride))


def _parameter(data: Any, _grad: Any, _hooks: Any, _state: Any = None) -> TensorRef:
    if not isinstance(data, TensorRef):
        raise ValueError("a parameter without a tensor")
    return data


_STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "ComplexDouble": torch.complex128,
    "ComplexFloat": torch.complex64,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}
_DTYPES = {*DTYPES.values(), *_STORAGES.values()}

# Every name a pickle may mention, as GLOBAL writes it: module, space, name.
GLOBALS: dict[str, Any] = {
    "collections OrderedDict": _Constructor(_ordered_dict),
    "torch Size": _Constructor(_wholes),
    "torch device": _Constructor(lambda *_: None),
    "torch._utils _rebuild_tensor": _Constructor(_tensor),
    "torch._utils _rebuild_tensor_v2": _Constructor(_tensor),
    "torch._utils _rebuild_tensor_v3": _Constructor(_typed_tensor),
    "torch._utils _rebuild_parameter": _Constructor(_parameter),
    "torch._utils _rebuild_parameter_with_state": _Constructor(_parameter),
    "torch.storage UntypedStorage": StorageType(None),
    **{f"torch {name}Storage": StorageType(dtype) for name, dtype in _STORAGES.items()},
    **{str(dtype).replace(".", " "): dtype for dtype in _DTYPES},
}

_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}


def _nothing(machine: _Machine, _: Any) -> None:
    """PROTO and FRAME help other readers; STOP ends the opcodes by itself."""


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _nothing,
    "FRAME": _nothing,
    "STOP": _nothing,
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.dup,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "TUPLE": _Machine.make_tuple,
    "TUPLE1": lambda machine, _: machine.make_short_tuple(1),
    "TUPLE2": lambda machine, _: machine.make_short_tuple(2),
    "TUPLE3": lambda machine, _: machine.make_short_tuple(3),
    "LIST": _Machine.make_list,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "DICT": _Machine.make_dict,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "GLOBAL": _Machine.find_global,
    "STACK_GLOBAL": _Machine.find_stack_global,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.find_storage,
}
