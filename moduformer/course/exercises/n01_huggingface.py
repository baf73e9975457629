"""Exercises of `01_huggingface_간단구현`."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

from moduformer.course.checking import Wrong, close, exercise, number, numbers
from moduformer.course.words import Words


@exercise("01-merge")
def merge(answer: Any) -> Words | None:
    """The first merge of BPE in a corpus of three words."""
    if isinstance(answer, list | tuple):
        answer = "".join(str(part) for part in answer)
    if not isinstance(answer, str) or len(answer) != 2:
        raise Wrong('글자 두 개를 "ab"처럼 답하십시오.', 'Answer with two letters, such as "ab".')
    pairs: Counter[str] = Counter()
    for word, times in {"banana": 3, "bandana": 2, "anna": 1}.items():
        for pair in itertools.pairwise(word):
            pairs["".join(pair)] += times
    best, count = pairs.most_common(1)[0]
    if answer != best:
        met = pairs[answer]
        raise Wrong(
            f"{answer!r}은(는) {met}번 나옵니다. 더 자주 나오는 짝이 있습니다. 단어의 횟수를 곱했는지 보십시오.",
            f"{answer!r} appears {met} times, and another pair more often. Did you multiply by the words' counts?",
        )
    return Words(f"모두 {count}번 나옵니다.", f"It appears {count} times.")


@exercise("01-bytes")
def size_of_ids(answer: Any) -> Words | None:
    """GB of a million texts of 250 ids, and padded to 512."""
    found = numbers(answer, 2)
    if close(found, [8 * 0.25, 8 * 0.512], 1e-2):
        raise Wrong("8바이트로 계산했습니다. 4바이트입니다.", "That is with 8 bytes each; here it is 4.")
    if not close(found, [1.0, 2.048], 2e-2):
        raise Wrong("글의 수 × 토큰의 수 × 바이트를 10억으로 나누십시오.", "Texts × tokens × bytes, divided by 10⁹.")
    return Words("절반 넘게 [PAD]를 저장하는 셈입니다.", "More than half of it would be stored padding.")


@exercise("01-training-memory")
def training_memory(answer: Any) -> Words | None:
    """GB of weights, gradients and Adam's two means of 110 million parameters."""
    found = number(answer)
    if close([found], [0.44], 1e-2):
        raise Wrong("그것은 가중치뿐입니다.", "Those are the weights alone.")
    if not close([found], [1.76], 1e-2):
        raise Wrong(
            "float32 하나는 4바이트이고, 파라미터마다 네 개를 들고 있습니다.",
            "A float32 has 4 bytes, and every parameter comes with four of them.",
        )
    return Words(
        "쓰기만 할 때의 네 배입니다. 활성값은 아직 세지도 않았습니다.",
        "Four times what it takes to use the model, with the activations not even counted.",
    )


@exercise("01-attention-cost")
def attention_cost(answer: Any) -> Words | None:
    """How many times the scores of 4,096 tokens are those of 512."""
    found = number(answer)
    if close([found], [8]):
        raise Wrong(
            "길이는 여덟 배입니다. 점수는 쌍마다 하나입니다.", "The length is 8 times; there is a score for each pair."
        )
    if not close([found], [64]):
        raise Wrong("n개의 토큰에는 n²개의 점수가 있습니다.", "Among n tokens there are n² scores.")
    return None


@exercise("01-names")
def names(answer: Any) -> Words | None:
    """The number of names among BIO tags."""
    found = number(answer)
    if close([found], [3]):
        raise Wrong(
            "B-가 나올 때마다 새 이름입니다. 바로 앞이 이름이어도 그렇습니다.",
            "Every B- begins a name, right after another one too.",
        )
    if not close([found], [4]):
        raise Wrong("이름은 B-에서 시작합니다.", "A name begins with B-.")
    return Words(
        "그래서 이어진 두 이름을 나누려면 B-가 필요합니다.", "That is what B- is for: to part two names that touch."
    )


@exercise("01-temperature")
def temperature(answer: Any) -> Words | None:
    """Probabilities of scores 2, 1, 0 at T = 0.5."""
    found, scores = numbers(answer, 3), (2.0, 1.0, 0.0)

    def at(divisor: float) -> list[float]:
        raised = [math.exp(score / divisor) for score in scores]
        return [each / sum(raised) for each in raised]

    if close(found, at(2.0), 5e-3):
        raise Wrong("0.5를 곱했습니다. 나누어야 합니다.", "You multiplied by 0.5; divide.")
    if close(found, at(1.0), 5e-3):
        raise Wrong("그것은 T = 1입니다.", "That is T = 1.")
    if not close(found, at(0.5), 5e-3):
        raise Wrong("점수를 T로 나눈 다음 소프트맥스를 구하십시오.", "Divide the scores by T, then take the softmax.")
    return Words(
        "T = 1이면 첫째가 0.665입니다. 뾰족해졌습니다.", "At T = 1 the first has 0.665; it has become sharper."
    )
