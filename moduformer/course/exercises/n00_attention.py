"""Exercises of `00_Attention`."""

from __future__ import annotations

import math
from typing import Any

from moduformer.course.checking import Wrong, close, exercise, numbers
from moduformer.course.words import Words


@exercise("00-weights")
def weights(answer: Any) -> Words | None:
    """The attention weights of scores 2, 1, 0, -1."""
    found = numbers(answer, 4)
    if not math.isclose(sum(found), 1.0, abs_tol=1e-2):
        raise Wrong(
            f"가중치의 합은 1이어야 합니다. 지금은 {sum(found):.3f}입니다.",
            f"Weights add up to 1, and these to {sum(found):.3f}.",
        )
    raised = [math.exp(score) for score in (2.0, 1.0, 0.0, -1.0)]
    if not close(found, [each / sum(raised) for each in raised], 2e-3):
        raise Wrong(
            "합은 맞지만 값이 다릅니다. 점수마다 exp를 구하고 그 합으로 나누어 보십시오.",
            "The sum is right, the values are not. Take exp of every score and divide by the sum.",
        )
    return Words(
        "점수가 1 낮아질 때마다 가중치는 e(약 2.72)로 나누어집니다.",
        "Each point less divides the weight by e, about 2.72.",
    )
