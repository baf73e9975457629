"""LoRA (Hu et al. 2021): low-rank adapters beside frozen projections, and PEFT's file format for them.

An adapter adds `scale * B A x` (section 4.1) to the rows of one projection. It lives beside the model, not in it: the
model's parameters keep their names and can be saved as ever, the frozen weight is not copied, and its gradient is not
computed. Projections that one fused product computes (q and v of `qkv`) are adapted by two small products together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moduformer import atomic
from moduformer.blocks.linear import FusedLinear
from moduformer.errors import CheckpointError, TrainingError
from moduformer.model import Model
from moduformer.weights.files import open_tensors, save_tensors
from moduformer.weights.plan import expand

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
PREFIX = "base_model.model."
NameOf = Callable[[str], str]
"""From a parameter's (or a fused part's) name in `Model.views` to its name in the family's checkpoints."""


@dataclass(frozen=True)
class LoraSettings:
    """Rank and scale (`alpha / rank`) of every adapter, dropout on its input, and which projections get one.

    `targets` are last names of projections: q, k, v, out of attentions, gate, up, down of feed-forward layers.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q", "v")

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha > 0 or not 0 <= self.dropout < 1 or not self.targets:
            raise TrainingError(
                f"LoRA needs a rank of at least 1, an alpha above 0, a dropout in [0, 1) and a target: {self}"
            )


class Adapter(nn.Module):
    """The adapters of one linear layer: for each adapted part `down` (A) `[rank, in]` and `up` (B) `[rows, rank]`."""

    def __init__(self, base: nn.Linear, parts: dict[str, int], adapted: Sequence[str], settings: LoraSettings) -> None:
        super().__init__()
        self.settings, self.parts, self.adapted = settings, parts, tuple(adapted)
        made: Any = {"device": base.weight.device, "dtype": base.weight.dtype}
        self.down = nn.ParameterDict(
            {part: torch.empty(settings.rank, base.in_features, **made) for part in self.adapted}
        )
        self.up = nn.ParameterDict({part: torch.zeros(parts[part], settings.rank, **made) for part in self.adapted})

    @property
    def scale(self) -> float:
        """What multiplies B A."""
        return self.settings.alpha / self.settings.rank

    def reset(self, generator: torch.Generator | None) -> None:
        """A as PEFT draws it (Kaiming uniform, a = sqrt(5)), B zero: an adapted model begins equal to its base."""
        with torch.no_grad():
            for down in self.down.values():
                bound = 1 / math.sqrt(down.shape[1])
                down.uniform_(-bound, bound, generator=generator)
            for up in self.up.values():
                up.zero_()

    def forward(self, hidden: Tensor, result: Tensor) -> Tensor:
        """The layer's input `[tokens, in]` and result `[tokens, out]` to the adapted result."""
        down = torch.cat([self.down[part] for part in self.adapted])
        # One block-diagonal B adds to all parts at once; parts without an adapter are rows of zeros.
        up = torch.block_diag(
            *(self.up[part] if part in self.adapted else down.new_zeros(rows, 0) for part, rows in self.parts.items())
        )
        hidden = F.linear(F.dropout(hidden, self.settings.dropout, self.training), down)
        return torch.addmm(result, hidden, up.t(), alpha=self.scale)

    def change(self, part: str) -> Tensor:
        """What merging adds to the part's weight, `[rows, in]`."""
        return self.scale * (self.up[part] @ self.down[part])


class Lora(nn.Module):
    """The adapters of a model, attached to it until `remove`. Train them with `train(..., adapters=lora)`.

    Args:
        model: gets the adapters; its own weights are not touched.
        settings: rank, scale and targets.
        seed: of the new weights.

    Raises:
        TrainingError: the model has no projection of the wanted names, or is quantised.
    """

    def __init__(self, model: Model, settings: LoraSettings | None = None, seed: int = 0) -> None:
        super().__init__()
        if model.quantization is not None:
            raise TrainingError(
                f"adapters stand beside float weights, but this model's are packed as {model.quantization.scheme}; "
                "train them on the float model and quantise after merging"
            )
        self.settings = settings or LoraSettings()
        self.layers = nn.ModuleDict()
        self._bases: dict[str, nn.Linear] = {}
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._originals: dict[tuple[str, str], Tensor] = {}
        generator = torch.Generator(device=model.device).manual_seed(seed)
        for path, base, parts in _projections(model):
            adapted = [part for part in parts if part in self.settings.targets]
            if adapted:
                adapter = Adapter(base, parts, adapted, self.settings)
                adapter.reset(generator)
                self.layers[path.replace(".", "/")] = adapter
                self._bases[path] = base
        if not self._bases:
            known = sorted({part for _, _, parts in _projections(model) for part in parts})
            raise TrainingError(
                f"no projection is called {' or '.join(self.settings.targets)}; this model has {', '.join(known)}"
            )
        self._attach()

    @classmethod
    @torch.no_grad()
    def between(cls, base: Model, tuned: Model, rank: int) -> Lora:
        """The adapters on `base` that lead nearest to `tuned`: of every projection's change its first `rank` singular
        vectors (Eckart & Young 1936). The heads of `tuned` are copied; what else it learned (norms, biases, embeddings)
        stays behind, so measure what is left.

        Args:
            base: the model that `tuned` was fine-tuned from; gets the adapters and the heads.
            tuned: a model of the same spec.
            rank: of every adapter.

        Raises:
            TrainingError: the two have not the same architecture.
        """
        if base.spec != tuned.spec:
            raise TrainingError(
                f"adapters lead from a model to one like it, but they differ: {base.spec.diff(tuned.spec)}"
            )
        every = {part for _, _, parts in _projections(base) for part in parts}
        lora = cls(base, LoraSettings(rank, float(rank), targets=tuple(sorted(every))))
        layers = {path: layer for path, layer, _ in _projections(tuned)}
        for path, part, adapter in lora.parts():
            ours, theirs = lora._bases[path], layers[path]
            change = _rows(theirs, part, theirs.weight) - _rows(ours, part, ours.weight)
            left, values, right = torch.linalg.svd(change.float(), full_matrices=False)
            scale = values[:rank].sqrt()
            adapter.up[part].zero_()[:, : len(scale)] = left[:, :rank] * scale
            adapter.down[part].zero_()[: len(scale)] = scale.unsqueeze(1) * right[:rank]
        heads = {name: parameter for name, parameter in base.named_parameters() if name.startswith("heads.")}
        for name, parameter in tuned.named_parameters():
            if name in heads:
                heads[name].copy_(parameter)
        return lora.eval()

    def _attach(self) -> None:
        for path, base in self._bases.items():
            adapter = self._adapter(path)

            def add(module: nn.Module, given: Any, result: Tensor, adapter: Adapter = adapter) -> Tensor:
                return adapter(given[0], result)

            self._hooks.append(base.register_forward_hook(add))

    def _adapter(self, path: str) -> Adapter:
        adapter = self.layers[path.replace(".", "/")]
        assert isinstance(adapter, Adapter)
        return adapter

    def parts(self) -> list[tuple[str, str, Adapter]]:
        """Every adapted projection: the path of its module, the part's name, the adapter."""
        return [(path, part, self._adapter(path)) for path in self._bases for part in self._adapter(path).adapted]

    def num_parameters(self) -> int:
        """How many numbers the adapters have."""
        return sum(p.numel() for p in self.parameters())

    def remove(self) -> None:
        """Takes the adapters off the model, which is then its base (or, after `merge`, the merged model)."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    @torch.no_grad()
    def merge(self) -> None:
        """Adds the adapters into the model's weights, which then runs without them. `unmerge` goes back to the bit."""
        if self._originals:
            return
        for path, part, adapter in self.parts():
            weight = _rows(self._bases[path], part, self._bases[path].weight.data)
            self._originals[path, part] = weight.clone()
            weight += adapter.change(part)
        self.remove()

    @torch.no_grad()
    def unmerge(self) -> None:
        """Puts the base's weights back, exactly as they were, and the adapters beside them again."""
        if not self._originals:
            return
        for (path, part), original in self._originals.items():
            _rows(self._bases[path], part, self._bases[path].weight.data).copy_(original)
        self._originals.clear()
        self._attach()

    # Files -----------------------------------------------------------------------------------------------------------

    def save(self, folder: Path, model: Model, name_of: NameOf, base: str = "") -> Path:
        """Writes adapters and the model's heads as PEFT does; `peft` loads them onto the same base.

        Args:
            folder: made if absent.
            model: the adapted model, whose heads are saved whole beside the adapters.
            name_of: the checkpoint's name of a parameter or fused part ("encoder.0.attention.q.weight").
            base: the id or folder of the base model, for `base_model_name_or_path`.

        Raises:
            CheckpointError: the family's files fuse projections that have adapters of their own, or the disk fails.
        """
        folder = Path(folder)
        tensors: dict[str, Tensor] = {}
        modules = []
        for path, part, adapter in self.parts():
            module = _file_module(self._bases[path], path, part, name_of)
            if module in modules:
                raise CheckpointError(
                    f"checkpoints of this family hold {part} fused with others in {module}, so its adapter has no "
                    "place of its own in PEFT's format; merge the adapters and save the whole model instead"
                )
            modules.append(module)
            tensors[f"{PREFIX}{module}.lora_A.weight"] = adapter.down[part]
            tensors[f"{PREFIX}{module}.lora_B.weight"] = adapter.up[part]
        heads = {name_of(name): p for name, p in model.named_parameters() if name.startswith("heads.")}
        tensors |= {f"{PREFIX}{name}": parameter for name, parameter in heads.items()}
        saved_modules = list(dict.fromkeys(name.rpartition(".")[0] or name for name in heads))
        config = {
            "peft_type": "LORA",
            "task_type": _TASKS.get(next((h.kind for h in reversed(model.spec.heads)), "")),
            "base_model_name_or_path": base,
            "r": self.settings.rank,
            "lora_alpha": self.settings.alpha,
            "lora_dropout": self.settings.dropout,
            "target_modules": sorted({_target(module) for module in modules}),
            "modules_to_save": saved_modules or None,
            "bias": "none",
            "fan_in_fan_out": False,
            "inference_mode": True,
        }
        staging = folder / ".adapter"
        try:
            written = save_tensors(staging, tensors, shard_bytes=2**62)
            atomic.write_text(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
            written[0].replace(folder / TENSORS)
            staging.rmdir()
            atomic.sync_folder(folder)
        except OSError as error:
            raise CheckpointError(f"saving adapters in {folder} failed: {error.strerror or error}") from error
        return folder

    @classmethod
    def load(cls, model: Model, folder: Path, name_of: NameOf) -> Lora:
        """Attaches the adapters that `save` or PEFT wrote, and puts the heads saved beside them into the model.

        Raises:
            CheckpointError: no LoRA adapter, one with options that change the numbers, or tensors that do not fit.
        """
        folder = Path(folder)
        config = read_adapter_config(folder / CONFIG)
        with open_tensors(folder / TENSORS) as file:
            tensors = {name: file.read(name) for name in file.names()}
        places = {
            _file_module(base, path, part, name_of): (path, part)
            for path, base, parts in _projections(model)
            for part in parts
        }
        wanted = {}
        for name in tensors:
            module, found, _ = name.removeprefix(PREFIX).partition(".lora_A.")
            if found:
                if module not in places:
                    raise CheckpointError(f"{folder}: an adapter belongs to {module}, which this model does not have")
                wanted[module] = places[module]
        if not wanted:
            raise CheckpointError(f"{folder / TENSORS} holds no LoRA adapter")
        settings = LoraSettings(
            config["r"], config["lora_alpha"], config["lora_dropout"], tuple(sorted({p for _, p in wanted.values()}))
        )
        lora = cls(model, settings)
        try:
            lora._fill(model, tensors, wanted, name_of, folder)
        except CheckpointError:
            lora.remove()
            raise
        return lora.eval()

    @classmethod
    def from_folder(cls, model: Model, folder: Path) -> Lora:
        """`load`, with the names that the model's own family gives its tensors.

        Raises:
            CheckpointError: as `load`, or a head that is neither in the base's files nor beside the adapters.
        """
        names = file_names(model)
        assert model.origin is not None
        with open_tensors(Path(folder) / TENSORS) as file:
            there = set(file.names())
        for name, _ in model.named_parameters():
            if name.startswith("heads.") and f"{PREFIX}{names[name]}" not in there and name not in model.origin.dtypes:
                raise CheckpointError(f"{folder} holds no {names[name]}, and neither does its base model")
        return cls.load(model, folder, names.__getitem__)

    @torch.no_grad()
    def _fill(
        self,
        model: Model,
        tensors: dict[str, Tensor],
        wanted: dict[str, tuple[str, str]],
        name_of: NameOf,
        folder: Path,
    ) -> None:
        heads = {name_of(name): p for name, p in model.named_parameters() if name.startswith("heads.")}
        left = dict(tensors)
        targets = {f"{PREFIX}{name}": p for name, p in heads.items() if f"{PREFIX}{name}" in tensors}
        for path, part, adapter in self.parts():
            module = next((m for m, place in wanted.items() if place == (path, part)), None)
            if module is None:
                # An adapter for some layers only: the others stay zero.
                continue
            targets[f"{PREFIX}{module}.lora_A.weight"] = adapter.down[part]
            targets[f"{PREFIX}{module}.lora_B.weight"] = adapter.up[part]
        for name, parameter in targets.items():
            value = left.pop(name, None)
            if value is None or value.shape != parameter.shape:
                shape = "missing" if value is None else tuple(value.shape)
                raise CheckpointError(f"{folder}: {name} is {shape}, but {tuple(parameter.shape)} is needed")
            parameter.copy_(value)
        if left:
            raise CheckpointError(f"{folder}: {sorted(left)[0]} has no place in this model")


def file_names(model: Model) -> dict[str, str]:
    """What the model's family calls every parameter, and every part of a fused one, in its checkpoints."""
    assert model.origin is not None
    member = model.origin.family
    prefix = member.prefix_of(member.architecture_of(model.spec))
    return {entry.name: entry.file for entry in expand(member.rows, model, prefix)}


_TASKS = {
    "classify": "SEQ_CLS", "tag": "TOKEN_CLS", "span": "QUESTION_ANS", "language-model": "CAUSAL_LM",
    "pool": "FEATURE_EXTRACTION",
}  # fmt: skip

# Options of PEFT that change what an adapter computes, and the only value that is computed here.
_PLAIN = {
    "use_dora": False, "use_rslora": False, "bias": "none", "rank_pattern": {}, "alpha_pattern": {},
    "fan_in_fan_out": False, "lora_bias": False, "layer_replication": None, "megatron_config": None,
    "trainable_token_indices": None, "target_parameters": None, "use_bdlora": None, "alora_invocation_tokens": None,
}  # fmt: skip


def read_adapter_config(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > 2**20:
            raise CheckpointError(f"{path} is too large to be an adapter's settings")
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}; a LoRA adapter needs it") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: it is not JSON") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise CheckpointError(f"{path} does not describe a LoRA adapter")
    for option, plain in _PLAIN.items():
        given = config.get(option)
        if given != plain and given not in (None, False, {}, []):
            raise CheckpointError(f"{path}: {option}={given!r} is not supported; merge the adapter with PEFT first")
    base = config.get("base_model_name_or_path")
    checked: dict[str, Any] = {
        "lora_dropout": config.get("lora_dropout", 0.0),
        "base": base if isinstance(base, str) else "",
    }
    for key, kinds in (("r", (int,)), ("lora_alpha", (int, float)), ("lora_dropout", (int, float))):
        value = config.get(key, checked.get(key))
        if not isinstance(value, kinds) or isinstance(value, bool) or not 0 <= value <= 2**16:
            raise CheckpointError(f"{path}: {key} must be a number that is not negative, but is {value!r}")
        checked[key] = value
    if checked["r"] < 1 or checked["lora_alpha"] <= 0 or checked["lora_dropout"] >= 1:
        raise CheckpointError(f"{path}: r, lora_alpha or lora_dropout is impossible")
    return checked


def _projections(model: Model) -> list[tuple[str, nn.Linear, dict[str, int]]]:
    """Every linear layer inside the stacks: its path, itself, and the rows of its parts by name."""
    found = []
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear) and path.startswith(("encoder.", "decoder.")):
            last = path.rpartition(".")[2]
            parts = module.parts if isinstance(module, FusedLinear) else {last: module.out_features}
            found.append((path, module, parts))
    return found


def _rows(base: nn.Linear, part: str, tensor: Tensor) -> Tensor:
    return base.part(part, tensor) if isinstance(base, FusedLinear) else tensor


def _file_module(base: nn.Linear, path: str, part: str, name_of: NameOf) -> str:
    name = f"{path.rpartition('.')[0]}.{part}.weight" if isinstance(base, FusedLinear) else f"{path}.weight"
    return name_of(name).removesuffix(".weight")


def _target(module: str) -> str:
    # PEFT matches a target by the end of a module's name, and "dense" would match layers that have no adapter.
    last = module.rpartition(".")[2]
    return module if last == "dense" else last
