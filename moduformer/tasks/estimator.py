"""The conventions of scikit-learn's estimators, without importing scikit-learn: it would double the time to start.

scikit-learn asks for methods, not for a base class: `clone`, `GridSearchCV` and `Pipeline` work on any object with
`get_params`, `set_params`, `fit` and `__sklearn_tags__`.
"""

from __future__ import annotations

import inspect
from typing import Any, Self

from moduformer.errors import DataError


class Estimator:
    """An estimator whose parameters are the arguments of its `__init__`, and whose learned state ends in `_`."""

    @classmethod
    def parameter_names(cls) -> list[str]:
        """The names of the parameters, in the order of `__init__`."""
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name; `deep` changes nothing, since no parameter is an estimator."""
        return {name: getattr(self, name) for name in self.parameter_names()}

    def set_params(self, **parameters: Any) -> Self:
        """Changes parameters. Raises `DataError` for a name that is none."""
        known = self.parameter_names()
        for name, value in parameters.items():
            if name not in known:
                raise DataError(f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(known)}")
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=True),
            input_tags=InputTags(two_d_array=False, string=True),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classes_")

    def check_fitted(self) -> None:
        """Raises scikit-learn's `NotFittedError` before `fit`."""
        if not self.__sklearn_is_fitted__():
            from sklearn.exceptions import NotFittedError

            raise NotFittedError(f"this {type(self).__name__} has not learned anything yet; call fit, or load one")

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        changed = [
            f"{name}={value!r}" for name, value in self.get_params().items() if value is not defaults[name].default
        ]
        return f"{type(self).__name__}({', '.join(changed)})"


class Classifier(Estimator):
    """An estimator of classes."""

    _estimator_type = "classifier"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True, multi_output=True),
            classifier_tags=ClassifierTags(multi_label=True),
            input_tags=InputTags(two_d_array=False, string=True),
        )
