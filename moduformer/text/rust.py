"""One place where a failure inside the compiled tokenizer library becomes a `TextError`."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import TextError


@contextmanager
def tokenizer_errors(doing: str) -> Iterator[None]:
    """Turn whatever the `tokenizers` extension raises into a `TextError` that begins with `doing`.

    A panic of the extension arrives as `pyo3_runtime.PanicException`, which derives from `BaseException` and would
    pass every `except Exception` between here and the user.
    """
    try:
        yield
    except (TextError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        message = " ".join(str(error).split())[:300] or type(error).__name__
        raise TextError(f"{doing}: {message}") from error
