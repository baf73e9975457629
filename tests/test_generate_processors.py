"""Every processor against transformers' own on random logits, and against its definition where there is none."""

import pytest
import torch
from transformers.generation import logits_process as theirs

from moduformer.generate import processors as ours
from moduformer.generate.decoding import Row

VOCAB, GIVEN = 23, 5


def rows_of(ids: torch.Tensor, given: int = GIVEN) -> list[ours.Row]:
    return [Row(row.tolist(), given) for row in ids]


def draw(seed: int, length: int = 14) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, VOCAB, (4, length), generator=generator)
    logits = torch.randn(4, VOCAB, generator=generator) * 3
    logits[1, 3:7] = logits[1, 3]  # ties
    return ids, logits


PAIRS = [
    (ours.Temperature(0.3), theirs.TemperatureLogitsWarper(0.3)),
    (ours.Temperature(1.7), theirs.TemperatureLogitsWarper(1.7)),
    (ours.TopK(1), theirs.TopKLogitsWarper(1)),
    (ours.TopK(4), theirs.TopKLogitsWarper(4)),
    (ours.TopK(900), theirs.TopKLogitsWarper(900)),
    (ours.TopK(1, keep=3), theirs.TopKLogitsWarper(1, min_tokens_to_keep=3)),
    (ours.TopP(0.0), theirs.TopPLogitsWarper(0.0)),
    (ours.TopP(0.5), theirs.TopPLogitsWarper(0.5)),
    (ours.TopP(0.95), theirs.TopPLogitsWarper(0.95)),
    (ours.TopP(0.1, keep=2), theirs.TopPLogitsWarper(0.1, min_tokens_to_keep=2)),
    (ours.MinP(0.05), theirs.MinPLogitsWarper(0.05)),
    (ours.MinP(1.0), theirs.MinPLogitsWarper(1.0)),
    (ours.MinP(0.9, keep=3), theirs.MinPLogitsWarper(0.9, min_tokens_to_keep=3)),
    (ours.Typical(0.2), theirs.TypicalLogitsWarper(0.2)),
    (ours.Typical(0.9), theirs.TypicalLogitsWarper(0.9)),
    (ours.Typical(0.2, keep=3), theirs.TypicalLogitsWarper(0.2, min_tokens_to_keep=3)),
    (ours.RepetitionPenalty(1.8), theirs.RepetitionPenaltyLogitsProcessor(1.8)),
    (ours.RepetitionPenalty(0.4), theirs.RepetitionPenaltyLogitsProcessor(0.4)),
    *((ours.NoRepeatNgrams(n), theirs.NoRepeatNGramLogitsProcessor(n)) for n in (1, 2, 3, 13, 14, 15)),
    (
        ours.BadWords(((4,), (7, 8), (2, 2, 9))),
        theirs.NoBadWordsLogitsProcessor([[4], [7, 8], [2, 2, 9]], eos_token_id=22),
    ),
    (ours.MinLength((2, 9), length=15), theirs.MinLengthLogitsProcessor(15, [2, 9])),
    (ours.MinLength((2, 9), length=14), theirs.MinLengthLogitsProcessor(14, [2, 9])),
    (ours.MinLength((2,), new=10), theirs.MinNewTokensLengthLogitsProcessor(GIVEN, 10, [2])),
    (ours.MinLength((2,), new=9), theirs.MinNewTokensLengthLogitsProcessor(GIVEN, 9, [2])),
    (ours.Suppressed((1, 5, 6)), theirs.SuppressTokensLogitsProcessor([1, 5, 6])),
    (ours.ForcedFirst(6), theirs.ForcedBOSTokenLogitsProcessor(6)),
    (ours.ForcedLast((6, 7), 10), theirs.ForcedEOSTokenLogitsProcessor(GIVEN + 10, [6, 7])),
    (ours.ForcedLast((6, 7), 9), theirs.ForcedEOSTokenLogitsProcessor(GIVEN + 9, [6, 7])),
]


@pytest.mark.parametrize(
    ("mine", "reference"), PAIRS, ids=lambda p: repr(p) if hasattr(p, "__dataclass_fields__") else ""
)
def test_equals_transformers(mine: ours.Processor, reference) -> None:
    for seed in range(20):
        ids, logits = draw(seed)
        before = logits.clone()
        found = mine(rows_of(ids), logits)
        assert torch.equal(logits, before)  # nobody's tensor is changed
        assert torch.equal(found, reference(ids, logits.clone()))


def test_few_tokens_and_forced_places_equal_transformers_too() -> None:
    for length in (1, 2, 3):
        for mine, reference in PAIRS:
            ids, logits = draw(length, length)
            given = min(GIVEN, length)
            if isinstance(reference, theirs.MinNewTokensLengthLogitsProcessor):
                reference.prompt_length_to_skip = given
            if not isinstance(mine, ours.ForcedLast):
                assert torch.equal(mine(rows_of(ids, given), logits), reference(ids, logits.clone()))
    for length, given, forced in ((5, 5, False), (6, 5, False), (1, 1, True), (2, 1, True), (5, 5, True)):
        ids, logits = draw(3, length)
        begin = given + (forced and given == 1)
        reference = theirs.SuppressTokensAtBeginLogitsProcessor([2, 4], begin)
        assert torch.equal(ours.Suppressed((2, 4), True, forced)(rows_of(ids, given), logits), reference(ids, logits))


def test_penalties_count_what_the_model_wrote() -> None:
    rows = [Row([1, 2, 3, 3, 3, 4], 2), Row([5, 5, 5], 3)]
    logits = torch.zeros(2, 6)
    presence = ours.PresencePenalty(0.5)(rows, logits)
    assert presence.tolist() == [[0, 0, 0, -0.5, -0.5, 0], [0] * 6]
    frequency = ours.FrequencyPenalty(0.5)(rows, logits)
    assert frequency.tolist() == [[0, 0, 0, -1.5, -0.5, 0], [0] * 6]


@pytest.mark.parametrize("mine", [pair[0] for pair in PAIRS], ids=repr)
def test_a_row_does_not_depend_on_its_batch_mates(mine: ours.Processor) -> None:
    ids, logits = draw(5)
    rows = rows_of(ids)
    rows[2] = Row(rows[2].ids[:6], 2)
    rows[0] = Row([*rows[0].ids, 3, 3, 3], 1)
    together = mine(rows, logits)
    for number, row in enumerate(rows):
        assert torch.equal(mine([row], logits[number : number + 1])[0], together[number])


def test_ids_without_an_output_are_passed_over() -> None:
    """A multimodal prompt may hold ids that the head has no row for."""
    rows = [Row([1, 900, 2, 900], 4)]
    logits = torch.ones(1, 5)
    for mine in (ours.RepetitionPenalty(2.0), ours.NoRepeatNgrams(1), ours.NoRepeatNgrams(2)):
        assert mine(rows, logits).shape == (1, 5)
    assert ours.RepetitionPenalty(2.0)(rows, logits).tolist() == [[1, 0.5, 0.5, 1, 1]]
