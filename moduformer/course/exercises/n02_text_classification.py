"""Exercises of `02_text_classification`."""

from __future__ import annotations

import math
from typing import Any

from moduformer.course.checking import Wrong, close, exercise, number, numbers
from moduformer.course.words import Words


@exercise("02-weights")
def weights(answer: Any) -> Words | None:
    """Balanced class weights of 600, 300 and 100 rows."""
    found, rows = numbers(answer, 3), (600, 300, 100)
    if found == sorted(found, reverse=True) and len(set(found)) > 1:
        raise Wrong(
            "거꾸로입니다. 행이 적은 클래스의 가중치가 커야 합니다.",
            "The other way round: the class with few rows gets the large weight.",
        )
    if not close(found, [sum(rows) / (len(rows) * count) for count in rows], 2e-3):
        raise Wrong(
            "n은 행 전체의 수, k는 클래스의 수, n_c는 그 클래스의 행 수입니다.",
            "n is the number of all rows, k that of classes, and n_c that of the rows of a class.",
        )
    return Words(
        "가중치에 행 수를 곱하면 세 클래스가 똑같아집니다. 행 전체의 무게는 그대로 1,000입니다.",
        "Times its rows, each weight comes to the same, and all rows together still weigh 1,000.",
    )


@exercise("02-one-hot")
def one_hot(answer: Any) -> Words | None:
    """All numbers, and those not 0, of a one-hot matrix."""
    found = numbers(answer, 2)
    if not close(found[1:], [12]):
        raise Wrong(
            "토큰 하나마다 1이 정확히 하나씩 있습니다. 두 번째 수를 다시 보십시오.",
            "Every token has exactly one 1. Look at the second number again.",
        )
    if not close(found[:1], [12 * 30522], 1e-6):
        raise Wrong(
            "행렬의 줄은 토큰의 수만큼, 칸은 사전의 크기만큼 있습니다.",
            "The matrix has a row for each token and a column for each entry of the vocabulary.",
        )
    return Words(
        "36만 개 중 12개만 0이 아닙니다. 그래서 실제로는 번호만 저장하고 행을 골라냅니다.",
        "Only 12 of 366,264 are not 0, which is why programs keep the numbers alone and pick rows.",
    )


@exercise("02-padding")
def padding(answer: Any) -> Words | None:
    """The share of padding in a batch of 5, 9, 10 and 40 tokens."""
    found, lengths = number(answer), (5, 9, 10, 40)
    places = len(lengths) * max(lengths)
    if close([found], [sum(lengths) / places]):
        raise Wrong(
            "그것은 진짜 토큰의 몫입니다. 나머지를 물었습니다.", "That is the share of tokens; the rest was asked for."
        )
    if not close([found], [1 - sum(lengths) / places], 6e-3):
        raise Wrong(
            "네 줄이 모두 가장 긴 글만큼 길어집니다. 자리는 모두 몇 개이고, 그중 토큰은 몇 개입니까?",
            "All four rows become as long as the longest. How many places are there, and how many of them hold tokens?",
        )
    return Words("긴 글 하나가 나머지 셋을 채우게 만들었습니다.", "One long text made the other three be filled up.")


@exercise("02-macro-f1")
def macro_f1(answer: Any) -> Words | None:
    """The macro F1 of a confusion matrix."""
    found, matrix = number(answer), ((50, 10, 0), (5, 20, 5), (0, 10, 20))
    right = [row[place] for place, row in enumerate(matrix)]
    is_, said = [sum(row) for row in matrix], [sum(column) for column in zip(*matrix)]
    if close([found], [sum(right) / sum(is_)], 2e-3):
        raise Wrong(
            "그것은 정확도입니다. 클래스마다 F1을 구해 평균하십시오.",
            "That is the accuracy. Take the F1 of each class, then their mean.",
        )
    wanted = math.fsum(2 * hit / (a + b) for hit, a, b in zip(right, is_, said)) / len(right)
    if not close([found], [wanted], 2e-3):
        raise Wrong(
            "한 클래스의 F1은 2 · 맞힌 것 / (실제 그 클래스인 것 + 그렇다고 답한 것)입니다. 줄과 칸의 합을 보십시오.",
            "The F1 of a class is 2 · right / (those that are of it + those said to be): sums of a row and a column.",
        )
    return Words(
        "정확도는 0.75입니다. 작은 클래스들이 평균을 끌어내립니다.",
        "The accuracy is 0.75; the small classes pull the mean down.",
    )


@exercise("02-loss")
def loss(answer: Any) -> Words | None:
    """The losses of a probability of 0.02 and of guessing among six."""
    found = numbers(answer, 2)
    if close(found, [-math.log10(0.02), math.log10(6)], 5e-3):
        raise Wrong(
            "밑이 10인 로그입니다. 자연로그로 구하십시오.", "Those are logarithms to base 10; take natural ones."
        )
    if min(found) < 0:
        raise Wrong("손실은 음수가 아닙니다. 부호를 보십시오.", "A loss is never negative; look at the sign.")
    if not close(found, [-math.log(0.02), math.log(6)], 5e-3):
        raise Wrong(
            "손실은 -ln p입니다. 여섯 클래스에 고르게 답하면 정답의 p는 1/6입니다.",
            "The loss is -ln p; guessing evenly among six gives the true class p = 1/6.",
        )
    return Words(
        "자신 있게 틀린 한 행이, 모르겠다고 답한 행보다 두 배 넘게 벌을 받습니다.",
        "A row that is wrong and sure costs more than twice one that owns up to not knowing.",
    )


@exercise("02-parameters")
def parameters(answer: Any) -> Words | None:
    """The parameters of a network of 384, 64 and 6 units."""
    found = number(answer)
    if close([found], [384 * 64 + 64 * 6], 1e-9):
        raise Wrong(
            "편향을 빠뜨렸습니다. 층의 출력마다 하나씩 있습니다.",
            "The biases are missing, one for each output of a layer.",
        )
    if not close([found], [385 * 64 + 65 * 6], 1e-9):
        raise Wrong(
            "층 하나의 파라미터는 (입력 + 1) · 출력입니다. 드롭아웃에는 파라미터가 없습니다.",
            "A layer has (inputs + 1) · outputs parameters; dropout has none.",
        )
    return Words(
        "미세 조정이 움직이는 2,270만 개의 0.1%쯤입니다.", "About 0.1 % of the 22.7 million that fine-tuning moves."
    )
