"""What a family is: two tables that relate its files to a spec and a model. Nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from moduformer.architecture import Block, Head, Spec, Stack
from moduformer.errors import CheckpointError
from moduformer.families.presets import published
from moduformer.weights import config as configs
from moduformer.weights.alternatives import spelled_out
from moduformer.weights.config import Config, Rule
from moduformer.weights.plan import Row


def spelled_out_rows(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows whose names have `[a b]` as those that they stand for (see `weights.alternatives`)."""
    found: list[Row] = []
    for row in rows:
        names = [spelled_out(name) for name in (row.file, row.name, *row.also)]
        longest = max(map(len, names))
        each = (several * longest if len(several) == 1 else several for several in names)
        found += (replace(row, file=file, name=name, also=tuple(also)) for file, name, *also in zip(*each, strict=True))
    return tuple(found)


@dataclass(frozen=True)
class Architecture:
    """One class name of `config.json`'s `architectures`: its heads, the prefix of the body's tensors (None: the
    family's), which parts of the template it leaves out, and the heads of its image encoder."""

    heads: tuple[Head, ...] = ()
    prefix: str | None = None
    without: tuple[str, ...] = ()
    image_heads: tuple[Head, ...] = ()


@dataclass(frozen=True)
class Computed:
    """A tensor that files hold although the spec says what is in it: `values(spec, shape)` must be equal to it."""

    file: str
    values: Callable[[Spec, tuple[int, ...]], Tensor]


@dataclass(frozen=True)
class Dialect:
    """Another container of the same family, such as GGUF: its header as a config, and its tensors' names."""

    config: Callable[[Mapping[str, Any]], dict[str, Any]]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        """Keeps the rows spelled out."""
        object.__setattr__(self, "rows", spelled_out_rows(self.rows))


@dataclass(frozen=True)
class Family:
    """A model type: a template spec, the rules for its config and the rows of its tensors.

    `unused` are patterns of tensors that files hold but that are not parameters. `older_names` are parts of tensor
    names and `older_keys` keys of a config that files have in place of today's. `computed` are tensors that are not
    learned but may be there. `labels` is how many a config means that names none. `variant` tells, of a config of this
    model type, to which of several families it belongs; `name` is what this one is called here if not its model type.
    """

    model_type: str
    template: Spec
    rules: tuple[Rule, ...]
    rows: tuple[Row, ...]
    architectures: Mapping[str, Architecture]
    prefix: str = ""
    unused: tuple[str, ...] = ()
    dialects: Mapping[str, Dialect] = field(default_factory=dict)
    older_names: tuple[tuple[str, str], ...] = ()
    variant: Callable[[Config], Family] | None = None
    older_keys: Mapping[str, str] = field(default_factory=dict)
    computed: tuple[Computed, ...] = ()
    labels: int = 2
    name: str | None = None

    def __post_init__(self) -> None:
        """Keeps the rows spelled out."""
        object.__setattr__(self, "rows", spelled_out_rows(self.rows))

    @cached_property
    def presets(self) -> Mapping[str, Mapping[str, Any]]:
        """The configs of its published sizes, by name."""
        return published(self.name or self.model_type)

    def read(self, config: Config, architecture: str | None = None) -> Spec:
        """The spec of a config, with the heads of one of the family's architectures (the body alone if None)."""
        chosen = self.architecture(architecture)
        config = {**config, **{new: config[old] for old, new in self.older_keys.items() if old in config}}
        left_out: dict[str, Any] = dict.fromkeys(chosen.without)
        body = replace(self.template, heads=chosen.heads, **left_out)
        if body.vision is not None:
            body = replace(body, vision=replace(body.vision, heads=chosen.image_heads))
        spec = configs.read(body, self.rules, config, chosen.without)
        outputs = num_labels(config, self.labels)
        heads = tuple(
            replace(head, outputs=outputs) if head.kind in ("classify", "tag") else head for head in spec.heads
        )
        return replace(spec, heads=heads)

    def of(self, config: Config) -> Family:
        """This family, or the one of its model type that a config describes."""
        return self if self.variant is None else self.variant(config)

    def write(self, spec: Spec) -> dict[str, Any]:
        """The config of a spec, without labels."""
        return {"model_type": self.model_type, **configs.write(spec, self.rules)}

    def architecture(self, name: str | None) -> Architecture:
        """An architecture by class name. Raises `CheckpointError` for one the family does not have."""
        if name is None:
            name = next(iter(self.architectures))
        if name not in self.architectures:
            raise CheckpointError(
                f"config.json: architecture {name!r:.80} is not known for {self.model_type}; "
                f"known: {', '.join(self.architectures)}"
            )
        return self.architectures[name]

    def prefix_of(self, name: str | None) -> str:
        """What the body's tensors are prefixed with in files of this architecture."""
        prefix = self.architecture(name).prefix
        return self.prefix if prefix is None else prefix

    def architecture_with(self, kind: str) -> str:
        """The first architecture whose last head is of this kind ("body" for none). Raises `CheckpointError`."""
        for name, architecture in self.architectures.items():
            kinds: list[str] = [head.kind for head in architecture.heads] or ["body"]
            if kinds[-1] == kind or (kind == "body" and kinds == ["pool"]):
                return name
        raise CheckpointError(f"{self.model_type} has no architecture with a {kind} head")

    def architecture_of(self, spec: Spec) -> str:
        """The architecture whose heads a spec has. Raises `CheckpointError`."""
        kinds, fitting = [head.kind for head in spec.heads], []
        for name, architecture in self.architectures.items():
            left_out = {part for part in _PARTS if getattr(spec, part) is None}
            fits = set(architecture.without) <= left_out and left_out - set(architecture.without) <= {
                part for part in _PARTS if getattr(self.template, part) is None
            }
            image_heads = spec.vision.heads if spec.vision else ()
            fits = fits and [head.kind for head in image_heads] == [head.kind for head in architecture.image_heads]
            # A body may lack the pooler that its class has: see `weights.checkpoint`.
            bodies: tuple[list[str], list[str]] = ([head.kind for head in architecture.heads], [])
            if kinds in bodies[: 2 if bodies[0] == ["pool"] else 1] and fits:
                fitting.append(name)
        if not fitting:
            raise CheckpointError(f"{self.model_type} has no architecture with the heads {kinds}")
        # Classes that differ in the bias of a head alone: the first that has this one.
        return max(
            fitting,
            key=lambda name: sum(
                ours.bias == own.bias for ours, own in zip(spec.heads, self.architectures[name].heads)
            ),
        )


_PARTS = ("encoder", "decoder", "target_embedding", "target_vocab", "vision")


TAG, SPAN = Head("tag", outputs=2), Head("span", outputs=2)
LANGUAGE_MODEL, TIED = (Head("language-model", tied=tied, bias=False) for tied in (False, True))


def decoder(layers: int, block: Block) -> Stack:
    """Layers that see what stands before them, and a last norm like theirs."""
    return Stack(layers, (block,), causal=True, final_norm=block.norm)


def encoder_architectures(
    name: str, masked_lm: Head, classify: tuple[Head, ...], body: tuple[Head, ...] = ()
) -> dict[str, Architecture]:
    """The body of an encoder, its masked language model, and those of the three labelled tasks."""
    return {
        f"{name}Model": Architecture(body, prefix=""),
        f"{name}ForMaskedLM": Architecture((masked_lm,)),
        f"{name}ForSequenceClassification": Architecture(classify),
        f"{name}ForTokenClassification": Architecture((TAG,)),
        f"{name}ForQuestionAnswering": Architecture((SPAN,)),
    }


def decoder_architectures(
    name: str,
    *tasks: str,
    language_model: Head = LANGUAGE_MODEL,
    prefixes: Mapping[str, str] = {},
    writer: str = "ForCausalLM",
) -> dict[str, Architecture]:
    """The body of a decoder-only family, its language model, and those of the three labelled tasks that it has.

    `tasks` and `writer` are class names without the family's; `prefixes` say where a task's body has one of its own.
    """
    heads = {
        "ForSequenceClassification": Head("classify", reads="last", outputs=2, bias=False),
        "ForTokenClassification": TAG,
        "ForQuestionAnswering": SPAN,
    }
    return {
        f"{name}Model": Architecture(prefix=""),
        f"{name}{writer}": Architecture((language_model,)),
        **{f"{name}{task}": Architecture((heads[task],), prefixes.get(task)) for task in tasks or heads},
    }


DECODER_HEADS = (Row("[lm_head score classifier qa_outputs]", "heads.[language-model classify tag span]", head=True),)
"""The rows of these heads, as GPT-2 and its descendants name them."""


def num_labels(config: Config, default: int = 2) -> int:
    """How many labels a config names; `default` when it names none: 2, as Hugging Face mostly assumes."""
    labels = config.get("id2label")
    if isinstance(labels, Mapping) and labels:
        return len(labels)
    number = config.get("num_labels", default)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number <= 1_000_000:
        raise CheckpointError(f"config.json: num_labels must be a positive whole number, but is {number!r:.80}")
    return number
