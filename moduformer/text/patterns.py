"""Which regular expressions of a tokenizer file may run on user text.

The tokenizer library runs them on a backtracking engine (Oniguruma) without a limit, so `(a+)+$` on forty characters
takes years. Patterns of published tokenizers are known by heart; any other has to pass a structural screen (no
repeat inside a repeat) and then a trial on awkward text in a child process that is killed when it is slow.
"""

import json
import re
import subprocess
import sys
import warnings
from functools import lru_cache

from ..errors import TextError

MAX_PATTERN = 2000
#: Processor seconds of the trial, and the wall clock after which it is given up on a busy machine.
TRIAL_SECONDS = 1
TRIAL_PATIENCE = 8.0

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"

#: Patterns of published tokenizers (GPT-2, CLIP, GPT-4, Llama 3, Qwen, GPT-4o, DeepSeek, Unigram converters).
KNOWN = frozenset(
    {
        r"\s+",
        r"\s",
        r" {2,}",
        r"\d",
        r"\p{N}",
        r"\p{N}{1,3}",
        r"[0-9]",
        r"[^\S\n]+",
        r"\s{2,}|[\n\r\t]",
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
        _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    }
)


_ONE_CLASS = re.compile(r"\[\^?(?:[^\\\[\]&]|\\x[0-9a-f]{2})+\]\+?")
"""A single class of characters, perhaps repeated: one look at each character of the text."""


def screen_pattern(pattern: str, where: str) -> None:
    """Refuse a regular expression that could run for very long on some text.

    Args:
        pattern: the expression as written in the file (Oniguruma syntax).
        where: what to name in the error message.

    Raises:
        TextError: nested repeats, back references, over-long expressions, and whatever fails the trial.
    """
    if pattern in KNOWN:
        return
    if len(pattern) <= MAX_PATTERN and _ONE_CLASS.fullmatch(pattern):
        # Nothing can follow that would make the engine go back.
        return
    if len(pattern) > MAX_PATTERN:
        raise TextError(f"{where}: a regular expression of {len(pattern)} characters; {MAX_PATTERN} are allowed.")
    _screen_structure(pattern, where)
    verdict = _trial(pattern)
    if verdict:
        raise TextError(f"{where}: the regular expression {pattern[:80]!r} {verdict}; remove or replace it.")


def _screen_structure(pattern: str, where: str) -> None:
    # The engine's Unicode classes are unknown to `re`; for the shape of the expression any class will do.
    plain = re.sub(r"\\[pP]\{\^?\w+\}", r"\\w", pattern)
    plain = re.sub(r"\[\[:\^?\w+:\]\]|\[:\^?\w+:\]", r"\\w", plain)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = re._parser.parse(plain)  # type: ignore[attr-defined]
    except (re.error, RecursionError, OverflowError, ValueError):
        # Syntax that only the real engine knows: the trial alone decides.
        return
    problem = _nested_repeat(parsed, inside=False, depth=0)
    if problem:
        raise TextError(
            f"{where}: the regular expression {pattern[:80]!r} has {problem}, which can take exponential time on "
            f"some text; remove or replace it."
        )


def _nested_repeat(items: object, inside: bool, depth: int) -> str:
    if depth > 50:
        return "groups nested more than 50 deep"
    for operation, argument in items:  # type: ignore[attr-defined]
        name = str(operation)
        if name in ("GROUPREF", "GROUPREF_EXISTS", "GROUPREF_IGNORE"):
            return "a back reference"
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, body = argument
            varies = int(most) != int(least)
            if inside and varies and not (int(least) == 0 and int(most) == 1 and len(body) == 1):
                return "a repeat inside a repeat"
            found = _nested_repeat(body, inside or int(most) > 10, depth + 1)
        elif name == "POSSESSIVE_REPEAT":
            found = _nested_repeat(argument[2], inside, depth + 1)
        elif name == "ATOMIC_GROUP":
            found = _nested_repeat(argument, inside, depth + 1)
        elif name == "BRANCH":
            found = next(filter(None, (_nested_repeat(branch, inside, depth + 1) for branch in argument[1])), "")
        elif name == "SUBPATTERN":
            found = _nested_repeat(argument[-1], inside, depth + 1)
        elif name in ("ASSERT", "ASSERT_NOT"):
            found = _nested_repeat(argument[1], inside, depth + 1)
        else:
            found = ""
        if found:
            return found
    return ""


# Runs alone, so that a pattern that never ends costs a child process and not this one.
_TRIAL = """
import json, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[1]), int(sys.argv[1]) + 1))
except ImportError:
    pass
from tokenizers import Regex, pre_tokenizers
pattern, texts = json.loads(sys.stdin.readline())
split = pre_tokenizers.Split(Regex(pattern), "isolated")
print("ready", flush=True)
for text in texts:
    split.pre_tokenize_str(text)
print("done", flush=True)
"""


@lru_cache(maxsize=256)
def _trial(pattern: str) -> str:
    letters = sorted(set("aA1 \n\t.'_é한\u0301") | {c for c in pattern if c.isalnum() or c.isspace()})[:24]
    # The engine gives up at once on a text that lacks a character the pattern needs, so all of them come at the end.
    end = "\x01" + "".join(sorted(set(pattern)))
    texts = [letter * 20_000 + end for letter in letters]
    texts += [(a + b) * 10_000 + end for a, b in zip(letters, letters[1:] + letters[:1])]
    child = subprocess.Popen(
        [sys.executable, "-c", _TRIAL, str(TRIAL_SECONDS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        output, _ = child.communicate((json.dumps([pattern, texts]) + "\n").encode(), timeout=TRIAL_PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        output, _ = child.communicate()
    if b"done" in output:
        return ""
    return "is not one the engine accepts" if b"ready" not in output else "was too slow on a trial text"
