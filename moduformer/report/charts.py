"""The charts of a run as SVG: class balance, curves, layer-group schedule, confusion, reliability, recipes, windows.

Every function is pure and draws in each language asked for; colours come from `charts.css` through classes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from moduformer.report.drawing import (
    Drawing,
    group,
    hinted,
    line,
    path,
    rectangle,
    text_width,
    widest,
    write,
)
from moduformer.report.results import ClassCount, Contender, History, LongText, Metrics
from moduformer.report.wording import LANGUAGES, Phrase, duration, number, percent, phrase, rate

Point = tuple[float, float]

# A chart is drawn this wide and scaled to its place: readable at 330 and at 560 pixels.
WIDTH = 440.0
# More points than a chart has pixels only make the file larger.
MOST_POINTS = 300
MOST_BARS = 200
MOST_CLASSES_DRAWN = 80
SMALL = 11
# Predictions in a bin of the reliability diagram below which its height is mostly chance.
FEW = 10


@dataclass(frozen=True)
class Bar:
    """A row of a bar chart: segments of (value, class of the style sheet), a text at the end, an optional interval."""

    label: Phrase
    segments: tuple[tuple[float, str], ...]
    text: Phrase
    interval: tuple[float, float] | None = None
    strong: bool = False


@dataclass(frozen=True)
class Series:
    """A line of a chart and its name."""

    name: Phrase
    points: tuple[Point, ...]
    style: str
    dots: bool = False


def class_balance(classes: Sequence[ClassCount], languages: Sequence[str] = LANGUAGES) -> Drawing:
    """How many training (and, lighter, held-out) texts each class has, the most frequent first."""
    total = sum(c.train for c in classes) or 1
    ordered = sorted(classes, key=lambda c: -c.train)[:MOST_BARS]
    rows = [
        Bar(
            c.label,
            ((c.train, "bar"), (c.heldout, "bar pale")),
            f"{number(c.train)} · {percent(c.train / total)}",
        )
        for c in ordered
    ]
    return bars(rows, languages)


def recipe_accuracy(contenders: Sequence[Contender], languages: Sequence[str] = LANGUAGES) -> Drawing:
    """The held-out accuracy of several recipes, with confidence intervals."""
    rows = [
        Bar(
            c.name,
            ((c.accuracy, "bar" if c.chosen else "bar pale"),),
            percent(c.accuracy),
            (c.accuracy_interval[0], c.accuracy_interval[1])
            if c.accuracy_interval is not None and len(c.accuracy_interval) == 2
            else None,
            strong=c.chosen,
        )
        for c in contenders
    ]
    return bars(rows, languages, longest=1.0)


def recipe_seconds(contenders: Sequence[Contender], languages: Sequence[str] = LANGUAGES) -> Drawing:
    """How long several recipes took."""
    rows = [
        Bar(
            c.name,
            ((c.seconds or 0.0, "bar second" if c.chosen else "bar second pale"),),
            duration(c.seconds),
            strong=c.chosen,
        )
        for c in contenders
    ]
    return bars(rows, languages)


def bars(rows: Sequence[Bar], languages: Sequence[str] = LANGUAGES, longest: float | None = None) -> Drawing:
    """Horizontal bars, one row each.

    Args:
        rows: what to draw, from above.
        languages: the languages to write.
        longest: the value of a full bar; the largest of the rows when None.
    """
    pitch = 28 if len(rows) <= 20 else 19
    thick = pitch * 0.62
    left = min(max(widest([r.label for r in rows], 12.5) + 12, 50), 165)
    right = widest([r.text for r in rows], SMALL) + 12
    room = WIDTH - left - right
    most = longest or max((sum(v for v, _ in r.segments) for r in rows), default=1) or 1
    drawn = []
    for place, row in enumerate(rows):
        middle = place * pitch + pitch / 2
        weight = "label strong" if row.strong else "label"
        drawn.append(write(left - 8, middle + 4, row.label, languages, weight, "end", room=left - 10, font=12.5))
        drawn.append(rectangle(left, middle - thick / 2, room, thick, "track", rx=3))
        start = left
        for value, style in row.segments:
            length = max(0.0, min(value / most, 1.0)) * room
            if length:
                length = max(length, 1.5)
                drawn.append(rectangle(start, middle - thick / 2, length, thick, style, rx=2.5))
            start += length
        if row.interval is not None:
            low, high = (left + max(0.0, min(v / most, 1.0)) * room for v in row.interval)
            drawn.append(line(low, middle, high, middle, "whisker"))
            drawn.extend(line(x, middle - 4, x, middle + 4, "whisker") for x in (low, high))
        drawn.append(write(left + room + 8, middle + 4, row.text, languages, "value"))
    return Drawing(WIDTH, max(len(rows) * pitch, pitch), group(drawn))


def loss_curve(history: History, languages: Sequence[str] = LANGUAGES) -> Drawing:
    """The training loss by step: every logged step, and its moving average."""
    seen = [(float(s.step), s.loss) for s in history.steps if s.loss is not None]
    points = [(x, y) for x, y in seen if y is not None]
    average = _moving_average(points)
    series = [
        Series("", tuple(_thin(points)), "curve raw"),
        Series("", tuple(_thin(average)), "curve", dots=len(points) < 3),
    ]
    ends = [float(e.step) for e in history.evaluations]
    return lines(series, phrase("step"), languages, marks=ends, floor=0.0)


def score_curve(history: History, languages: Sequence[str] = LANGUAGES) -> Drawing:
    """Accuracy and macro F1 on held-out rows by epoch."""
    styles = {"accuracy": "curve", "macro_f1": "curve second", "micro_f1": "curve third"}
    series = []
    for name, style in styles.items():
        points = [(e.epoch, value) for e in history.evaluations if (value := e.metrics.get(name)) is not None]
        if points:
            series.append(Series(phrase(name), tuple(points), style, dots=True))
    return lines(series, phrase("epoch"), languages, ceiling=1.0, show=lambda v: percent(v, 0), best=history.best_epoch)


def lines(
    series: Sequence[Series],
    below: Phrase,
    languages: Sequence[str] = LANGUAGES,
    marks: Sequence[float] = (),
    floor: float | None = None,
    ceiling: float | None = None,
    show: Callable[[float], str] | None = None,
    best: float | None = None,
) -> Drawing:
    """Lines over one horizontal axis.

    Args:
        series: the lines; those with a name get a legend above.
        below: the name of the horizontal axis.
        languages: the languages to write.
        marks: places on the horizontal axis that get a faint vertical line (ends of epochs).
        floor, ceiling: what the vertical axis includes below, and never exceeds above.
        show: how a value of the vertical axis is written.
        best: a place on the horizontal axis that is marked as the best.
    """
    height, top, bottom, right = 262.0, 34.0, 42.0, 16.0
    points = [p for s in series for p in s.points]
    low_x, high_x = _range([x for x, _ in points])
    ticks_y = _ticks(*_range([y for _, y in points] + ([floor] if floor is not None else [])), 5)
    if ceiling is not None:
        ticks_y = [t for t in ticks_y if t <= ceiling + 1e-9] or [ceiling]
    low_y, high_y = ticks_y[0], max(ticks_y[-1], *(y for _, y in points)) if points else ticks_y[-1]
    step_y = ticks_y[1] - ticks_y[0] if len(ticks_y) > 1 else 1.0
    shown = [show(t) if show else f"{t:.{_decimals(step_y)}f}" for t in ticks_y]
    left = widest(shown, SMALL) + 12

    def place(x: float, y: float) -> Point:
        across = (x - low_x) / ((high_x - low_x) or 1)
        up = (y - low_y) / ((high_y - low_y) or 1)
        return left + across * (WIDTH - left - right), height - bottom - up * (height - top - bottom)

    drawn = []
    for tick, text in zip(ticks_y, shown):
        y = place(low_x, tick)[1]
        drawn.append(line(left, y, WIDTH - right, y, "grid"))
        drawn.append(write(left - 7, y + 4, text, languages, "tick", "end"))
    for mark in marks if len(marks) <= 60 else ():
        if low_x < mark < high_x:
            x = place(mark, low_y)[0]
            drawn.append(line(x, top, x, height - bottom, "grid epoch"))
    last = -math.inf
    for tick in _ticks(low_x, high_x, 6, whole=True):
        x = place(tick, low_y)[0]
        text = number(tick)
        half = text_width(text, SMALL) / 2
        if low_x <= tick <= high_x and x - half > last + 6:
            drawn.append(write(x, height - bottom + 17, text, languages, "tick", "middle"))
            last = x + half
    drawn.append(write((left + WIDTH - right) / 2, height - 6, below, languages, "axis", "middle"))
    if best is not None and low_x <= best <= high_x:
        x = place(best, low_y)[0]
        drawn.append(line(x, top, x, height - bottom, "best"))
        near_end = x > WIDTH * 0.8
        drawn.append(
            write(
                x + (-5 if near_end else 5),
                height - bottom - 6,
                phrase("best"),
                languages,
                "tick",
                "end" if near_end else "start",
            )
        )
    for item in series:
        places = [place(x, y) for x, y in item.points]
        if len(places) > 1:
            drawn.append(path(places, item.style))
        if item.dots:
            for (x, y), (along, value) in zip(places, item.points):
                dot = rectangle(x - 3.5, y - 3.5, 7, 7, item.style.replace("curve", "dot"), rx=3.5)
                text = f"{value:g}" if show is None else percent(value, 2)
                drawn.append(hinted(f"{along:g}: {text}", dot))
    drawn.append(_legend([s for s in series if s.name], left, languages))
    return Drawing(WIDTH, height, group(drawn))


def schedule(history: History, languages: Sequence[str] = LANGUAGES) -> Drawing:
    """The learning rate of each layer group over time, the top group first, each against its own peak.

    Discriminative rates differ by powers of 2.6 (Howard & Ruder 2018, section 3.2), so one shared axis would
    flatten all but the top groups; a dashed line is a frozen group.
    """
    steps = [s for s in history.steps if s.learning_rates]
    count = min((len(s.learning_rates) for s in steps), default=0)
    curves: list[list[Point]] = [[(float(s.step), s.learning_rates[g]) for s in steps] for g in range(count)]
    names: list[Phrase] = [
        history.groups[g] if g < len(history.groups) else phrase("group", n=str(g + 1)) for g in range(count)
    ]
    if count > 1 and all(curve == curves[0] for curve in curves):
        curves, names = curves[:1], [phrase("all_layers")]
    # Layer groups beyond what a reader can tell apart: the top ones are the ones that move.
    shown = list(zip(names, curves))[::-1][:40]
    tall = 150.0 if len(shown) == 1 else max(24.0, min(34.0, 300 / max(len(shown), 1)))
    left = min(max(widest([n for n, _ in shown], SMALL) + 14, 60), 150)
    right, top, bottom = 58.0, 8.0, 40.0
    height = top + tall * len(shown) + bottom
    low, high = _range([x for curve in curves for x, _ in curve])

    def across(x: float) -> float:
        return left + (x - low) / ((high - low) or 1) * (WIDTH - left - right)

    drawn = []
    for ending in [float(e.step) for e in history.evaluations][:60]:
        if low < ending < high:
            drawn.append(line(across(ending), top, across(ending), height - bottom, "grid epoch"))
    for place, (name, curve) in enumerate(shown):
        ground = top + tall * (place + 1)
        peak = max((y for _, y in curve), default=0.0)
        drawn.append(line(left, ground, WIDTH - right, ground, "frozen"))
        for run in _moving_spans(curve):
            thin = _thin(run)
            ridge = [(across(x), ground - y / peak * tall * 0.82) for x, y in thin]
            closed = [(ridge[0][0], ground), *ridge, (ridge[-1][0], ground)]
            drawn.append(path(closed, "ridge", close=True))
            drawn.append(path(ridge, "curve thin"))
            drawn.append(line(ridge[0][0], ground, ridge[-1][0], ground, "moving"))
        label_y = ground - (4 if len(shown) > 1 else tall / 2 - 4)
        drawn.append(write(left - 8, label_y, name, languages, "value", "end", room=left - 10, font=SMALL))
        text: Phrase = rate(peak) if peak else phrase("frozen")
        drawn.append(write(WIDTH - right + 7, label_y, text, languages, "tick"))
    last = -math.inf
    for tick in _ticks(low, high, 6, whole=True):
        half = text_width(number(tick), SMALL) / 2
        if low <= tick <= high and across(tick) - half > last + 6:
            drawn.append(write(across(tick), height - bottom + 17, number(tick), languages, "tick", "middle"))
            last = across(tick) + half
    drawn.append(write((left + WIDTH - right) / 2, height - 6, phrase("step"), languages, "axis", "middle"))
    return Drawing(WIDTH, height, group(drawn))


def confusion_matrix(metrics: Metrics, languages: Sequence[str] = LANGUAGES) -> Drawing:
    """Counts of true against predicted classes, shaded by their share of the true class.

    Few classes scale with the page; many keep their size and scroll. Above 80 classes only those with most
    mistakes are drawn (see `classes_drawn`).
    """
    chosen = classes_drawn(metrics)
    counts = [[metrics.confusion[i][j] for j in chosen] for i in chosen]
    totals = [sum(metrics.confusion[i]) for i in chosen]
    labels = [metrics.labels[i] for i in chosen]
    many = len(chosen) > 12
    cell = (
        max(30.0, min(58.0, 330 / max(len(chosen), 1)))
        if not many
        else (26.0 if len(chosen) <= 30 else max(12.0, min(17.0, 905 / len(chosen))))
    )
    font = 11.5 if not many else (10.0 if len(chosen) <= 30 else 9.0)
    digits = max((len(number(v)) for row in counts for v in row), default=1)
    figure = max(6.0, min(13.0, (cell - 3) / (digits * 0.6)))
    width_needed = widest(labels, font) + 10
    left = min(width_needed, 130.0) + 18
    # Labels of columns lie flat where they fit into their column, and stand upright where not.
    flat = width_needed <= cell
    head = (22.0 if flat else min(width_needed, 120.0)) + 20
    width, height = left + cell * len(chosen) + 12, head + cell * len(chosen) + 8
    drawn = [
        write(left + cell * len(chosen) / 2, 12, phrase("predicted"), languages, "axis", "middle"),
        write(11, head + cell * len(chosen) / 2, phrase("true"), languages, "axis", "middle", turn=-90),
        rectangle(left, head, cell * len(chosen), cell * len(chosen), "track"),
    ]
    for place, label in enumerate(labels):
        middle = (place + 0.5) * cell
        style = "label" if not many else "label dense" if len(chosen) <= 30 else "label densest"
        drawn.append(
            write(left - 6, head + middle + font * 0.35, label, languages, style, "end", room=left - 26, font=font)
        )
        if flat:
            drawn.append(write(left + middle, head - 7, label, languages, style, "middle", room=cell, font=font))
        else:
            x = left + middle + font * 0.35
            drawn.append(write(x, head - 6, label, languages, style, turn=-90, room=head - 28, font=font))
    gap = 1.0 if many else 2.0
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            if not count and many:
                continue
            share = count / totals[i] if totals[i] else 0.0
            x, y = left + j * cell, head + i * cell
            style = "heat right" if i == j else "heat wrong"
            box = rectangle(
                x + gap / 2,
                y + gap / 2,
                cell - gap,
                cell - gap,
                style,
                rx=3 if not many else 1.5,
                # Presentation attributes, because the page forbids style attributes.
                **{"fill-opacity": round(0.06 + 0.89 * math.sqrt(share), 2) if count else 0.03},
            )
            ink = "count faint" if not count else "count on" if share > 0.4 else "count"
            text = write(x + cell / 2, y + cell / 2 + figure * 0.36, number(count), languages, ink, "middle")
            sized = group([text], **{"font-size": round(figure, 1)})
            drawn.append(hinted(f"{labels[i]} → {labels[j]}: {number(count)} ({percent(share)})", box, sized))
    return Drawing(width, height, group(drawn), natural=many)


def classes_drawn(metrics: Metrics) -> list[int]:
    """The classes that the confusion matrix shows: all, or the 80 with most mistakes, in the model's order."""
    size = len(metrics.confusion)
    if size <= MOST_CLASSES_DRAWN:
        return list(range(size))
    missed = [sum(row) - row[i] for i, row in enumerate(metrics.confusion)]
    taken = [sum(row[j] for row in metrics.confusion) - metrics.confusion[j][j] for j in range(size)]
    return sorted(sorted(range(size), key=lambda i: -(missed[i] + taken[i]))[:MOST_CLASSES_DRAWN])


def reliability(metrics: Metrics, languages: Sequence[str] = LANGUAGES) -> Drawing:
    """How often predictions of each confidence were right (Guo et al. 2017), and how many there were."""
    left, right, top, side, strip, bottom = 48.0, 14.0, 12.0, 250.0, 54.0, 40.0
    room = WIDTH - left - right
    height = top + side + 14 + strip + bottom
    most = max((b.count for b in metrics.reliability), default=1) or 1
    drawn = []
    for tick in range(0, 101, 25):
        y = top + side - tick / 100 * side
        drawn.append(line(left, y, left + room, y, "grid"))
        drawn.append(write(left - 7, y + 4, f"{tick}%", languages, "tick", "end"))
        x = left + tick / 100 * room
        drawn.append(write(x, height - bottom + 17, f"{tick}%", languages, "tick", "end" if tick == 100 else "middle"))
    base = top + side + 14 + strip
    for item in metrics.reliability:
        x, wide = left + item.lower * room, (item.upper - item.lower) * room
        if not item.count or item.accuracy is None:
            continue
        tall, deep = item.accuracy * side, item.count / most * strip
        style = "bar" if item.count >= FEW else "bar pale"
        bars_drawn = [
            rectangle(x + 1, top + side - tall, max(wide - 2, 1), tall, style, rx=2),
            rectangle(x + 1, base - deep, max(wide - 2, 1), max(deep, 1), "bar pale", rx=2),
        ]
        if item.confidence is not None:
            aim = top + side - item.confidence * side
            gap_top, gap = min(aim, top + side - tall), abs(aim - (top + side - tall))
            bars_drawn.append(rectangle(x + 1, gap_top, max(wide - 2, 1), gap, "miss"))
        hint = f"{percent(item.lower, 0)}–{percent(item.upper, 0)}: {percent(item.accuracy)} ({number(item.count)})"
        drawn.append(hinted(hint, *bars_drawn))
    drawn.append(line(left, top + side, left + room, top, "diagonal"))
    drawn.append(line(left, base, left + room, base, "grid"))
    drawn.append(write(left - 7, base - strip + 8, number(most), languages, "tick", "end", room=left - 8, font=SMALL))
    drawn.append(write(left + room / 2, height - 6, phrase("confidence"), languages, "axis", "middle"))
    drawn.append(write(11, top + side / 2, phrase("share_right"), languages, "axis", "middle", turn=-90))
    return Drawing(WIDTH, height, group(drawn))


def window_map(text: LongText, languages: Sequence[str] = LANGUAGES) -> Drawing:
    """Where each window lies in the text and how strongly it speaks for the answer; the deciding one is marked."""
    width, lanes, tall = 880.0, 2, 46.0
    length = max(len(text.text), 1)
    answer = text.labels.index(text.predicted) if text.predicted in text.labels else None
    height = lanes * (tall + 8) + 40
    drawn = []
    for place, window in enumerate(text.windows):
        x, wide = window.start / length * (width - 2), (window.end - window.start) / length * (width - 2)
        ground = 14 + (place % lanes + 1) * (tall + 6)
        score = window_score(window.scores, answer)
        decides = place == text.deciding
        shapes = [
            rectangle(x + 1, ground - tall, max(wide - 2, 1), tall, "track", rx=3),
            rectangle(
                x + 1,
                ground - tall * score,
                max(wide - 2, 1),
                max(tall * score, 1),
                "bar second" if decides else "bar",
                rx=3,
            ),
        ]
        if wide > 44:
            mark = "★ " if decides else ""
            style = "value strong" if decides else "value"
            shapes.append(
                write(x + wide / 2, ground - 6, f"{mark}{percent(score, 0)}", languages, f"{style} halo", "middle")
            )
        drawn.append(hinted(f"{place + 1}: {percent(score)}", *shapes))
    for part in range(5):
        anchor = "start" if part == 0 else "end" if part == 4 else "middle"
        drawn.append(write(part / 4 * width, height - 8, number(part / 4 * length), languages, "tick", anchor))
    return Drawing(width, height, group(drawn))


def window_score(scores: Sequence[float], answer: int | None) -> float:
    """How much a window speaks for the answer: that label's probability, or the highest where it is unknown."""
    if answer is not None and answer < len(scores):
        return min(max(scores[answer], 0.0), 1.0)
    return min(max(scores, default=0.0), 1.0)


def beside(left: Drawing, right: Drawing, titles: tuple[Phrase, Phrase], languages: Sequence[str]) -> Drawing:
    """Two drawings next to each other, each under its title."""
    gap, head = 28.0, 30.0
    height = head + max(left.height, right.height)
    parts = [
        write(0, 17, titles[0], languages, "title"),
        write(left.width + gap, 17, titles[1], languages, "title"),
        group([left.body], transform=f"translate(0 {head:g})"),
        group([right.body], transform=f"translate({left.width + gap:g} {head:g})"),
    ]
    return Drawing(left.width + gap + right.width, height, group(parts))


def framed(drawing: Drawing, margin: float = 20.0) -> Drawing:
    """A drawing with room around it."""
    moved = group([drawing.body], transform=f"translate({margin:g} {margin:g})")
    return Drawing(drawing.width + 2 * margin, drawing.height + 2 * margin, moved)


def _legend(series: Sequence[Series], left: float, languages: Sequence[str]) -> Markup:
    drawn = []
    x = left
    for item in series:
        drawn.append(rectangle(x, 11, 14, 4, item.style.replace("curve", "dot"), rx=2))
        drawn.append(write(x + 20, 17, item.name, languages, "value"))
        x += 20 + widest([item.name], SMALL) + 18
    return group(drawn)


def _moving_average(points: Sequence[Point]) -> list[Point]:
    """The mean of a window of 1/20 of the run around each point, smaller at the ends."""
    reach = max(len(points) // 40, 1 if len(points) > 4 else 0)
    sums = [0.0]
    for _, y in points:
        sums.append(sums[-1] + y)
    average = []
    for place, (x, _) in enumerate(points):
        first, last = max(place - reach, 0), min(place + reach + 1, len(points))
        average.append((x, (sums[last] - sums[first]) / (last - first)))
    return average


def _moving_spans(curve: Sequence[Point]) -> list[list[Point]]:
    """The stretches of a schedule in which the rate is above 0."""
    spans: list[list[Point]] = []
    moving = False
    for x, y in curve:
        if y > 0:
            if not moving:
                spans.append([])
            spans[-1].append((x, y))
        moving = y > 0
    return spans


def _thin(points: Sequence[Point]) -> list[Point]:
    """At most about MOST_POINTS points: the lowest and the highest of each stretch, so that no peak is lost."""
    if len(points) <= MOST_POINTS:
        return list(points)
    kept = {0, len(points) - 1}
    stretches = MOST_POINTS // 2
    for part in range(stretches):
        stretch = range(part * len(points) // stretches, (part + 1) * len(points) // stretches)
        kept.add(min(stretch, key=lambda i: points[i][1]))
        kept.add(max(stretch, key=lambda i: points[i][1]))
    return [points[i] for i in sorted(kept)]


def _range(values: Sequence[float]) -> tuple[float, float]:
    return (min(values), max(values)) if values else (0.0, 1.0)


def _ticks(low: float, high: float, wanted: int, whole: bool = False) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, about as many as wanted."""
    span = high - low
    # A flat line still needs an axis, and a span lost in rounding cannot be divided.
    if not math.isfinite(span) or span <= max(abs(low), abs(high)) * 1e-9:
        low, high = low - (abs(low) * 0.05 or 0.5), high + (abs(high) * 0.05 or 0.5)
        span = high - low
        if not math.isfinite(span):
            return [0.0, 1.0]
    rough = span / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    if whole:
        step = max(1.0, math.ceil(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def _decimals(step: float) -> int:
    return min(
        max(0, -math.floor(math.log10(step) + 1e-9)) + (1 if f"{step:e}"[2] == "5" and f"{step:e}"[0] == "2" else 0), 8
    )
