"""What fine-tuning for any task shares: a pretrained body under a new head, adapters, and adaptation to the texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from moduformer.architecture import Head
from moduformer.atomic import write_text
from moduformer.errors import CheckpointError, TrainingError
from moduformer.loading import load
from moduformer.model import Model, build, materialise
from moduformer.train.adaptation import adapt
from moduformer.train.callbacks import Callback, History, json_safe
from moduformer.train.encoded import Encoded
from moduformer.train.recipes import Recipe
from moduformer.train.seeds import draw_head
from moduformer.weights.checkpoint import Origin

TERMINATED = "terminated"
"""How a training that was told to stop has ended; it can be resumed."""


class Job(Protocol):
    """What any training run says: where it starts, how it trains, where it writes and who watches."""

    @property
    def source(self) -> str | Path:
        """The pretrained model, as `moduformer.load` takes it."""
        ...

    @property
    def recipe(self) -> Recipe:
        """The recipe with every setting filled in."""
        ...

    @property
    def device(self) -> str | None:
        """Where to train; None is the CPU."""
        ...

    @property
    def callbacks(self) -> Sequence[Callback]:
        """Who watches."""
        ...

    @property
    def folder(self) -> Path | None:
        """Where logs and checkpoints go, or None."""
        ...

    @property
    def resume(self) -> bool:
        """Whether to go on from the folder's last checkpoint."""
        ...


def with_new_head(
    source: str | Path,
    otherwise: Head,
    labels: Sequence[str] | None,
    seed: int,
    device: str | None = None,
) -> Model:
    """A pretrained encoder (or decoder) with a new head, the same one for the same seed.

    A pooler that the checkpoint holds is kept; a head of this kind is not, since its labels are others.

    Arguments:
        source: what to start from.
        otherwise: the head for families that have none of its kind; its kind is what is wanted.
        labels: names of the head's outputs; None where they have no names.

    Raises:
        TrainingError: a quantised model, or one with an encoder and a decoder.
        CheckpointError, SourceError: as `load` does.
    """
    body = load(source, "feature-extraction", device)
    if body.quantization is not None:
        raise TrainingError(f"{source} is quantised and cannot be trained; start from its float checkpoint")
    if body.origin is None or (body.encoder is not None and body.decoder is not None):
        raise TrainingError(f"{source} has an encoder and a decoder; this task needs a model with one of them")
    member, config = body.origin.family, dict(body.origin.config)
    if labels is not None:
        config["id2label"] = {str(i): name for i, name in enumerate(labels)}
        config["label2id"] = {name: i for i, name in enumerate(labels)}
    try:
        architecture = member.architecture_with(otherwise.kind)
        heads = member.read(config, architecture).heads
    except CheckpointError:
        architecture, heads = "", (otherwise,)
    model = with_heads(body, heads, seed)
    model.labels = None if labels is None else tuple(labels)
    if architecture:
        model.origin = Origin(member, config | {"architectures": [architecture]}, dict(body.origin.dtypes))
    return model


def with_heads(model: Model, heads: tuple[Head, ...], seed: int) -> Model:
    """A model with these heads on the same embedding and stacks (shared, not copied).

    A pooler the model has already is kept, every other head is drawn anew.
    """
    made = build(replace(model.spec, heads=heads), device="meta")
    made.embedding, made.encoder, made.decoder = model.embedding, model.encoder, model.decoder
    drawn = []
    for head in heads:
        if head.kind == "pool" and head == model.spec.head("pool"):
            made.heads[head.kind] = model.heads[head.kind]
            continue
        materialise(made.heads[head.kind], model.device)
        draw_head(made, head.kind, seed)
        drawn.append(head.kind)
    made.tokenizer = model.tokenizer
    made.notes = [*model.notes, f"new and drawn at random: {' and '.join(drawn)} head"]
    return made.eval()


def attach_lora(model: Model, job: Job) -> Any:
    """Low-rank adapters on the model, where the recipe has them."""
    if job.recipe.lora is None:
        return None
    from moduformer.lora import Lora

    return Lora(model, job.recipe.lora, seed=job.recipe.settings.seed)


def adapted(model: Model, encoded: Encoded, job: Job) -> History | None:
    """Adapts the model's body to the texts as a language model, where the recipe says so."""
    if job.recipe.adaptation is None:
        return None
    tokenizer, settings = model.tokenizer, job.recipe.settings
    special = (tokenizer.token_to_id(token) for token in tokenizer.special_tokens.values())
    return adapt(
        _with_own_language_head(model, job),
        encoded,
        job.recipe.adaptation,
        mask_id=tokenizer.mask_id,
        special_ids=sorted({number for number in special if number is not None}),
        batch_size=settings.batch_size,
        seed=settings.seed,
        callbacks=job.callbacks,
        folder=None if job.folder is None else job.folder / "adaptation",
        resume=job.resume,
    )


def _with_own_language_head(model: Model, job: Job) -> Model:
    """The model's body under the checkpoint's own language-model head, where it has one."""
    task = "text-generation" if model.encoder is None else "fill-mask"
    try:
        own = load(job.source, task, job.device)
    except CheckpointError:
        return model
    own.embedding, own.encoder, own.decoder = model.embedding, model.encoder, model.decoder
    return own


def save_adapter(model: Model, adapter: Any, folder: Path, base: str) -> Path:
    """Writes low-rank adapters that are merged into their model in PEFT's layout, and the model's config beside them.

    Raises:
        TrainingError: the folder cannot be written.
    """
    from moduformer.lora import file_names

    assert model.origin is not None
    config = json.dumps(json_safe(model.origin.config), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    adapter.unmerge()
    try:
        path: Path = adapter.save(folder, model, file_names(model).__getitem__, base=base)
        write_text(folder / "config.json", config)
    except OSError as error:
        raise TrainingError(f"{folder} cannot be written: {error.strerror or error}") from None
    finally:
        adapter.merge()
    return path
