"""How an encoder-decoder learns to write one text about another: from a checkpoint, or from nothing but pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from moduformer.architecture import Spec
from moduformer.errors import DataError, TrainingError
from moduformer.families.presets import published
from moduformer.generate.sampling import positions_of
from moduformer.loading import load
from moduformer.model import Model
from moduformer.pipelines.summarization import Summarization
from moduformer.pipelines.text_to_text import Answering, TextToText
from moduformer.pipelines.translation import Translation
from moduformer.tasks.fine_tuning import attach_lora
from moduformer.train.adaptation import LARGE_VOCABULARY
from moduformer.train.callbacks import Callback, History
from moduformer.train.encoded import Encoded
from moduformer.train.evaluation import mean_loss
from moduformer.train.groups import Only
from moduformer.train.loop import train
from moduformer.train.objectives import SequenceToSequence
from moduformer.train.pairs import Pairs, split_pairs
from moduformer.train.recipes import Recipe
from moduformer.train.scratch import Size, train_translation

TASKS: Mapping[str, type[Answering[Any]]] = {
    "translation": Translation,
    "summarization": Summarization,
    "text2text-generation": TextToText,
}
"""What is written, and the pipeline that writes it."""

TRANSFORMER = "transformer"
"""The name of the 2017 Transformer, trained from scratch."""

SCRATCH_EPOCHS, SCRATCH_BATCH = 10, 64

_SPARE = 8
"""Tokens an answer may be longer than the longest target that was learned."""


@dataclass
class Training:
    """One training run; `source` is a checkpoint's name, or that of an architecture (see `from_scratch`).

    Attributes:
        task: one of `TASKS`; `languages` are those of source and target, where the model needs them.
        size: of a model from scratch; see `Size`.
        max_source, max_target: tokens of a source and a target; None takes what the model reads and writes.
        patience: stop after so many epochs without a lower loss on a tenth of the pairs set aside, and keep the best.
    """

    source: str | Path
    recipe: Recipe
    examples: Pairs
    evaluation: Pairs | None = None
    task: str = "translation"
    languages: tuple[str | None, str | None] = (None, None)
    size: Size | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    label_smoothing: float = 0.0
    max_source: int | None = None
    max_target: int | None = None
    device: str | None = None
    callbacks: Sequence[Callback] = ()
    folder: Path | None = None
    resume: bool = False
    patience: int | None = None


@dataclass
class Trained:
    """A trained model, how its training went, the recipe as it was used (None from scratch), and what was read."""

    model: Model
    history: History
    recipe: Recipe | None
    report: dict[str, int]
    lora: Any = None


def from_scratch(source: str | Path) -> bool:
    """Whether a name is that of an architecture to be trained from nothing: "transformer", "seq2seq-gru", ..."""
    return str(source) == TRANSFORMER or str(source) in published("recurrent_seq2seq")


def train_pairs(job: Training) -> Trained:
    """Runs a job.

    Raises:
        DataError, TrainingError, CheckpointError, SourceError, TextError: what stands in its way.
    """
    if from_scratch(job.source):
        return _train_from_scratch(job)
    choice = None
    if job.patience is not None:
        kept, choice = split_pairs(job.examples, 0.1, job.recipe.settings.seed)
        settings = replace(job.recipe.settings, metric="choice_loss", greater_is_better=False, patience=job.patience)
        job = replace(job, examples=kept, recipe=replace(job.recipe, settings=settings))
    model = load(job.source, "text-generation", job.device)
    if model.quantization is not None:
        raise TrainingError(f"{job.source} is quantised and cannot be trained; start from its float checkpoint")
    if model.encoder is None or model.decoder is None:
        raise TrainingError(f"{job.source} has no encoder beside its decoder; use LanguageModel for decoders")
    recipe = _for_writing(job.recipe.for_model(model.spec), model)
    job = replace(job, recipe=recipe)
    pipe = pipeline_of(model, job.task, job.languages)
    examples, report = encoded_pairs(pipe, job.examples, job.max_source, job.max_target)
    objective = SequenceToSequence(label_smoothing=job.label_smoothing)
    lora = attach_lora(model, job)
    history = train(
        model,
        examples,
        None,
        recipe.settings,
        objective=objective,
        adapters=lora,
        evaluate=_evaluator(job, pipe, choice),
        callbacks=job.callbacks,
        folder=job.folder,
        resume=job.resume,
    )
    _bound(model, examples)
    return Trained(model, history, recipe, report, lora)


def pipeline_of(model: Model, task: str, languages: tuple[str | None, str | None] = (None, None)) -> Answering[Any]:
    """The pipeline of a task on a model. Raises `DataError` for a task that is none."""
    if task not in TASKS:
        raise DataError(f"task is {task!r}; use one of {', '.join(TASKS)}")
    spoken: dict[str, Any] = {"src_lang": languages[0], "tgt_lang": languages[1]} if task == "translation" else {}
    return TASKS[task](model, **{name: value for name, value in spoken.items() if value is not None})


def encoded_pairs(
    pipe: Answering[Any], pairs: Pairs, max_source: int | None = None, max_target: int | None = None
) -> tuple[Encoded, dict[str, int]]:
    """Pairs as a model learns them, and how many there are; the first target of each is learned.

    What is longer than the bounds is cut at its end, and counted: `sources_cut`, `targets_cut`, `tokens_dropped`.
    """
    options, tokenizer = pipe.configured({}), pipe.tokenizer
    assert tokenizer is not None
    writer, model = tokenizer.of_targets(), pipe.model
    first, last = pipe.forced_first(options), _end(model, writer)
    limits = (_least(max_source, pipe.limit), _least(max_target, positions_of(model)))
    rows: list[list[int]] = []
    targets: list[list[int]] = []
    cut = [0, 0, 0]
    for source, wanted in zip(pairs.sources, pairs.targets):
        read = pipe.frame_ids(source, options)
        if limits[0] is not None and len(read) > limits[0]:
            cut[0], cut[2] = cut[0] + 1, cut[2] + len(read) - limits[0]
            read = pipe.shortened(read, limits[0], options)
        written = list(writer.encode(wanted[0]).ids)
        if first is not None:
            # mBART: the target's language closes it, and begins what the decoder reads.
            written = [first if token in pipe.language_ids() else token for token in written]
        elif written[-1:] != [last]:
            written.append(last)
        if limits[1] is not None and len(written) > limits[1]:
            cut[1], cut[2] = cut[1] + 1, cut[2] + len(written) - limits[1]
            written = [*written[: limits[1] - 1], written[-1]]
        rows.append(read)
        targets.append(written)
    encoded = Encoded.of(rows, targets=targets)
    assert encoded.targets is not None
    report = {
        "pairs": len(pairs),
        "source_tokens": int(encoded.ids.lengths.sum()),
        "target_tokens": int(encoded.targets.lengths.sum()),
        "longest_target": int(encoded.targets.lengths.max()),
        "sources_cut": cut[0],
        "targets_cut": cut[1],
        "tokens_dropped": cut[2],
    }
    return encoded, report


def _end(model: Model, tokenizer: Any) -> int:
    own = model.spec.eos_id
    ends = own if isinstance(own, tuple) else () if own is None else (own,)
    end = tokenizer.eos_id if tokenizer.eos_id in ends or not ends else ends[0]
    if end is None:
        raise TrainingError("neither the model nor its tokenizer has an end token, so it could not learn to stop")
    return int(end)


def _least(*bounds: int | None) -> int | None:
    return min((bound for bound in bounds if bound is not None), default=None)


def _for_writing(recipe: Recipe, model: Model) -> Recipe:
    """The recipe as a model that writes needs it: its table of tokens is what it chooses from, and trains whole."""
    if recipe.linear_head or recipe.adaptation is not None:
        raise TrainingError(f"recipe {recipe.name!r} is for classifying; use plain, ulmfit or lora")
    settings = recipe.settings
    if recipe.lora is not None:
        return replace(recipe, settings=replace(settings, policy=Only(("adapters",))))
    table: Literal["frozen", "dense"] = "frozen" if model.spec.vocab > LARGE_VOCABULARY else "dense"
    return replace(recipe, settings=replace(settings, embedding=table))


def _evaluator(job: Training, pipe: Answering[Any], choice: Pairs | None) -> Callable[[Model], dict[str, float]] | None:
    parts = {"": job.evaluation, "choice_": choice}
    encoded = {
        name: encoded_pairs(pipe, part, job.max_source, job.max_target)[0]
        for name, part in parts.items()
        if part is not None
    }
    if not encoded:
        return None
    objective = SequenceToSequence()

    def evaluate(model: Model) -> dict[str, float]:
        losses = {name: mean_loss(model, rows, None, objective) for name, rows in encoded.items()}
        found = {f"{name}loss": loss for name, loss in losses.items()}
        return found | {f"{name}perplexity": float(np.exp(min(loss, 700.0))) for name, loss in losses.items()}

    return evaluate


def _bound(model: Model, examples: Encoded) -> None:
    """Remembers how long answers may be: a little longer than the longest that was learned."""
    assert examples.targets is not None
    longest = int(examples.targets.lengths.max()) + _SPARE
    room = positions_of(model)
    stored = {name: value for name, value in (model.generation_config or {}).items() if name != "max_length"}
    model.generation_config = stored | {"max_new_tokens": longest if room is None else min(longest, room)}


# From nothing ---------------------------------------------------------------------------------------------------------


def _train_from_scratch(job: Training) -> Trained:
    """An untrained architecture and a vocabulary of its own, trained as the 2017 paper trains (`train.scratch`)."""
    if job.device not in (None, "cpu") or job.recipe.name != "plain" or job.patience is not None:
        raise TrainingError(f"{job.source} is trained from scratch on the CPU; device, recipe and patience are fixed")
    size = job.size or Size()
    chosen: Size | Spec = size if str(job.source) == TRANSFORMER else recurrent_spec(str(job.source), size)
    pairs = [(source, targets[0]) for source, targets in zip(job.examples.sources, job.examples.targets)]
    held = None if job.evaluation is None else job.evaluation

    def evaluate(model: Model) -> dict[str, float]:
        assert held is not None
        loss = mean_loss(model, encoded_pairs(pipeline_of(model, job.task), held)[0], None, SequenceToSequence())
        return {"loss": loss, "perplexity": float(np.exp(min(loss, 700.0)))}

    model, history = train_translation(
        pairs,
        chosen,
        epochs=job.epochs or SCRATCH_EPOCHS,
        batch_size=job.batch_size or SCRATCH_BATCH,
        learning_rate=job.learning_rate,
        label_smoothing=job.label_smoothing,
        seed=job.recipe.settings.seed,
        precision=job.recipe.settings.precision,
        evaluate=None if held is None else evaluate,
        evaluate_every=None if held is None else 500,
        callbacks=job.callbacks,
        folder=job.folder,
        resume=job.resume,
    )
    examples, report = encoded_pairs(pipeline_of(model, job.task), job.examples)
    _bound(model, examples)
    return Trained(model, history, None, report)


def recurrent_spec(name: str, size: Size) -> Spec:
    """A published recurrent architecture in another size: `d_model` everywhere, `layers` in both stacks of several."""
    stored = published("recurrent_seq2seq")[name]["spec"]

    def resized(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {inner: resized(entry, inner) for inner, entry in value.items()}
        if key in ("width", "dim"):
            return size.d_model
        if key == "layers":
            return min(value, size.layers)
        return size.vocab if key in ("vocab", "target_vocab") else value

    return Spec.from_dict(resized(dict(stored)))
