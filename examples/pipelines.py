"""Every task in a few lines, with the model it takes when none is named. Needs no network once the models are here.

python examples/pipelines.py             the defaults; a task whose default cannot be had is named and skipped
unshare -rn python examples/pipelines.py proves that nothing is fetched
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import moduformer as mf
from moduformer.errors import ModuformerError

CONTEXT = (
    "The Transformer was published in June 2017 by eight people, most of whom worked at Google in Mountain View. "
    "It replaced recurrent networks in translation, and soon in everything else that reads text."
)


def text_classification(pipe: Any) -> None:
    """One text, several, all labels, a long text."""
    show("pipe('...')", pipe("A warm, funny film with a wonderful cast."))
    show("pipe([...])", pipe(["What a waste of an evening.", "Good story, awful sound."]))
    show("pipe('...', top_k=None)", pipe("Good story, awful sound.", top_k=None))
    show("pipe(a long text, details=True)", pipe("It went on and on. " * 300, details=True))


def token_classification(pipe: Any) -> None:
    """Entities."""
    text = "Kim Minji moved from Seoul to Paris to work for Samsung."
    show("pipe('...', aggregation_strategy='simple')", pipe(text, aggregation_strategy="simple"))
    show("pipe('...')", pipe(text)[:2])


def question_answering(pipe: Any) -> None:
    """The answer to a question, in the words of a text."""
    found = pipe(question="When was the Transformer published?", context=CONTEXT)
    show("pipe(question='...', context='...')", found)
    show("context[start:end]", CONTEXT[found["start"] : found["end"]])


def summarization(pipe: Any) -> None:
    """A shorter text."""
    show("pipe('...', max_new_tokens=40)", pipe(CONTEXT, max_new_tokens=40, do_sample=False))


def translation(pipe: Any) -> None:
    """A text in another language."""
    show("pipe('...')", pipe("How old are you?"))


def text_generation(pipe: Any) -> None:
    """A continuation, and an answer in a conversation."""
    show("pipe('...', max_new_tokens=12)", pipe("Once upon a time", max_new_tokens=12, do_sample=False))
    messages = [{"role": "user", "content": "Name one colour."}]
    show("pipe([messages])", pipe(messages, max_new_tokens=12, do_sample=False))


def feature_extraction(pipe: Any) -> None:
    """A vector for each token, and for a whole text."""
    found = pipe("This is a test.")
    show("the shape of pipe('...')", [len(found), len(found[0]), len(found[0][0])])
    one, two, three = pipe(
        ["A man plays a guitar.", "Someone makes music.", "Shares fell."], pooling="mean", normalize=True
    )
    show("cosines of sentence vectors", [round(sum(map(float.__mul__, one, other)), 4) for other in (two, three)])


def fill_mask(pipe: Any) -> None:
    """Tokens for a mask."""
    mask = pipe.tokenizer.special_tokens["mask"]
    # The model that comes along reads Korean; the hub's default reads English.
    text, targets = f"Seoul is the {mask} of Korea.", ["capital", "middle"]
    if pipe.tokenizer.token_to_id("영화") is not None:
        text, targets = f"이 영화 정말 {mask}.", ["재미없다", "좋다"]
    show("pipe('...', top_k=2)", pipe(text, top_k=2))
    show("pipe('...', targets=[...])", pipe(text, targets=targets))


def zero_shot_classification(pipe: Any) -> None:
    """Labels of one's own."""
    text = "My telephone does not ring any more, please help at once!"
    show("pipe('...', [labels])", pipe(text, candidate_labels=["urgent", "not urgent", "phone", "tablet"]))


TASKS: dict[str, Callable[[Any], None]] = {
    "text-classification": text_classification,
    "token-classification": token_classification,
    "question-answering": question_answering,
    "summarization": summarization,
    "translation_en_to_ja": translation,
    "text-generation": text_generation,
    "feature-extraction": feature_extraction,
    "fill-mask": fill_mask,
    "zero-shot-classification": zero_shot_classification,
}


def show(call: str, result: Any) -> None:
    """A call and what it gave."""
    print(f"  {call}\n    {json.dumps(result, ensure_ascii=False)[:600]}")


def main() -> int:
    """Runs every task; returns 1 if one that has its default failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="only these")
    options = parser.parse_args()
    skipped: dict[str, str] = {}
    failed = []
    for task in options.tasks or TASKS:
        start = time.perf_counter()
        print(f"\n{task}")
        try:
            pipe = mf.pipeline(task)
        except ModuformerError as error:
            skipped[task] = str(error).splitlines()[0]
            print("  skipped")
            continue
        print(f"  ({pipe.notes[0]})")
        try:
            TASKS[task](pipe)
        except ModuformerError as error:
            print(f"  failed: {error}")
            failed.append(task)
        print(f"  {time.perf_counter() - start:.1f} s")
    print(f"\n{len(TASKS if not options.tasks else options.tasks) - len(skipped)} tasks ran with their default models")
    for task, why in skipped.items():
        print(f"no default for {task}: {why}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
