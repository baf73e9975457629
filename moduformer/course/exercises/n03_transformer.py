"""Exercises of `03_Transformer`."""

from __future__ import annotations

import math
from typing import Any

from moduformer.course.checking import Wrong, close, exercise, number, numbers
from moduformer.course.words import Words


def _softmax(scores: list[float]) -> list[float]:
    highest = max(scores)
    raised = [math.exp(score - highest) for score in scores]
    return [each / sum(raised) for each in raised]


@exercise("03-scores")
def scores(answer: Any) -> Words | None:
    """Scores whose weights are 1/2, 1/4, 1/4."""
    found = numbers(answer, 3)
    if not all(math.isfinite(each) for each in found):
        raise Wrong(
            "점수는 유한한 수여야 합니다. 무한대에서는 가중치를 정할 수 없습니다.",
            "Scores are finite numbers; infinite ones leave the weights undefined.",
        )
    weights = _softmax(found)
    if close(found, [0.5, 0.25, 0.25]):
        raise Wrong(
            "이것은 가중치입니다. 소프트맥스를 씌우면 이 가중치가 되는 점수가 필요합니다.",
            "These are the weights. Wanted are scores that the softmax turns into them.",
        )
    if not close(weights, [0.5, 0.25, 0.25], 2e-3):
        said = ", ".join(f"{weight:.3f}" for weight in weights)
        raise Wrong(
            f"이 점수의 가중치는 {said}입니다. exp의 비가 2 : 1 : 1이 되어야 합니다.",
            f"The weights of these scores are {said}. Their exps must be as 2 : 1 : 1.",
        )
    return Words(
        "모든 점수에 같은 수를 더해도 가중치는 그대로입니다. 중요한 것은 차이(log 2)뿐입니다.",
        "The same number added to all scores changes nothing: only the difference, log 2, matters.",
    )


@exercise("03-scaling")
def scaling(answer: Any) -> Words | None:
    """The standard deviation of q.k in 256 dimensions, before and after scaling."""
    found = numbers(answer, 2)
    if math.isclose(found[0], 256, rel_tol=0.05):
        raise Wrong(
            "256은 분산입니다. 표준편차는 그 제곱근입니다.",
            "256 is the variance; the standard deviation is its square root.",
        )
    if not (math.isclose(found[0], 16, rel_tol=0.05) and math.isclose(found[1], 1, rel_tol=0.05)):
        raise Wrong(
            "분산 1인 곱 256개의 합은 분산이 256입니다. 표준편차를 구하고, 그것을 √256으로 나누어 보십시오.",
            "The sum of 256 products of variance 1 has variance 256. Take its root, then divide that by √256.",
        )
    return None


@exercise("03-layer")
def layer(answer: Any) -> Words | None:
    """The parameters of an encoder layer of 512 dimensions and a width of 2,048."""
    found = number(answer)
    attention, feed_forward, norms = 4 * (512 * 512 + 512), 2 * 512 * 2048 + 2048 + 512, 4 * 512
    if found == attention + feed_forward + norms:
        return Words(
            "피드 포워드가 그 가운데 3분의 2입니다.",
            "Two thirds of them are the feed-forward layer's.",
        )
    for missing, ko, en in (
        (norms, "층 정규화 두 개가 빠졌습니다.", "The two layer norms are missing."),
        (attention // 4, "출력 행렬까지 어텐션의 행렬은 넷입니다.", "Attention has four matrices, with the one back."),
        (4 * 512 + 2048 + 512, "편향이 빠졌습니다.", "The biases are missing."),
    ):
        if found == attention + feed_forward + norms - missing:
            raise Wrong(ko, en)
    raise Wrong(
        "어텐션은 512×512 행렬 넷, 피드 포워드는 512×2048과 2048×512입니다. 편향과 정규화도 세십시오.",
        "Attention: four matrices of 512×512. Feed-forward: 512×2048 and 2048×512. Count biases and norms, too.",
    )


@exercise("03-norm")
def norm(answer: Any) -> Words | None:
    """[1, 2, 3, 6] after layer norm."""
    found = numbers(answer, 4)
    vector = [1.0, 2.0, 3.0, 6.0]
    centred = [each - 3.0 for each in vector]
    if close(found, [each / math.sqrt(3.5) for each in centred], 2e-3):
        return None
    if close(found, [each / math.sqrt(14 / 3) for each in centred], 2e-3):
        raise Wrong(
            "거의 맞았습니다. 분산은 3이 아니라 4로 나눕니다(unbiased=False).",
            "Almost: the variance divides by 4, not by 3 (unbiased=False).",
        )
    if not math.isclose(sum(found), 0.0, abs_tol=1e-2):
        raise Wrong(
            "결과의 평균은 0이어야 합니다. 먼저 평균 3을 빼십시오.",
            "The mean of the result is 0. Subtract the mean, 3, first.",
        )
    raise Wrong(
        "평균은 0입니다. 이제 분산(편차 제곱의 평균)의 제곱근으로 나누십시오.",
        "The mean is 0. Now divide by the root of the variance, the mean of the squared differences.",
    )


@exercise("03-alibi")
def alibi(answer: Any) -> Words | None:
    """Weights of a head of slope 1/2 over three keys with equal q.k, the last one its own place."""
    found = numbers(answer, 3)
    right = _softmax([-1.0, -0.5, 0.0])
    if close(found, right, 2e-3):
        return Words(
            "가까울수록 크고, 거리가 1 늘 때마다 √e로 나누어집니다.",
            "The nearer the more: each step divides by √e.",
        )
    if close(found, right[::-1], 2e-3):
        raise Wrong(
            "순서가 거꾸로입니다. 마지막 키가 자기 자신입니다.", "The order is reversed: the last key is its own place."
        )
    raise Wrong(
        "점수에 -1/2 × 거리(2, 1, 0)를 더한 다음 소프트맥스를 씌우십시오.",
        "Add -1/2 times the distance (2, 1, 0) to the scores, then take the softmax.",
    )


@exercise("03-mask")
def mask(answer: Any) -> Words | None:
    """How many pairs a causal mask lets 100 tokens see."""
    found = number(answer)
    if found == 5050:
        return Words("모든 쌍 10,000개의 절반 남짓입니다.", "A little more than half of all 10,000 pairs.")
    if found == 4950:
        raise Wrong("자기 자신도 볼 수 있습니다.", "A token sees its own place, too.")
    raise Wrong(
        "첫 토큰은 1곳, 둘째는 2곳, ... 백째는 100곳을 봅니다. 모두 더하십시오.",
        "The first token sees 1 place, the second 2, ... the hundredth 100. Add them up.",
    )


@exercise("03-beam")
def beam(answer: Any) -> Words | None:
    """The probability of what greedy search writes, and of the likeliest text."""
    found = numbers(answer, 2)
    if close(found, [0.3, 0.4]):
        return None
    if close(found, [0.6, 0.4]):
        raise Wrong(
            "0.6은 첫 단어의 확률입니다. 문장의 확률은 단어 확률의 곱입니다.",
            "0.6 is the probability of the first word. That of a text is the product over its words.",
        )
    raise Wrong(
        "그리디는 확률이 가장 큰 첫 단어를 고르고 이어 갑니다. 세 문장의 확률을 모두 곱해 보십시오.",
        "Greedy takes the likelier first word and goes on from there. Multiply the probabilities of all three texts.",
    )


@exercise("03-f1")
def f1(answer: Any) -> Words | None:
    """SQuAD's exact match and F1, in percent, of "red king" for "the old red king"."""
    found = numbers(answer, 2)
    if close(found, [0.0, 80.0]):
        return Words(
            "관사는 세지 않으므로 맞는 답의 단어는 셋입니다.",
            "Articles do not count, so the right answer has three words.",
        )
    if close(found, [0.0, 0.8]):
        raise Wrong("백분율로 답하십시오.", "Give percents.")
    if close(found, [0.0, 200 / 3], 1e-2):
        raise Wrong("정규화하면 the가 사라집니다.", "The normalised answer has no `the`.")
    raise Wrong(
        "the를 뺀 뒤 공통 단어는 2개입니다. 정밀도 2/2와 재현율 2/3의 조화 평균을 구하십시오.",
        "Without `the` two words are shared. Take the harmonic mean of precision 2/2 and recall 2/3.",
    )
