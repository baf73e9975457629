"""Writing a text file so that a reader sees the old one or the new one, never half of it."""

import contextlib
import os
import tempfile
from pathlib import Path

from moduformer.errors import DataError


def write_text_atomically(path: str | Path, text: str) -> Path:
    """Write UTF-8 text beside its place, flush it to disk, then move it there.

    Args:
        path: the file to make or replace; missing folders are made.
        text: what it shall hold; a lone surrogate, which UTF-8 cannot hold, becomes U+FFFD.

    Returns:
        The path written.

    Raises:
        DataError: the place cannot be written to; an older file there is untouched.
    """
    path = Path(path)
    content = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; a report is for whoever may read the folder.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise DataError(f"{path}: cannot be written ({error.strerror}); choose another folder with --out.") from None
    return path
