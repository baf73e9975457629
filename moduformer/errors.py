"""The errors a user meets. Each message says what is wrong, where (file, row or tensor), and what to do next."""


class ModuformerError(Exception):
    """Base of every error this library raises on purpose; the command line prints its message and exits non-zero."""


class SpecError(ModuformerError, ValueError):
    """An architecture that cannot be built: a size is impossible or two parts contradict each other."""


class CheckpointError(ModuformerError):
    """A checkpoint file that is damaged, hostile, incomplete or does not fit its configuration."""


class SourceError(ModuformerError):
    """A model or data set that cannot be found, fetched or verified."""


class TextError(ModuformerError, ValueError):
    """A tokenizer or chat template that cannot be used, or text that cannot be encoded."""


class TraceError(ModuformerError, KeyError):
    """A name that is not part of a traced forward pass."""

    # KeyError would print the message in quotes.
    __str__ = Exception.__str__


class DataError(ModuformerError, ValueError):
    """Training or evaluation data that cannot be used as it is; names the file and the row."""


class TrainingError(ModuformerError):
    """Training that cannot start, go on or be resumed."""


class PipelineError(ModuformerError, ValueError):
    """A pipeline that does not exist, or that was asked for what it or its model cannot do."""


class CatalogError(ModuformerError, KeyError):
    """A name that no row of the model table has."""

    # KeyError would print the message in quotes.
    __str__ = Exception.__str__


class HostedError(ModuformerError):
    """A model behind an interface cannot be asked, or its answer cannot be read."""
