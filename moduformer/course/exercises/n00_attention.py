"""Exercises of `00_Attention`."""

from __future__ import annotations

import math
from typing import Any

from moduformer.course.checking import Wrong, close, exercise, number, numbers
from moduformer.course.toy import ADJECTIVES, NOUNS, VERBS
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


@exercise("00-bits")
def bits(answer: Any) -> Words | None:
    """Bits that tell a sentence of four clauses from all others."""
    phrases = len(NOUNS) * (1 + len(ADJECTIVES))
    clause = phrases * len(VERBS) * phrases
    found = number(answer)
    if close([found], [math.log2(clause)], 0.01):
        raise Wrong("한 절은 맞습니다. 문장에는 절이 넷입니다.", "Right for one clause; the sentence has four.")
    if close([found], [float(clause)], 0.01) or found > 1000:
        raise Wrong(
            "문장의 개수를 세셨군요. n개를 구별하는 데에는 log₂ n 비트가 듭니다.",
            "These are sentences. To tell n of them apart takes log₂ n bits.",
        )
    if not close([found], [4 * math.log2(clause)], 0.01):
        raise Wrong(
            f"명사구의 가짓수부터 세어 보십시오: {len(NOUNS)} × (1 + {len(ADJECTIVES)}).",
            f"Begin with the number of noun phrases: {len(NOUNS)} × (1 + {len(ADJECTIVES)}).",
        )
    return Words(
        "수 128개면 32비트씩 4,096비트이니 자리는 넉넉합니다. 어려운 것은 한 벡터에 겹쳐 쓰고 "
        "순서대로 꺼내는 법을 배우는 일입니다.",
        "128 numbers of 32 bits are 4,096 bits, so there is room enough. What is hard is learning to write all of it "
        "into one vector and to read it out again in order.",
    )


@exercise("00-steps")
def steps(answer: Any) -> Words | None:
    """The longest chains of a GRU and of self-attention, two layers each, over 300 words."""
    recurrent, attending = numbers(answer, 2)
    if attending != 2:
        raise Wrong(
            "어텐션 층은 모든 단어를 한 번에 계산합니다. 기다리는 것은 층과 층 사이뿐입니다.",
            "A layer of attention computes all words at once; only the layers wait for one another.",
        )
    if recurrent == 600:
        raise Wrong(
            "둘째 층은 첫째 층의 첫 단어가 끝나면 바로 시작할 수 있습니다.",
            "The second layer can begin as soon as the first has done its first word.",
        )
    if recurrent != 301:
        raise Wrong(
            "첫째 층의 300단계 뒤에, 마지막 단어의 둘째 층이 하나 더 있습니다.",
            "After the 300 steps of the first layer there is the second layer of the last word.",
        )
    return Words(
        "문장이 길어지면 하나는 늘고 하나는 그대로입니다.", "With longer sentences one grows, the other does not."
    )


@exercise("00-context")
def context(answer: Any) -> Words | None:
    """The context vector of the query [0.5, 2.0] over four states."""
    states, query = ((0.1, 0.0), (1.0, 0.2), (0.3, 1.0), (0.9, 0.8)), (0.5, 2.0)
    found = numbers(answer, 2)
    raised = [math.exp(sum(q * h for q, h in zip(query, state))) for state in states]
    share = [each / sum(raised) for each in raised]
    if not close(found, [sum(w * state[i] for w, state in zip(share, states)) for i in range(2)], 2e-3):
        raise Wrong(
            "점수, 소프트맥스, 가중 평균의 순서로 위의 칸을 그대로 되풀이해 보십시오.",
            "Repeat the cell above: scores, softmax, weighted mean.",
        )
    return Words(
        "이번에는 둘째 수가 큰 drinks와 milk 쪽으로 옮겨 갔습니다.", "Now it has moved towards drinks and milk."
    )


@exercise("00-alignment")
def alignment(answer: Any) -> Words | None:
    """A function from weights to the place that each row looks at most."""
    import torch

    if not callable(answer) or isinstance(answer, type):
        raise Wrong(
            "함수가 필요합니다. 괄호 없이 함수의 이름을 넘기십시오.",
            "A function is wanted: give its name, without brackets.",
        )
    generator = torch.Generator().manual_seed(0)
    for rows, columns in ((4, 4), (3, 7), (9, 5)):
        weights = torch.randn(rows, columns, generator=generator).softmax(1)
        found = [int(each) for each in numbers(answer(weights), None)]
        if found == weights.argmax(0).tolist() and rows != columns:
            raise Wrong("열마다가 아니라 행마다 찾아야 합니다.", "Look along every row, not along every column.")
        if found != weights.argmax(1).tolist():
            raise Wrong(
                f"{rows}×{columns} 행렬에서 결과가 다릅니다. 행마다 가장 큰 열의 번호입니다.",
                f"For a {rows}×{columns} matrix the result differs: it is the number of each row's largest column.",
            )
    return None


@exercise("00-freezing")
def freezing(answer: Any) -> Words | None:
    """Shares of the top group's rate in the third epoch, from the bottom."""
    from moduformer.train.groups import RATE_DECAY, GradualUnfreezing

    names = ["embedding", "decoder.0", "decoder.1", "decoder.2", "head"]
    trained = GradualUnfreezing().trained(names, 2)
    wanted = [RATE_DECAY ** -(4 - i) if name in trained else 0.0 for i, name in enumerate(names)]
    found = numbers(answer, 5)
    if close(found, wanted[::-1], 1e-2):
        raise Wrong(
            "값은 맞지만 순서가 거꾸로입니다. 입력 쪽에서부터 적으십시오.",
            "These are right, from the head down; begin at the input.",
        )
    if sum(each == 0 for each in found) != 2:
        raise Wrong(
            "셋째 에폭에는 위의 세 묶음이 학습하고 나머지는 얼어 있습니다.",
            "In the third epoch the top three groups train and the others are frozen.",
        )
    if not close(found, wanted, 1e-2):
        raise Wrong("한 층 내려갈 때마다 2.6으로 나눕니다.", "Each layer down, divide by 2.6.")
    return None


@exercise("00-causal")
def causal(answer: Any) -> Words | None:
    """The causal mask of four words."""
    found = numbers(answer, 16)
    if found == [float(column >= row) for row in range(4) for column in range(4)]:
        raise Wrong(
            "뒤의 단어만 보고 있습니다. 위아래를 뒤집으십시오.", "These look at later words only; turn it over."
        )
    if found == [float(column < row) for row in range(4) for column in range(4)]:
        raise Wrong("단어는 자기 자신도 볼 수 있습니다.", "A word may look at itself too.")
    if found != [float(column <= row) for row in range(4) for column in range(4)]:
        raise Wrong("행마다, 자기 자신까지의 열이 1입니다.", "In every row, the columns up to the word itself are 1.")
    return None


@exercise("00-masking")
def masking(answer: Any) -> Words | None:
    """Shares of all words that are masked, replaced, and chosen but kept."""
    found = numbers(answer, 3)
    if close(found, [0.8, 0.1, 0.1], 1e-3):
        raise Wrong(
            "이것은 고른 단어 가운데의 비율입니다. 전체 단어 가운데의 비율은?",
            "These are shares of the chosen words; of all words?",
        )
    if not close(found, [0.12, 0.015, 0.015], 1e-3):
        raise Wrong("15 %에 각각의 비율을 곱하십시오.", "Multiply 15 % by each of the shares.")
    return Words(
        "나머지 85 %에서는 배울 것이 없으므로 BERT는 GPT보다 여러 번 읽어야 합니다.",
        "The other 85 % teach nothing, so BERT has to read more often than GPT.",
    )
