"""What the estimators share that fine-tune a model: the recipe their settings mean, and the folder they are kept in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, Self

from moduformer.atomic import write_text
from moduformer.errors import CheckpointError, DataError, ModuformerError
from moduformer.loading import usable_device
from moduformer.model import Model
from moduformer.tasks.estimator import Estimator
from moduformer.train.callbacks import History
from moduformer.train.recipes import Recipe, recipe
from moduformer.train.scratch import Size
from moduformer.weights.strict_json import parse_object

LARGEST_FILE = 64 << 20
"""Bytes that a file of settings may have; a classifier's names every class."""


@dataclass(frozen=True)
class Number:
    """What a parameter may be beside None: a number from `least` on and below `limit`."""

    least: float = 0
    limit: float = math.inf
    whole: bool = False

    def check(self, name: str, value: Any) -> None:
        """Raises `DataError` naming the parameter."""
        kind = Integral if self.whole else Real
        right = isinstance(value, kind) and not isinstance(value, bool) and self.least <= float(value) < self.limit
        if value is not None and not right:
            below = "" if self.limit == math.inf else f" and below {self.limit:g}"
            raise DataError(
                f"{name} is {value!r:.40}; it must be a {'whole ' if self.whole else ''}number of at least "
                f"{self.least:g}{below}"
            )


COUNT = Number(1, whole=True)
TRAINING_NUMBERS = {
    "epochs": COUNT,
    "batch_size": COUNT,
    "patience": COUNT,
    "learning_rate": Number(),
    "dropout": Number(limit=1),
    "random_state": Number(whole=True),
}
"""The numbers that every estimator takes."""

WINDOW_NUMBERS = {"max_length": Number(4, whole=True), "stride": Number(whole=True)}
"""Those of estimators that read long texts in windows: tokens of one, and tokens that two neighbours share."""


class FineTuned(Estimator):
    """An estimator around a model. A class of them says what stands beside its checkpoint, and which numbers it takes.

    After `fit` or `load` there are `model_`, `history_` (None unless trained here), `adapter_` and `report_`.
    """

    settings_file: ClassVar[str]
    """The name of the file beside the checkpoint."""
    task_name: ClassVar[str]
    """The task that the file names."""
    numbers: ClassVar[Mapping[str, Number]] = TRAINING_NUMBERS

    model: Any
    recipe: str
    random_state: int
    device: str | None

    model_: Model
    adapter_: Any
    history_: History | None
    recipe_: Recipe | None
    report_: dict[str, Any]

    def resolved_recipe(self) -> Recipe:
        """The recipe with this estimator's own settings in place of its defaults. Raises `TrainingError`."""
        return recipe(self.recipe, seed=int(self.random_state or 0), **self._overrides())

    def _overrides(self) -> dict[str, Any]:
        own = ("epochs", "learning_rate", "batch_size", "precision", "dropout", "recompute")
        adapt = {"adapt": 1} if getattr(self, "adapt", False) else {}
        return adapt | {name: getattr(self, name) for name in own if getattr(self, name) is not None}

    def check_parameters(self) -> None:
        """Raises `DataError` for a parameter that cannot be used."""
        usable_device(self.device)
        for name, number in self.numbers.items():
            number.check(name, getattr(self, name))
        if not isinstance(adapt := getattr(self, "adapt", False), bool):
            raise DataError(f"adapt is {adapt!r:.40}; it must be True or False")
        longest, shared = getattr(self, "max_length", None), getattr(self, "stride", None)
        if longest is not None and shared is not None and shared >= longest:
            raise DataError(f"stride is {shared}, so that windows of {longest} tokens would never move on")
        self._size()

    def _size(self) -> Size | None:
        """The parameter `size` of estimators that train from scratch."""
        size = getattr(self, "size", None)
        if size is None or isinstance(size, Size):
            return size
        try:
            return Size(**size)
        except TypeError:
            raise DataError(
                f"size is {size!r:.80}; its fields are layers, d_model, d_ff, heads, dropout and vocab"
            ) from None

    def _trained(self, trained: Any) -> None:
        """Takes over the details of a run: adapters are merged."""
        if trained.lora is not None:
            trained.lora.merge()
        self.adapter_, self.history_, self.recipe_ = trained.lora, trained.history, trained.recipe

    # Files ---------------------------------------------------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def save(self, folder: str | Path) -> Path:
        """Writes a checkpoint, in Hugging Face layout where there is one, and the settings beside it.

        Returns the folder.

        Raises `ModuformerError` if it cannot be written.
        """
        self.check_fitted()
        folder = Path(folder)
        stored = {"version": 1, "task": self.task_name, **self._learned(), "parameters": self._stored_parameters()}
        try:
            self.model_.save(folder)
            write_text(folder / self.settings_file, json.dumps(stored, indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            raise ModuformerError(f"{folder} cannot be written: {error.strerror or error}") from None
        return folder

    def _learned(self) -> dict[str, Any]:
        """What the file of settings says beside the parameters."""
        return {}

    def _stored_parameters(self) -> dict[str, Any]:
        """The parameters as JSON can hold them."""
        stored = self.get_params(deep=False) | {"model": str(self.model)}
        size = self._size()
        return stored if size is None else stored | {"size": vars(size)}

    @classmethod
    def _from_settings(cls, folder: str | Path, device: str | None, **parameters: Any) -> tuple[Self, dict[str, Any]]:
        """An estimator with the parameters of a folder's settings, where it has any, and what else they say.

        Raises `CheckpointError` for settings that are damaged, `DataError` for `parameters` that cannot be used.
        """
        path = Path(folder) / cls.settings_file
        stored = read_settings(path) if path.is_file() else {}
        known = set(cls.parameter_names())
        kept = {name: value for name, value in stored.get("parameters", {}).items() if name in known}
        try:
            made = cls(**{**cls._restored(kept), **parameters, "device": device})
            made.check_parameters()
        except (DataError, TypeError, ValueError) as error:
            if not stored:
                raise
            raise CheckpointError(f"{path}: {error}; fetch or train the folder anew") from None
        made.history_, made.adapter_, made.recipe_, made.report_ = None, None, None, {}
        return made, stored

    @classmethod
    def _restored(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters that `_stored_parameters` wrote."""
        return parameters


def read_settings(path: Path) -> dict[str, Any]:
    """What an estimator wrote beside its checkpoint. Raises `CheckpointError` for a file that is damaged."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise CheckpointError(f"{path} is larger than any estimator's settings")
        data = parse_object(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    if not isinstance(data.get("parameters", {}), dict):
        raise CheckpointError(f"{path}: the parameters are no object; fetch or train the folder anew")
    if data.get("version") != 1:
        raise CheckpointError(f"{path} is of version {data.get('version')!r}; this program reads version 1")
    return data
