"""`mf.load`: from a name to a model that runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from moduformer.errors import CheckpointError
from moduformer.families import family
from moduformer.lora import CONFIG, Lora, read_adapter_config
from moduformer.model import Model
from moduformer.quantize import quantize
from moduformer.quantize.files import is_quantized
from moduformer.quantize.files import load as load_quantized
from moduformer.weights.checkpoint import TASKS, labels_of, load_checkpoint, read_config

if TYPE_CHECKING:
    from collections.abc import Sequence


def load(
    source: str | Path,
    task: str | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    revision: str | None = None,
    *,
    labels: Sequence[str] | None = None,
    new_head: bool = False,
    quantization: str | None = None,
) -> Model:
    """A pretrained model in evaluation mode, with its tokenizer where the source has one.

    Arguments:
        source: a folder in Hugging Face layout, a .gguf file, a hub id "org/name", or an alias ("minilm", "e5-small",
            "smollm2").
        task: which head to take, such as "text-classification"; None takes the one `config.json` names.
        device: where the model goes, such as "cuda"; None is the CPU.
        dtype: type of the weights in memory; float32 unless asked.
        revision: a commit, tag or branch of a hub repository.
        labels: names of the classes of a new classification head.
        new_head: allow a head that the checkpoint does not hold; its weights are random until trained.
        quantization: how weights lie in memory, for running on the CPU alone: "float32" (the same numbers in blocks),
            "float16" (computed in float32), "int8" or "int4"; logits are made from float16 beside these two. See
            `moduformer.quantize.quantize`.

    Raises `SourceError` when the source cannot be found or verified and `CheckpointError` when its files do not fit.
    """
    from moduformer.sources.resolve import resolve
    from moduformer.text.loading import tokenizer_for
    from moduformer.text.tokenizer import check_fits

    place = usable_device(device)
    located = resolve(source, revision)
    kind = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype or torch.float32
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        raise CheckpointError(f"dtype {dtype!r} is no type of weights; use float32, bfloat16, float16 or float64")
    names = None if labels is None else tuple(labels)
    if is_quantized(located.path):
        if new_head or names is not None:
            raise CheckpointError(f"{located.path} is quantised and takes no new head; start from its float checkpoint")
        model = load_quantized(located.path, task, kind)
    elif is_adapter(located.path):
        model = _adapted(located.path, task, kind)
    else:
        model = load_checkpoint(located.path, task, names, new_head, kind)
    model.notes.insert(0, located.note)
    model.tokenizer = tokenizer_for(located.path) or model.tokenizer
    if model.tokenizer is not None:
        check_fits(model.tokenizer, model.spec.vocab)
    model.to(device=place)
    if quantization is not None:
        quantize(model, quantization, heads="float32" if quantization == "float32" else "float16")
    return model


def usable_device(name: torch.device | str | None) -> torch.device | None:
    """The device of a name such as "cpu" or "cuda:1"; None stays None.

    Raises `CheckpointError` for a name that is no device, or a device that this machine or this PyTorch has not.
    """
    if name is None:
        return None
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise CheckpointError(f"{name!r} is no device; use cpu, cuda or a numbered one such as cuda:0") from None
    try:
        torch.empty(1, device=device).cpu()
    # Each backend has its own way of saying that it is not there; an AssertionError is one of them.
    except (RuntimeError, NotImplementedError, AssertionError, ImportError):
        raise CheckpointError(f"the device {str(device)!r} cannot be used on this machine; use cpu") from None
    return device


def is_adapter(path: Path) -> bool:
    """Whether a folder holds low-rank adapters in PEFT's layout and no weights of its own."""
    return (path / CONFIG).is_file() and not list(path.glob("model*.safetensors"))


def _adapted(folder: Path, task: str | None, dtype: torch.dtype) -> Model:
    """The base model that adapters were trained on, with them merged into it and the heads saved beside them."""
    base = read_adapter_config(folder / CONFIG)["base"]
    if not base:
        raise CheckpointError(f"{folder / CONFIG} names no base model; set base_model_name_or_path to it")
    config = read_config(folder)
    member = family(str(config.get("model_type")))
    heads = member.architecture(next(iter(config.get("architectures") or ()), None)).heads
    kind = heads[-1].kind if heads else "body"
    if task is not None and TASKS.get(task) != kind:
        raise CheckpointError(f"{folder} holds adapters for a {kind} head, which is not one for {task}")
    own = next(name for name, known in TASKS.items() if known == kind)
    labels = labels_of(config)
    model = load(base, own, dtype=dtype, labels=labels if kind in ("classify", "tag") else None, new_head=True)
    lora = Lora.from_folder(model, folder)
    lora.merge()
    lora.remove()
    assert model.origin is not None
    if "problem_type" in config:
        model.origin.config["problem_type"] = config["problem_type"]
    # The head that was new to the base is the adapters' own by now.
    notes = [note for note in model.notes if not note.startswith("a new head was drawn")]
    model.notes = [f"low-rank adapters merged into {base}", *notes]
    return model
