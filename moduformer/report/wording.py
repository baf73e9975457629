"""The words of the report in English and Korean, and how numbers are written."""

import re
from collections.abc import Mapping

LANGUAGES = ("en", "ko")

# A text in each language; a plain str is the same in all of them (a label, a number).
Phrase = str | Mapping[str, str]

WORDS: dict[str, tuple[str, str]] = {
    "report": ("Training report", "학습 보고서"),
    "skip": ("Skip to the results", "결과로 건너뛰기"),
    "language": ("Language", "언어"),
    "contents": ("Contents", "목차"),
    # Headings
    "summary": ("Summary", "요약"),
    "data": ("Data", "데이터"),
    "training": ("Training", "학습 과정"),
    "quality": ("Quality by class", "클래스별 성능"),
    "comparison": ("Recipes compared", "학습 방법 비교"),
    "errors": ("Most confident errors", "확신이 높았던 오답"),
    "long": ("Long texts, window by window", "긴 글의 구간별 판단"),
    "reproduce": ("Reproduce", "재현 방법"),
    # Tiles
    "accuracy": ("Accuracy", "정확도"),
    "macro_f1": ("Macro F1", "매크로 F1"),
    "weighted_f1": ("Weighted F1", "가중 F1"),
    "micro_f1": ("Micro F1", "마이크로 F1"),
    "calibration_error": ("Calibration error", "보정 오차(ECE)"),
    "heldout_rows": ("Held-out texts", "평가용 텍스트"),
    "time": ("Time", "소요 시간"),
    "memory": ("Peak memory", "최대 메모리"),
    "speed": ("Training speed", "학습 속도"),
    "tokens_per_second": ("{n} tokens/s", "초당 {n}토큰"),
    "interval": ("{level} interval {low} to {high}", "{level} 신뢰구간 {low}~{high}"),
    "interval_note": ("0 is perfect", "0이면 완벽"),
    "loss": ("Loss", "손실"),
    # Sentences of the summary
    "verdict": (
        "Of 100 held-out texts the model labels about {right} correctly.",
        "평가용 텍스트 100개 가운데 약 {right}개를 맞힙니다.",
    ),
    "baseline_majority": (
        "Always answering “{label}” would reach {score}.",
        "항상 “{label}”(으)로만 답하면 {score}입니다.",
    ),
    "baseline_named": ("The baseline “{name}” reaches {score}.", "기준 모델 “{name}”의 정확도는 {score}입니다."),
    "weakest": (
        "Its weakest class is “{label}” (F1 {score}, {n} texts).",
        "가장 약한 클래스는 “{label}”입니다 (F1 {score}, 텍스트 {n}개).",
    ),
    "overconfident": (
        "It is too sure of itself: on average {confidence} confident and {accuracy} right.",
        "모델이 지나치게 확신합니다. 평균 확신도 {confidence}, 실제 정확도 {accuracy}.",
    ),
    "underconfident": (
        "It is more often right ({accuracy}) than it believes ({confidence}).",
        "실제 정확도({accuracy})가 평균 확신도({confidence})보다 높습니다.",
    ),
    "calibrated": (
        "Its probabilities can be taken at their word: {confidence} confident on average, {accuracy} right.",
        "확률을 그대로 믿어도 됩니다. 평균 확신도 {confidence}, 실제 정확도 {accuracy}.",
    ),
    # Facts
    "base": ("Started from", "기반 모델"),
    "recipe": ("Recipe", "학습 방법"),
    "family": ("Architecture", "구조"),
    "parameters": ("Parameters", "매개변수"),
    "source": ("Source", "출처"),
    "rows_used": ("Texts trained on", "학습 텍스트"),
    "rows_refused": ("Rows refused", "제외된 행"),
    "heldout_from": ("Held-out texts come from", "평가용 텍스트 출처"),
    "columns": ("Columns (text, label)", "열(텍스트, 레이블)"),
    "classes": ("Classes", "클래스"),
    "tokens": ("Tokens", "토큰"),
    "token_lengths": ("Tokens a text (median, longest)", "텍스트당 토큰(중앙값, 최대)"),
    "truncated": ("Texts cut at {n} tokens", "{n}토큰에서 잘린 텍스트"),
    "truncated_plain": ("Texts cut short", "잘린 텍스트"),
    "duplicates": ("Duplicate texts", "중복 텍스트"),
    "duplicates_across": ("Held-out texts also trained on", "학습 데이터에도 있는 평가용 텍스트"),
    "license": ("Licence", "라이선스"),
    "device": ("Device", "장치"),
    "threads": ("Threads", "스레드"),
    # Charts
    "class_balance": ("Texts by class", "클래스별 텍스트 수"),
    "class_balance_note": (
        "Training texts and, lighter, held-out texts. The figures are for training: texts, and their share of all.",
        "진한 색은 학습용, 옅은 색은 평가용 텍스트입니다. 숫자는 학습 텍스트 수와 비율입니다.",
    ),
    "train": ("training", "학습용"),
    "heldout": ("held out", "평가용"),
    "loss_curve": ("Training loss", "학습 손실"),
    "loss_curve_note": (
        "Each logged step (faint) and its moving average (bold).",
        "기록된 스텝의 손실(옅은 선)과 이동 평균(굵은 선)입니다.",
    ),
    "score_curve": ("Held-out scores by epoch", "에포크별 평가 점수"),
    "score_curve_note": (
        "Measured after each epoch on texts the model never trained on.",
        "학습에 쓰지 않은 텍스트로 에포크마다 측정했습니다.",
    ),
    "best": ("best", "최고"),
    "step": ("step", "스텝"),
    "epoch": ("epoch", "에포크"),
    "schedule": ("Learning rate of each layer group", "층 그룹별 학습률"),
    "schedule_note": (
        "Each row is one group, drawn against its own peak, which is written at the right. "
        "A dashed line means the group is frozen.",
        "행마다 한 그룹이며 오른쪽에 적힌 최고 학습률을 기준으로 그렸습니다. 점선은 동결된 구간입니다.",
    ),
    "all_layers": ("all layers", "모든 층"),
    "group": ("group {n}", "그룹 {n}"),
    "frozen": ("frozen", "동결"),
    "confusion": ("Confusion matrix", "혼동 행렬"),
    "confusion_note": (
        "Rows are the true classes, columns the predicted ones; the shade grows with the share of the row. "
        "The diagonal is right, everything beside it is wrong.",
        "행은 실제 클래스, 열은 예측 클래스이며 색의 진하기는 행 안의 비율입니다. 대각선이 정답, 나머지는 오답입니다.",
    ),
    "confusion_cut": (
        "Only the {n} classes of {total} with most mistakes are drawn.",
        "전체 {total}개 클래스 중 오답이 많은 {n}개만 표시합니다.",
    ),
    "true": ("True", "실제"),
    "predicted": ("Predicted", "예측"),
    "per_class": ("Scores of each class", "클래스별 점수"),
    "confused": ("Most frequent confusions", "가장 자주 헷갈린 쌍"),
    "count": ("Count", "개수"),
    "of_class": ("Of true class", "실제 클래스 중 비율"),
    "reliability": ("Reliability", "신뢰도 도표"),
    "reliability_note": (
        "Bars on the dashed line mean: when the model says 80%, it is right 80% of the time. "
        "Below: how many predictions stand behind each bar; "
        "bars with fewer than 10 are pale.",
        "막대가 점선에 닿으면, 80%라고 답할 때 실제로 80% 맞는다는 뜻입니다. "
        "아래는 막대별 예측 수이며, 10개 미만인 막대는 옅게 표시합니다.",
    ),
    "confidence": ("confidence", "확신도"),
    "share_right": ("share that is right", "실제로 맞은 비율"),
    "comparison_accuracy": ("Held-out accuracy", "평가 정확도"),
    "comparison_seconds": ("Training time", "학습 시간"),
    "comparison_note": (
        "Thin lines are confidence intervals; where they overlap, the difference may be chance.",
        "가는 선은 신뢰구간입니다. 서로 겹치면 우연한 차이일 수 있습니다.",
    ),
    "chosen": ("this model", "이 모델"),
    # Tables
    "class": ("Class", "클래스"),
    "precision": ("Precision", "정밀도"),
    "recall": ("Recall", "재현율"),
    "f1": ("F1", "F1"),
    "support": ("Texts", "텍스트 수"),
    "text": ("Text", "텍스트"),
    "probability": ("Probability", "확률"),
    "row": ("Row", "행"),
    "filter": ("Filter rows", "행 거르기"),
    "sort": ("Click a heading to sort.", "제목을 누르면 정렬됩니다."),
    "shown": ("Shown: {n} of {total} errors.", "오답 {total}개 중 {n}개를 보여 줍니다."),
    "errors_note": (
        "Where the model was sure and wrong. Often the label in the data is the mistake: read these first.",
        "모델이 확신했지만 틀린 텍스트입니다. 데이터의 레이블이 잘못된 경우도 많으니 먼저 읽어 보십시오.",
    ),
    "no_errors": ("No errors among the predictions kept.", "저장된 예측 중에는 오답이 없습니다."),
    "cut": ("{n} more characters", "{n}자 더 있음"),
    # Long texts
    "long_note": (
        "A text longer than the model's window is read in overlapping windows, so nothing is cut. The deeper the "
        "colour, the more that window speaks for the answer; text repeated from the window before is faded.",
        "모델이 한 번에 읽을 수 없는 긴 글은 겹치는 구간으로 나누어 읽으므로 잘려 나가는 부분이 없습니다. "
        "색이 진할수록 그 구간이 답을 강하게 지지하며, 앞 구간과 겹치는 글자는 흐리게 보입니다.",
    ),
    "long_title": ("Text {n}", "글 {n}"),
    "long_answer": ("Answer", "답"),
    "long_right": ("correct", "정답"),
    "long_wrong": ("true class: {label}", "실제 클래스: {label}"),
    "merge": ("{n} windows, merged by {how}", "구간 {n}개, 병합 방식: {how}"),
    "merge_mean": ("mean", "평균"),
    "merge_max": ("max", "최댓값"),
    "window": ("Window {n}", "구간 {n}"),
    "characters": ("characters {start} to {end}", "{start}~{end}번째 글자"),
    "deciding": ("decides", "결정적 구간"),
    "window_map": ("Windows along the text", "글 전체의 구간 지도"),
    "position": ("characters", "글자 위치"),
    # Reproduce
    "command": ("Command", "명령"),
    "settings": ("Settings", "설정"),
    "setting": ("Setting", "설정"),
    "value": ("Value", "값"),
    "seeds": ("Seeds", "난수 시드"),
    "versions": ("Versions", "버전"),
    "made_by": (
        "Made by moduformer. This page is one file: it loads nothing and sends nothing.",
        "moduformer가 만든 페이지입니다. 파일 하나로 완결되며 아무것도 불러오거나 보내지 않습니다.",
    ),
    "none": ("none", "없음"),
}

# Controls other than tab and newline cannot stand in XML, surrogates not in UTF-8, and the directional
# overrides could make a line read backwards far beyond the label that carries them.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]")


def clean(text: object) -> str:
    """Any value as text that HTML, XML and UTF-8 can hold; what they cannot hold becomes U+FFFD."""
    return _UNFIT.sub("\ufffd", str(text).replace("\r\n", "\n").replace("\r", "\n"))


def phrase(key: str, **values: Phrase) -> dict[str, str]:
    """A text of this page in each language, with values (in the same language) put in."""
    return {
        language: template.format(**{name: in_language(value, language) for name, value in values.items()})
        for language, template in zip(LANGUAGES, WORDS[key])
    }


def in_language(text: Phrase, language: str) -> str:
    """One language of a phrase."""
    return clean(text if isinstance(text, str) else text[language])


def percent(rate: float | None, digits: int = 1) -> str:
    """A rate in 0..1 as a percentage, or a dash where it is unknown."""
    return "–" if rate is None else f"{rate * 100:.{digits}f}%"


def number(value: float | None) -> str:
    """A count with separators, or a dash where it is unknown."""
    return "–" if value is None else f"{value:,.0f}"


def rate(value: float) -> str:
    """A learning rate in its short form: 2e-5, 3.1e-4, 0."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def duration(seconds: float | None) -> Phrase:
    """Seconds as a person says them, in both languages."""
    if seconds is None:
        return "–"
    if round(seconds) < 60:
        shown = f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"
        return {"en": f"{shown} s", "ko": f"{shown}초"}
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return {"en": f"{hours} h {minutes:02d} min", "ko": f"{hours}시간 {minutes}분"}
    return {"en": f"{minutes} min {rest:02d} s", "ko": f"{minutes}분 {rest}초"}


def size(count: int | None) -> str:
    """Bytes as MiB or GiB, or a dash where they are unknown."""
    if count is None:
        return "–"
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def quantity(count: int | None) -> str:
    """A large count in thousands, millions or billions."""
    if count is None:
        return "–"
    for limit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.1f}{letter}"
    return str(count)
