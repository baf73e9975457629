"""Results like those of real runs, made up and always the same, for the tests of the report."""

import math
import random

from moduformer.report.results import (
    ClassCount,
    ClassMetrics,
    Contender,
    Cost,
    DataFacts,
    Evaluation,
    History,
    LongText,
    Metrics,
    ModelFacts,
    Prediction,
    Recipe,
    Results,
    Step,
    Window,
    reliability_bins,
)

EMOTIONS = ("sadness", "joy", "love", "anger", "fear", "surprise")
KOREAN = ("긍정적인 평가", "부정적인 평가", "중립")
SENTENCES = (
    "i feel strangely calm about the whole thing although nobody told me how it would end",
    "i was so sure that this would be fun and now i only want to go home",
    "배우들의 연기는 훌륭했지만 이야기가 너무 느려서 중간에 나가고 싶었습니다",
    "not bad at all, in fact i laughed more than i would like to admit",
)


def triangle(place: float, peak: float, cut: float = 0.1, ratio: float = 32.0) -> float:
    """The slanted triangular rate of Howard & Ruder 2018, equation 3, at `place` in 0..1."""
    rise = place / cut if place < cut else 1 - (place - cut) / (1 - cut)
    return peak * (1 + rise * (ratio - 1)) / ratio


def make_history(epochs: int, per_epoch: int, groups: int, gradual: bool, seed: int = 0) -> History:
    """A run whose loss falls and whose groups (when `gradual`) thaw one an epoch, from the top."""
    rng = random.Random(seed)
    steps, evaluations = [], []
    total = epochs * per_epoch
    for step in range(1, total + 1):
        epoch = (step - 1) // per_epoch
        rates = []
        for group in range(groups):
            thawed = not gradual or epoch >= groups - 1 - group
            peak = 2e-3 / 2.6 ** (groups - 1 - group)
            rates.append(triangle(step / total, peak) if thawed else 0.0)
        loss = 0.22 + 1.6 * math.exp(-3.2 * step / total) + rng.gauss(0, 0.09)
        steps.append(Step(step, step / per_epoch, max(loss, 0.02), tuple(rates), 8200 + rng.gauss(0, 400)))
    for epoch in range(1, epochs + 1):
        accuracy = 0.93 - 0.4 * math.exp(-1.1 * epoch) + (0.004 if epoch == epochs - 1 else 0)
        scores = {"accuracy": accuracy, "macro_f1": accuracy - 0.04, "loss": 0.3}
        evaluations.append(Evaluation(epoch * per_epoch, float(epoch), scores))
    names = ("embeddings", *(f"layer {n}" for n in range(1, groups - 1)), "head") if groups > 1 else ("all",)
    return History(tuple(steps), tuple(evaluations), names, float(max(epochs - 1, 1)))


def make_results(
    labels: tuple[str, ...] = EMOTIONS,
    epochs: int = 4,
    groups: int = 1,
    gradual: bool = False,
    name: str = "emotion-minilm",
    base: str = "sentence-transformers/all-MiniLM-L6-v2",
    recipe: str = "plain",
    data: str = "train.parquet",
    text: str | None = None,
    rows_each: int = 120,
    seed: int = 0,
) -> Results:
    """A run on these classes; `text`, where given, is the text of every prediction and long text."""
    rng = random.Random(seed)
    size = len(labels)
    confusion = [[0] * size for _ in labels]
    for i in range(size):
        for _ in range(max(8, int(rows_each / (1 + 0.35 * i if size < 20 else 1 + i / 25)))):
            wrong = rng.random() < 0.09 + 0.02 * (i % 5)
            confusion[i][(i + rng.choice([1, 1, 1, 2, 5])) % size if wrong else i] += 1
    total = sum(map(sum, confusion))
    right = sum(confusion[i][i] for i in range(size))
    per_class = []
    for i, label in enumerate(labels):
        support, taken = sum(confusion[i]), sum(row[i] for row in confusion) or 1
        precision, recall = confusion[i][i] / taken, confusion[i][i] / support
        f1 = 2 * precision * recall / ((precision + recall) or 1)
        per_class.append(ClassMetrics(label, precision, recall, f1, support))
    sure = [min(0.999, max(1.02 / size, rng.betavariate(6, 1.2))) for _ in range(total)]
    bins = reliability_bins(sure, [rng.random() < p - 0.02 for p in sure])
    predictions = tuple(
        Prediction(
            text or SENTENCES[n % len(SENTENCES)] + (" and so on" * (60 if n == 3 else 0)),
            labels[n % size],
            labels[(n + 1) % size],
            0.99 - n * 0.011,
            n * 7 + 3,
        )
        for n in range(40)
    )
    story = (text or " ".join(SENTENCES)) * 24
    span, stride = len(story) // 5, len(story) // 6
    windows = tuple(
        Window(start, min(start + span, len(story)), _scores(size, n, rng))
        for n, start in enumerate(range(0, len(story) - stride // 2, stride))
    )
    long_text = LongText(story, labels[0], 0.84, labels, windows, labels[0], "max", 2, 2310)
    macro = sum(c.f1 for c in per_class) / size
    return Results(
        model=ModelFacts(name, base, None, "bert", 22_713_600, None, ("en",), "apache-2.0"),
        recipe=Recipe(
            recipe,
            {"epochs": epochs, "batch_size": 32, "learning_rate": 2e-3, "betas": (0.9, 0.99), "warmup": None},
        ),
        data=DataFacts(
            name=data,
            rows_used=total * 8,
            rows_heldout=total,
            rows_refused=3,
            refused_reasons={"no label": 2, "empty text": 1},
            classes=tuple(ClassCount(c.label, c.support * 8, c.support) for c in per_class),
            text_column="text",
            label_column="label_name",
            tokens=368_211,
            tokens_median=19,
            tokens_longest=87,
            max_tokens=256,
            truncated_fraction=0.0,
            duplicates=12,
            duplicates_across=2,
            heldout_from="10% of the rows, by class",
            license="cc-by-sa-4.0",
        ),
        metrics=Metrics(
            accuracy=right / total,
            rows=total,
            labels=labels,
            macro_f1=macro,
            weighted_f1=macro + 0.01,
            per_class=tuple(per_class),
            confusion=tuple(map(tuple, confusion)),
            calibration_error=0.041,
            reliability=bins,
        ),
        history=make_history(epochs, 90, groups, gradual, seed),
        comparison=(
            Contender("plain", 0.871, 188.2, 0.82, (0.85, 0.89), recipe == "plain", "three epochs, one rate"),
            Contender("ulmfit", 0.883, 141.9, 0.84, (0.863, 0.90), recipe == "ulmfit"),
            Contender("features", 0.672, 9.4, 0.61, (0.64, 0.70)),
        ),
        predictions=predictions,
        long_texts=(long_text,),
        cost=Cost(188.2, 1_342_177_280, "cpu", 2),
        seeds={"seed": 0},
        versions={"moduformer": "0.1.0", "torch": "2.13.0", "python": "3.11.9"},
        command=f"moduformer train {data} --text text --label label_name --model minilm --out runs/emotion",
    )


def _scores(size: int, place: int, rng: random.Random) -> tuple[float, ...]:
    first = (0.31, 0.55, 0.84, 0.12, 0.47, 0.66)[place % 6] + rng.random() * 0.01
    return (first, *([(1 - first) / max(size - 1, 1)] * (size - 1)))


def emotions() -> Results:
    """Six emotions, plain recipe."""
    return make_results()


def ulmfit() -> Results:
    """Six emotions, eight layer groups that thaw one an epoch."""
    return make_results(epochs=8, groups=8, gradual=True, recipe="ulmfit", name="emotion-ulmfit")


def two_classes() -> Results:
    """Positive against negative."""
    return make_results(("negative", "positive"), epochs=2, name="reviews")


def korean() -> Results:
    """Korean labels and texts."""
    return make_results(KOREAN, name="영화평-분류기", data="영화평 (2024).csv", text=SENTENCES[2] + ". ")


def banking() -> Results:
    """Seventy-seven classes, some with long names."""
    extra = {7: "request_refund_for_a_transfer_that_never_arrived_at_its_destination", 30: "해외 카드 결제 수수료 문의"}
    labels = tuple(extra.get(n, f"intent_{'abc'[n % 3] * (n % 9 + 2)}_{n}") for n in range(77))
    return make_results(labels, name="banking77-minilm", rows_each=60)
