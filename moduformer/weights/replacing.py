"""Replacing several files so that a crash or a full disk leaves the old ones or the new ones, never a mixture.

Every file is written under a hidden name and forced to the disk before it takes its own name; a second name keeps what
was there until the last step has succeeded, so that every step can be taken back.
"""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from moduformer.atomic import sync_folder
from moduformer.errors import CheckpointError

# Begins the name of every file that is not yet, or no longer, in use.
HIDDEN = ".moduformer-"


class Replacement:
    """Steps in one folder which `replacing` takes back, last one first, unless all succeed."""

    def __init__(self, folder: Path, undo: ExitStack) -> None:
        self.folder = folder
        self._undo = undo

    def write(self, chunks: Iterable[memoryview]) -> Path:
        """Write a file that no reader looks for, and return its path once it would survive a power cut."""
        path = self._hidden()
        with open(path, "xb", buffering=0) as file:
            self._undo.callback(path.unlink, missing_ok=True)
            for chunk in chunks:
                while chunk:
                    chunk = chunk[os.write(file.fileno(), chunk) :]
            os.fsync(file.fileno())
        return path

    def put(self, written: Path, target: Path) -> None:
        """Give a written file its name, in place of whatever has that name."""
        backup = self._hidden()
        try:
            os.link(target, backup, follow_symlinks=False)
            self._undo.callback(_restore, backup, target)
        except FileNotFoundError:
            self._undo.callback(target.unlink, missing_ok=True)
        except OSError:
            # A file system without hard links: the rename is still all or nothing, but cannot be taken back.
            pass
        os.replace(written, target)

    def remove(self, target: Path) -> None:
        """Take a file out of use."""
        backup = self._hidden()
        os.replace(target, backup)
        self._undo.callback(os.replace, backup, target)

    def sync(self) -> None:
        """Force the renames so far to the disk, before any later one can get there."""
        sync_folder(self.folder)

    def _hidden(self) -> Path:
        return self.folder / f"{HIDDEN}{secrets.token_hex(8)}"


@contextmanager
def replacing(folder: Path, nbytes: int) -> Iterator[Replacement]:
    """Replace files in a folder: all of them, or on any error none.

    Two programs must not do this in one folder at the same time, since each clears away what looks abandoned.

    Args:
        folder: made if it is absent.
        nbytes: what will be written; the disk must have as much free.

    Raises:
        CheckpointError: the disk is too small (the message states the bytes needed), or a step failed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_quietly(folder.glob(f"{HIDDEN}*"))
        free = shutil.disk_usage(folder).free
        if free < nbytes:
            raise CheckpointError(
                f"saving to {folder} needs {nbytes} bytes and {free} are free. Free some space or use another disk."
            )
        with ExitStack() as undo:
            replacement = Replacement(folder, undo)
            yield replacement
            replacement.sync()
            undo.pop_all()
    except OSError as error:
        raise CheckpointError(
            f"saving {nbytes} bytes to {folder} failed: {error.strerror or error}. What was there before is unchanged; "
            "check the disk's space, permissions and health, then save again."
        ) from error
    remove_quietly(folder.glob(f"{HIDDEN}*"))


def remove_quietly(paths: Iterable[Path]) -> None:
    """Delete files that nothing refers to any more; one that stays is only garbage, so failing is no error."""
    for path in paths:
        with suppress(OSError):
            path.unlink()


def _restore(backup: Path, target: Path) -> None:
    os.replace(backup, target)
    # Renaming a file onto its own second name does nothing, so the second name may still be there.
    backup.unlink(missing_ok=True)
