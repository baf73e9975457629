"""A frozen encoder's mean features and a linear classifier on top: the fastest recipe, in one pass over the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moduformer.errors import TrainingError
from moduformer.model import Model
from moduformer.train.encoded import Encoded
from moduformer.train.evaluation import mean_features

STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""Inverse regularisation strengths C that cross-validation chooses from."""
AFTER_CONTRAST = (10.0,)
"""The strength for features that were trained with the same labels: they separate every row, in each fold of a
cross-validation too, which has nothing left to choose by."""


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A fitted classifier on mean features: logits = features @ weight.T + bias.

    `weight` is float32 `[classes, dim]`, `bias` `[classes]`; `strength` is the chosen C, `accuracy` its cross-validated
    accuracy (None where there were too few rows to cross-validate).
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float
    accuracy: float | None

    def logits(self, features: np.ndarray) -> np.ndarray:
        """`[rows, dim]` to `[rows, classes]`."""
        result: np.ndarray = features @ self.weight.T + self.bias
        return result


def fit_features(
    model: Model,
    examples: Encoded,
    labels: Sequence[int] | np.ndarray,
    classes: int,
    class_weights: Sequence[float] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    folds: int = 3,
    seed: int = 0,
) -> LinearHead:
    """Fits a logistic regression on the frozen model's mean features, its C chosen by stratified cross-validation.

    Args:
        model: in evaluation mode; it is not changed.
        examples: token ids; `labels` are class numbers `[rows]` below `classes`.
        class_weights: a weight for each class, as in `Classification`.
        strengths: values of C to choose from; folds: of the cross-validation.

    Raises:
        TrainingError: fewer than two classes occur.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.preprocessing import StandardScaler

    wanted = np.asarray(labels)
    present, counts = np.unique(wanted, return_counts=True)
    if len(present) < 2:
        raise TrainingError("a classifier needs rows of at least two classes")
    features = mean_features(model, examples)
    scaler = StandardScaler().fit(features)
    scaled = scaler.transform(features)
    weighting: dict[str, Any] = {}
    if class_weights is not None:
        weighting["class_weight"] = {int(c): float(class_weights[c]) for c in present}

    def classifier(strength: float) -> LogisticRegression:
        # Standardised features of unit variance: C per dimension as in the usual regularised regression.
        return LogisticRegression(C=strength / features.shape[1], max_iter=1000, **weighting)

    folds = min(folds, int(counts.min()))
    strength, accuracy = strengths[len(strengths) // 2], None
    if folds >= 2 and len(strengths) > 1:
        cut = StratifiedKFold(folds, shuffle=True, random_state=seed)
        scores = [
            float(cross_val_score(classifier(c), scaled, wanted, cv=cut, params=_fit_weights(examples)).mean())
            for c in strengths
        ]
        accuracy = max(scores)
        strength = strengths[scores.index(accuracy)]
    fitted = classifier(strength).fit(scaled, wanted, sample_weight=examples.weights)
    weight, bias = fitted.coef_, fitted.intercept_
    if len(present) == 2:
        # One row of coefficients decides between two classes; as logits of both, each gets half with opposite sign.
        weight, bias = np.concatenate((-weight, weight)) / 2, np.concatenate((-bias, bias)) / 2
    weight = weight / scaler.scale_
    bias = bias - weight @ scaler.mean_
    full_weight = np.zeros((classes, features.shape[1]), dtype=np.float32)
    # A class that no row has gets a logit that no other one falls below.
    full_bias = np.full(classes, float(bias.min()) - 30.0, dtype=np.float32)
    full_weight[present], full_bias[present] = weight, bias
    return LinearHead(full_weight, full_bias, float(strength), accuracy)


def _fit_weights(examples: Encoded) -> dict[str, Any] | None:
    return None if examples.weights is None else {"sample_weight": examples.weights}
