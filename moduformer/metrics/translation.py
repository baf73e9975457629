"""Scores of translations: BLEU, chrF, chrF++ and TER, computed by sacrebleu with its signature.

Post 2018 (arXiv:1804.08771), Papineni et al. 2002, Popović 2015 and 2017, Snover et al. 2006. Scores go from 0 to 100
(TER may go beyond); TER counts errors, so less is better.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, ClassVar

from moduformer.errors import DataError
from moduformer.metrics.bootstrap import bootstrap_totals
from moduformer.metrics.results import Scores, aligned, text_of, texts_of

if TYPE_CHECKING:
    import numpy

KINDS = ("bleu", "chrf", "chrf++", "ter")
TOKENIZERS = ("13a", "intl", "zh", "char", "none", "ja-mecab", "ko-mecab")
"""What BLEU may count. "ja-mecab" and "ko-mecab" need packages of their own; those of sacrebleu that fetch a model
("flores200", "spm") are left out, since nothing here asks the network."""

_BY_LANGUAGE = dict.fromkeys(("ja", "jpn", "ko", "kor", "th", "tha", "lo", "lao", "km", "khm", "my", "mya"), "char") | (
    dict.fromkeys(("zh", "zho", "chi", "cmn", "yue"), "zh")
)
_RESAMPLES = 1000


@dataclass(frozen=True)
class TranslationScore:
    """A corpus score, its 95 % percentile bootstrap interval over sentences, and sacrebleu's signature of it."""

    value: float
    interval: tuple[float, float]
    signature: str


@dataclass(frozen=True)
class TranslationMetrics(Scores):
    """Corpus scores of translations; None where one was not asked for.

    Attributes:
        examples: how many translations were scored.
        bleu, chrf, chrf_plus_plus, ter: the scores.
        tokenizer: what BLEU counted.
        precisions: BLEU's precisions of 1 to 4 tokens, in percent.
        brevity_penalty: BLEU's factor for translations that are too short.
        system_length, reference_length: tokens of the translations, and of the references nearest in length.
    """

    headline: ClassVar[str] = "bleu.value"

    examples: int
    bleu: TranslationScore | None
    chrf: TranslationScore | None
    chrf_plus_plus: TranslationScore | None
    ter: TranslationScore | None
    tokenizer: str | None
    precisions: tuple[float, ...] | None
    brevity_penalty: float | None
    system_length: int | None
    reference_length: int | None

    @property
    def score(self) -> float:
        """BLEU; where it was not asked for, the first score that was."""
        first = next(found for found in (self.bleu, self.chrf, self.chrf_plus_plus, self.ter) if found is not None)
        return first.value


def bleu_tokenizer(language: str | None) -> str:
    """What BLEU counts in a language unless told otherwise; it never depends on what is installed.

    Args:
        language: of the translations, as in "ko", "zh-CN" or "jpn_Jpan"; None where it is not known.

    Returns:
        "zh" for Chinese (characters, and words of other scripts), "char" for Japanese, Korean, Thai, Lao, Khmer and
        Burmese, else "13a". "char" figures are higher than those of words: compare equal signatures only.
    """
    if language is None:
        return "13a"
    return _BY_LANGUAGE.get(language.lower().replace("_", "-").split("-")[0], "13a")


def translation_metrics(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    language: str | None = None,
    tokenizer: str | None = None,
    kinds: Sequence[str] = KINDS,
    lowercase: bool = False,
    confidence: float = 0.95,
    seed: int = 0,
) -> TranslationMetrics:
    """Score translations.

    Args:
        predictions: a translation for each text.
        references: for each text one right translation, or several.
        language: of the translations; chooses what BLEU counts (see `bleu_tokenizer`).
        tokenizer: what BLEU counts, one of `TOKENIZERS`; None chooses by the language.
        kinds: which of `KINDS`; "ter" takes longer than the others together.
        lowercase: whether case counts for nothing; in TER it never does.
        confidence: of the intervals.
        seed: of the bootstrap over sentences.

    Returns:
        the scores.

    Raises:
        DataError: sacrebleu is not installed, no translations, lengths that differ, a text without references, a
            kind or a tokenizer that is not there.
    """
    aligned(references, predictions, "translations")
    if not kinds or (unknown := [kind for kind in kinds if kind not in KINDS]):
        raise DataError(f"there is no score {unknown[0] if kinds else 'asked for'!r}; choose from {', '.join(KINDS)}")
    guesses = [text_of(prediction, row, "prediction") for row, prediction in enumerate(predictions)]
    targets = [texts_of(reference, row, "reference") for row, reference in enumerate(references)]
    if empty := [row for row, texts in enumerate(targets) if not texts]:
        raise DataError(f"translation {empty[0]} has no reference")
    # sacrebleu wants the first references of all texts, then the second ones; None where a text has fewer.
    streams = [list(stream) for stream in zip_longest(*targets)]
    chosen = tokenizer or bleu_tokenizer(language)
    found: dict[str, TranslationScore] = {}
    bleu = None
    for kind in dict.fromkeys(kinds):
        metric = _metric(kind, chosen, lowercase)
        # The two steps of sacrebleu's own `corpus_score`, so that the counts serve the interval too.
        counts = metric._extract_corpus_statistics(guesses, streams)
        whole = metric._aggregate_and_compute(counts)
        interval = bootstrap_totals(counts, _score_of(metric), confidence, _RESAMPLES, seed)
        found[kind] = TranslationScore(float(whole.score), interval, str(metric.get_signature()))
        bleu = whole if kind == "bleu" else bleu
    return TranslationMetrics(
        len(guesses),
        found.get("bleu"),
        found.get("chrf"),
        found.get("chrf++"),
        found.get("ter"),
        chosen if bleu else None,
        tuple(float(value) for value in bleu.precisions) if bleu else None,
        float(bleu.bp) if bleu else None,
        int(bleu.sys_len) if bleu else None,
        int(bleu.ref_len) if bleu else None,
    )


def _metric(kind: str, tokenizer: str, lowercase: bool) -> Any:
    try:
        from sacrebleu.metrics import BLEU, CHRF, TER
    except ImportError:
        raise DataError(
            "scores of translations need the package sacrebleu; install it with `pip install 'moduformer[seq2seq]'`"
        ) from None
    if kind == "chrf":
        return CHRF(lowercase=lowercase)
    if kind == "chrf++":
        return CHRF(word_order=2, lowercase=lowercase)
    if kind == "ter":
        return TER()
    if tokenizer not in TOKENIZERS:
        raise DataError(f"BLEU cannot count {tokenizer!r} here; choose one of {', '.join(TOKENIZERS)}")
    try:
        return BLEU(lowercase=lowercase, force=True, tokenize=tokenizer)
    except (ImportError, RuntimeError, AssertionError):
        raise DataError(
            f"BLEU over {tokenizer!r} needs a dictionary that is not installed; "
            f"`pip install 'sacrebleu[{tokenizer[:2]}]'`, or leave the tokenizer out to count characters"
        ) from None


def _score_of(metric: Any) -> "Callable[[numpy.ndarray], numpy.ndarray]":
    def scores(sums: "numpy.ndarray") -> "numpy.ndarray":
        import numpy as np

        return np.array([metric._compute_score_from_stats(list(row)).score for row in sums])

    return scores
