"""Writing a page so that a reader sees the old one or the new one, never half of it."""

from pathlib import Path

from moduformer.atomic import write_bytes
from moduformer.errors import DataError


def write_text_atomically(path: str | Path, text: str) -> Path:
    """Write UTF-8 text in place of whatever the file held.

    Args:
        path: the file to make or replace; missing folders are made.
        text: what it shall hold; a lone surrogate, which UTF-8 cannot hold, becomes U+FFFD.

    Returns:
        The path written.

    Raises:
        DataError: the place cannot be written to; an older file there is untouched.
    """
    content = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
    try:
        return write_bytes(Path(path), content)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}); choose another folder with --out.") from None
