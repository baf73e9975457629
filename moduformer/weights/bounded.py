"""Reading a file whose every claim about itself may be false: memory is taken only for what fits."""

import os
import stat
import struct
import threading
from pathlib import Path
from typing import Any

from moduformer.errors import CheckpointError

WINDOW = 1 << 18


class BoundedFile:
    """A regular file read by offset, never mapped: if it shrinks while in use that is an error, not a signal.

    Args:
        path: the file.

    Raises:
        CheckpointError: the path is missing, unreadable or not a regular file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # A FIFO or a device would block or never end, so the kind is asked before the file is opened.
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise CheckpointError(f"{path} is not a regular file; give the path of a checkpoint file.")
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
            self.size = os.fstat(self._file.fileno()).st_size
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be opened: {error}. Check the path and its permissions.") from error
        self._lock = threading.Lock()

    def read_into(self, offset: int, target: memoryview) -> None:
        """Fill `target` with the bytes from `offset` on.

        Raises:
            CheckpointError: the file ends before `target` is full, or cannot be read.
        """
        filled = 0
        try:
            with self._lock:
                self._file.seek(offset)
                while filled < len(target):
                    count = self._file.readinto(target[filled:])
                    if not count:
                        raise self.error(f"ends at byte {offset + filled}, {len(target) - filled} bytes too early")
                    filled += count
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.path} cannot be read at byte {offset}: {error}.") from error

    def error(self, what: str) -> CheckpointError:
        """The error for a file that contradicts itself; `what` completes the sentence '<path> ...'."""
        return CheckpointError(
            f"{self.path} {what}. The file is damaged or was not written by a known tool; "
            "fetch it again or convert the model anew."
        )

    def close(self) -> None:
        """Close the file; reading afterwards is a CheckpointError."""
        self._file.close()


class Cursor:
    """A position that moves forward through a `BoundedFile`, with a small window of it in memory.

    Args:
        file: the file.
        end: no byte at or after this offset is read.
        offset: where to start.
    """

    def __init__(self, file: BoundedFile, end: int, offset: int = 0) -> None:
        self.file = file
        self.offset = offset
        self.end = end
        self._window = b""
        self._window_start = 0

    @property
    def remaining(self) -> int:
        """Bytes between the position and the end."""
        return self.end - self.offset

    def require(self, count: int, what: str) -> None:
        """Check that `count` more bytes exist before anything of that size is made.

        Raises:
            CheckpointError: fewer bytes are left; `what` names what was to be read.
        """
        if count < 0 or count > self.remaining:
            raise self.file.error(
                f"is cut short or lies about its size: {what} at byte {self.offset} needs {count} bytes "
                f"and {max(self.remaining, 0)} are left"
            )

    def skip(self, count: int, what: str) -> None:
        """Move `count` bytes forward without reading them."""
        self.require(count, what)
        self.offset += count

    def take(self, count: int, what: str) -> bytes:
        """The next `count` bytes.

        Raises:
            CheckpointError: fewer bytes are left.
        """
        self.require(count, what)
        start = self.offset - self._window_start
        if start < 0 or start + count > len(self._window):
            buffer = bytearray(max(count, min(WINDOW, self.remaining)))
            self.file.read_into(self.offset, memoryview(buffer))
            self._window, self._window_start, start = bytes(buffer), self.offset, 0
        self.offset += count
        return self._window[start : start + count]

    def unpack(self, layout: struct.Struct, what: str) -> tuple[Any, ...]:
        """The next value or values in a fixed little-endian layout."""
        return layout.unpack(self.take(layout.size, what))
