"""The recipes: named ways of fine-tuning, as data over the one loop.

`recipe("plain", epochs=5)` gives a recipe with a setting changed. Names of Hugging Face's `TrainingArguments` are
understood too: `recipe("plain", num_train_epochs=5, per_device_train_batch_size=16)`.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from moduformer.architecture import Spec
from moduformer.errors import TrainingError
from moduformer.lora import LoraSettings
from moduformer.train.adaptation import Adaptation
from moduformer.train.groups import RATE_DECAY, GradualUnfreezing, Only
from moduformer.train.schedule import Constant, Cosine, LinearWarmup, Schedule, SlantedTriangular
from moduformer.train.settings import Settings, plain


@dataclass(frozen=True)
class Recipe:
    """A named way of fine-tuning.

    Attributes:
        name: what users call it.
        summary: one line for people.
        settings: of the loop. Their learning rate is meant for six layers of width 384.
        rate_by_size: deeper and wider models get a lower rate (see `for_model`); a rate that somebody sets stays.
        lora: adapters to attach first; None: the model's own weights train.
        adaptation: language-model training to do first, if any.
        linear_head: a linear classifier is fitted to the encoder's mean features (see `features.fit_features`).
        contrast: before that, the encoder learns to give texts of one class like features, those of others unlike ones
            (see `objectives.Contrast`); without it, an encoder with a `linear_head` is only read.
    """

    name: str
    summary: str
    settings: Settings = field(default_factory=Settings)
    lora: LoraSettings | None = None
    adaptation: Adaptation | None = None
    linear_head: bool = False
    contrast: bool = False
    rate_by_size: bool = True

    @property
    def trains(self) -> bool:
        """Whether the encoder is trained, or adapters on it, and not only read."""
        return self.contrast or not self.linear_head

    def for_model(self, spec: Spec) -> Recipe:
        """The recipe with the learning rate for a model of this size: in inverse proportion to depth and width.

        What is safe for six layers of 384 breaks twelve of them down to guessing in some seeds. The rule gives
        BERT-base a quarter of it and BERT-large a tenth, about what their authors use (Devlin et al. 2019, A.3).
        """
        if not self.rate_by_size:
            return self
        layers = sum(stack.layers for stack in (spec.encoder, spec.decoder) if stack is not None)
        share = min(1.0, _RATED_FOR / (layers * spec.dim))
        rate = float(f"{self.settings.learning_rate * share:.2g}")
        return replace(self, settings=replace(self.settings, learning_rate=rate), rate_by_size=False)

    def resolve(self, **overrides: Any) -> Recipe:
        """The recipe with settings changed.

        Args:
            overrides: fields of `Settings`, of `LoraSettings` as `lora_rank`, `lora_alpha`, `lora_dropout`,
                `lora_targets`, `adapt` (epochs of language-model adaptation; 0 or None: none), or names of
                `TrainingArguments`. None leaves a setting as it is.

        Raises:
            TrainingError: an unknown name (the message suggests the nearest), or a value that cannot be.
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        changed = self
        if "adapt" in given:
            epochs = int(given.pop("adapt"))
            adaptation = replace(self.adaptation or Adaptation(), epochs=epochs) if epochs else None
            changed = replace(changed, adaptation=adaptation)
        lora = {name.removeprefix("lora_"): given.pop(name) for name in list(given) if name in _LORA}
        if lora:
            if self.lora is None:
                raise TrainingError(f"recipe {self.name!r} has no adapters; use recipe 'lora' to set lora_{min(lora)}")
            if "targets" in lora:
                lora["targets"] = tuple(lora["targets"])
            changed = replace(changed, lora=replace(self.lora, **lora))
        settings = _from_training_arguments(given, changed.settings)
        known = {f.name for f in dataclasses.fields(Settings)}
        for name in settings:
            if name not in known:
                near = difflib.get_close_matches(name, [*known, *_ALIASES, *_LORA, "adapt"], 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise TrainingError(f"there is no setting called {name!r}{hint}")
        own_rate = self.rate_by_size and "learning_rate" not in settings
        return replace(changed, settings=replace(changed.settings, **settings), rate_by_size=own_rate)


_RATED_FOR = 6 * 384
"""Layers times width of the model that the recipes' rates were measured on."""

_LORA = ("lora_rank", "lora_alpha", "lora_dropout", "lora_targets")

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("plain", "all layers at one rate, rising then falling", Settings(learning_rate=2e-4, epochs=4)),
        Recipe(
            "lora",
            "low-rank adapters on q and v and the head; the base stays as it is",
            Settings(learning_rate=1e-3, epochs=4, policy=Only(("head", "adapters")), weight_decay=0.0),
            lora=LoraSettings(),
        ),
        Recipe(
            "ulmfit",
            "a lower rate for lower layers, slanted triangular over time, unfrozen from the top",
            Settings(
                learning_rate=1e-3,
                epochs=8,
                rate_decay=RATE_DECAY,
                schedule=SlantedTriangular(),
                policy=GradualUnfreezing(),
            ),
        ),
        Recipe("features", "a linear classifier on the frozen encoder's mean features", linear_head=True),
        Recipe(
            "contrast",
            "texts of one class are drawn together first, then as features; for few texts a class",
            Settings(learning_rate=2e-4, epochs=20),
            linear_head=True,
            contrast=True,
        ),
    )
}


def recipe_record(recipe: Recipe) -> dict[str, Any]:
    """A recipe as `settings.json` keeps it."""
    return {
        "name": recipe.name,
        "settings": recipe.settings.identity(),
        "lora": plain(recipe.lora),
        "adaptation": plain(recipe.adaptation),
    }


def recipe(name: str, **overrides: Any) -> Recipe:
    """A recipe by name, with settings changed (see `Recipe.resolve`). Raises `TrainingError` on an unknown name."""
    if name not in RECIPES:
        raise TrainingError(f"there is no recipe called {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name].resolve(**overrides)


_ALIASES = {
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "train_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulate",
    "adam_epsilon": "eps",
    "eval_steps": "evaluate_every",
    "save_steps": "save_every",
    "gradient_checkpointing": "recompute",
    "logging_steps": "log_every",
    "metric_for_best_model": "metric",
    "early_stopping_patience": "patience",
    "load_best_model_at_end": "keep_best",
    "random_state": "seed",
    "data_seed": "seed",
}
"""`TrainingArguments` that are settings here under another name; those that need more are in the function below."""

_SCHEDULES: Mapping[str, type] = {"linear": LinearWarmup, "cosine": Cosine, "constant": Constant}

# What never needs saying here: padding is absent, optimizers are one, rows of equal length meet anyway.
_NEEDLESS = {"group_by_length", "length_column_name", "optim", "output_dir", "overwrite_output_dir", "report_to",
             "per_device_eval_batch_size", "save_total_limit", "disable_tqdm", "remove_unused_columns", "do_train",
             "do_eval", "dataloader_num_workers", "push_to_hub", "logging_strategy"}  # fmt: skip


def _from_training_arguments(given: Mapping[str, Any], base: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    rest = {name: value for name, value in given.items() if name not in _NEEDLESS}
    betas = (rest.pop("adam_beta1", base.betas[0]), rest.pop("adam_beta2", base.betas[1]))
    if betas != base.betas:
        found["betas"] = betas
    warmup = rest.pop("warmup_ratio", None)
    kind = rest.pop("lr_scheduler_type", None)
    if kind is not None or warmup is not None:
        found["schedule"] = _schedule(kind, warmup, base.schedule)
    for precision in ("bf16", "fp16"):
        if rest.pop(precision, False):
            if precision == "fp16":
                raise TrainingError("fp16 is not offered, since its range overflows; use bf16=True on an accelerator")
            found["precision"] = "bfloat16"
    if rest.get("max_steps", 1) < 1:
        rest.pop("max_steps")  # -1 means no limit there
    strategies = {
        "evaluation_strategy": "evaluate_every",
        "eval_strategy": "evaluate_every",
        "save_strategy": "save_every",
    }
    for name, target in strategies.items():
        strategy = rest.pop(name, None)
        if strategy == "no":
            found[target] = None
        elif strategy == "epoch":
            found[target] = "epoch"
    for name, value in rest.items():
        target = _ALIASES.get(name, name)
        if target in found and found[target] in (None, "epoch") and target.endswith("_every"):
            continue
        if target in found and found[target] != value:
            raise TrainingError(f"{name} and another argument both set {target}; give one of them")
        found[target] = value
    if isinstance(found.get("epochs"), float) and found["epochs"].is_integer():
        found["epochs"] = int(found["epochs"])
    return found


def _schedule(kind: Any, warmup: float | None, base: Schedule) -> Schedule:
    if kind is None:
        if not hasattr(base, "warmup"):
            raise TrainingError(f"warmup_ratio has no meaning for the schedule {type(base).__name__}")
        return replace(base, warmup=warmup)  # type: ignore[type-var]
    name = str(getattr(kind, "value", kind))
    if name not in _SCHEDULES:
        raise TrainingError(f"lr_scheduler_type {name!r} is not known; there are {', '.join(_SCHEDULES)}")
    made = _SCHEDULES[name]
    share = 0.0 if warmup is None else warmup
    schedule: Schedule = made() if made is Constant else made(share)
    return schedule


__all__ = ["RECIPES", "Adaptation", "Recipe", "recipe"]
