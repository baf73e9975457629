"""Ways to search for a text that `transformers` no longer has, as their papers write them: one text at a time, whole.

`Next` gives the log-probabilities of the token after a text, and `Hidden` the last hidden state of every token; both
read the whole text each time. Nothing here knows of caches or batches.
"""

from collections.abc import Callable, Collection

from torch import Tensor

Next = Callable[[list[int]], Tensor]
Hidden = Callable[[list[int]], Tensor]


def diverse_beams(
    after: Next, groups: int, width: int, penalty: float, ends: Collection[int], length: int
) -> list[tuple[float, list[int]]]:
    """Diverse beam search (Vijayakumar et al. 2018, algorithm 1, with Hamming diversity): `(score, text)`, best first.

    A group stops when nothing that goes on can overtake its worst finished text; scores never rise.
    """
    going: list[list[tuple[float, list[int]]]] = [[(0.0, [])] for _ in range(groups)]
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(groups)]
    for step in range(length):
        counts: dict[int, int] = {}
        for group in range(groups):
            if not going[group]:
                continue
            options = []
            for score, text in going[group]:
                for token, logp in enumerate(after(text).tolist()):
                    options.append((score + logp - penalty * counts.get(token, 0), [*text, token]))
            options.sort(key=lambda option: -option[0])
            for option in options[:width]:
                if option[1][-1] in ends or step == length - 1:
                    finished[group].append(option)
            finished[group] = sorted(finished[group], key=lambda option: -option[0])[:width]
            going[group] = [option for option in options if option[1][-1] not in ends][:width]
            for _, text in going[group]:
                counts[text[-1]] = counts.get(text[-1], 0) + 1
            if len(finished[group]) == width and going[group][0][0] <= finished[group][-1][0]:
                going[group] = []
    return sorted((option for group in finished for option in group), key=lambda option: -option[0])


def contrastive(
    after: Next, hidden: Hidden, prompt: list[int], k: int, alpha: float, ends: Collection[int], length: int
) -> list[int]:
    """Contrastive search (Su et al. 2022, equation 5)."""
    text = list(prompt)
    for _ in range(length):
        probabilities = after(text).exp()
        best, chosen = float("-inf"), -1
        for token in probabilities.topk(k).indices.tolist():
            states = hidden([*text, token])
            candidate, context = states[-1], states[:-1]
            similar = max(float(candidate @ other / (candidate.norm() * other.norm())) for other in context)
            value = (1 - alpha) * float(probabilities[token]) - alpha * similar
            if value > best:
                best, chosen = value, token
        text.append(chosen)
        if chosen in ends:
            break
    return text[len(prompt) :]
