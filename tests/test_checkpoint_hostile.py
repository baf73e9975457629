"""Checkpoint folders that lie, lack, or hold too much: each is refused by name, fast and in little memory."""

import json
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from core_models import SPECS, randomise
from safetensors.torch import load_file, save_file

import moduformer as mf
from moduformer.architecture import Spec
from moduformer.errors import CheckpointError, ModuformerError
from moduformer.families import families, family
from moduformer.model import Model, build
from moduformer.weights.checkpoint import load_checkpoint

IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 3, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
NAMES = ("bert", "gpt2", "llama", "t5", "gpt_neox")


def shallow(spec: Spec) -> Spec:
    """The same with one layer in each stack."""
    stacks = {name: getattr(spec, name) for name in ("encoder", "decoder")}
    return replace(spec, **{name: stack and replace(stack, layers=1) for name, stack in stacks.items()})


def folder_of(spec: Spec, where: Path, seed: int = 1, labels: tuple[str, ...] | None = None) -> Path:
    model = randomise(build(spec), seed)
    model.labels = labels
    return model.save(where)


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return folder_of(SPECS["bert"], tmp_path / "bert", labels=("no", "yes"))


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text("utf-8"))


def configure(folder: Path, **changes: Any) -> Path:
    (folder / "config.json").write_text(json.dumps({**config_of(folder), **changes}), "utf-8")
    return folder


def retensor(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def logits(model: Model) -> torch.Tensor:
    target = {"decoder_input_ids": IDS} if model.encoder and model.decoder else {}
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=MASK, **target).logits


@contextmanager
def refused(*words: str) -> Iterator[None]:
    """A `CheckpointError` with these words in it, within two seconds of work and 64 MiB."""
    peak, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(CheckpointError) as caught:
        yield
    assert time.process_time() - start < 2  # of work: on a busy machine the clock on the wall would lie
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 64 * 1024
    message = str(caught.value)
    assert len(message) < 2000
    for word in words:
        assert word in message, message


# Tensors -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_missed(name: str, tmp_path: Path) -> None:
    folder = folder_of(shallow(SPECS[name]), tmp_path)
    whole = load_file(folder / "model.safetensors")
    for gone in whole:
        save_file({key: value for key, value in whole.items() if key != gone}, folder / "model.safetensors")
        with refused("missing 1 tensors", repr(gone)):
            load_checkpoint(folder)


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_has_its_shape(name: str, tmp_path: Path) -> None:
    folder = folder_of(shallow(SPECS[name]), tmp_path)
    whole = load_file(folder / "model.safetensors")
    for wrong, tensor in whole.items():
        for other in (torch.cat((tensor, tensor[:1])), tensor[..., None].contiguous()):
            save_file({**whole, wrong: other}, folder / "model.safetensors")
            with refused(repr(wrong), f"shape {list(other.shape)}", f"asks for {list(tensor.shape)}"):
                load_checkpoint(folder)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_tensor_is_finite(bert: Path, bad: float, dtype: torch.dtype) -> None:
    whole = {name: tensor.to(dtype) for name, tensor in load_file(bert / "model.safetensors").items()}
    for wrong in list(whole)[:: 5 if dtype == torch.float32 else 11]:
        damaged = whole[wrong].clone()
        damaged.view(-1)[-1] = bad
        save_file({**whole, wrong: damaged}, bert / "model.safetensors")
        with refused(repr(wrong), "1 infinite" if bad in (float("inf"), -float("inf")) else "1 NaN"):
            load_checkpoint(bert)


def test_a_tensor_too_many(bert: Path) -> None:
    for extra in ("bert.encoder.layer.2.output.dense.weight", "bert.pooler.extra", "adapter.weight", "x" * 5000):
        retensor(bert, lambda tensors, extra=extra: tensors.update({extra: torch.zeros(2)}))
        with refused("1 tensors have no place", extra[:20]):
            load_checkpoint(bert)
        retensor(bert, lambda tensors, extra=extra: tensors.pop(extra))
    load_checkpoint(bert)


def test_numbers_of_other_kinds(bert: Path) -> None:
    """Whole numbers are no weights, except where they hold the same numbers exactly."""
    name = "bert.pooler.dense.weight"
    before = logits(load_checkpoint(bert))
    retensor(bert, lambda tensors: tensors.update({name: tensors[name].double()}))
    assert torch.equal(logits(load_checkpoint(bert)), before)
    for dtype in (torch.int8, torch.int64, torch.bool, torch.complex64):
        retensor(bert, lambda tensors, dtype=dtype: tensors.update({name: torch.ones(16, 16, dtype=dtype)}))
        with refused(repr(name)):
            load_checkpoint(bert)


# Config --------------------------------------------------------------------------------------------------------------


SIZES = {
    "bert": ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
             "max_position_embeddings", "type_vocab_size"),
    "roberta": ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings"),
    "gpt2": ("vocab_size", "n_embd", "n_layer", "n_head", "n_positions", "n_inner"),
    "gpt_neox": ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    "llama": ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
              "intermediate_size", "head_dim"),
    "t5": ("vocab_size", "d_model", "num_layers", "num_decoder_layers", "num_heads", "d_kv", "d_ff",
           "relative_attention_num_buckets", "relative_attention_max_distance"),
    "albert": ("embedding_size", "num_hidden_groups", "inner_group_num", "num_hidden_layers"),
    "distilbert": ("dim", "n_layers", "n_heads", "hidden_dim", "vocab_size"),
    "electra": ("embedding_size", "hidden_size"),
    "ernie": ("task_type_vocab_size", "hidden_size"),
    "transformer": ("d_model", "encoder_layers", "num_heads", "d_ff"),
}  # fmt: skip
IMPOSSIBLE = (0, -1, 2**31, 10**9, 2**63, 10**400, 1.5, "64", "9" * 4000, True, [64], {"a": 1}, 1e300)


@pytest.mark.parametrize("model_type", SIZES)
def test_sizes_that_cannot_be(model_type: str, bert: Path) -> None:
    """Against a small file of another family even plausible sizes fail, but these must fail before memory is taken."""
    base = {"model_type": model_type, "use_task_id": True}
    for key in SIZES[model_type]:
        for value in IMPOSSIBLE:
            if model_type == "bert":
                base = config_of(bert)
            (bert / "config.json").write_text(json.dumps({**base, key: value}), "utf-8")
            with refused():
                load_checkpoint(bert)
    # All at once: products of dimensions must not overflow either.
    (bert / "config.json").write_text(json.dumps({**base, **dict.fromkeys(SIZES[model_type], 2**24)}), "utf-8")
    with refused():
        load_checkpoint(bert)


HUGE = {**SPECS["gpt2"].to_dict(), "vocab": 2**60}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_size": 2**31}, ["dim must be a whole number", "2147483648"]),
        ({"hidden_size": 2**24}, ["shape"]),
        ({"num_hidden_layers": 10**9}, ["encoder.layers"]),
        ({"num_hidden_layers": 9999}, ["9,999 layers", "tensors"]),
        ({"num_attention_heads": 0}, ["num_attention_heads must be a positive whole number"]),
        ({"num_attention_heads": -2}, ["num_attention_heads must be a positive whole number"]),
        ({"layer_norm_eps": "1e-12"}, ["norm.eps must be float"]),
        ({"layer_norm_eps": None}, ["norm.eps must be float"]),
        ({"layer_norm_eps": -1.0}, ["norm.eps must be a number above 0"]),
        ({"hidden_dropout_prob": 1.5}, ["dropout must be at least 0.0 and below 1.0"]),
        ({"hidden_dropout_prob": [0.1]}, ["dropout"]),
        ({"hidden_act": "os.system"}, ["hidden_act is 'os.system'", "supported"]),
        ({"hidden_act": ["gelu"]}, ["hidden_act"]),
        ({"hidden_act": {"a": 1}}, ["hidden_act"]),
        ({"is_decoder": "yes"}, ["encoder.causal must be bool"]),
        ({"tie_word_embeddings": 3, "architectures": ["BertForMaskedLM"]}, ["tied must be bool"]),
        ({"position_embedding_type": "relative_key"}, ["position_embedding_type", "not supported"]),
        ({"pad_token_id": "zero"}, ["pad_id must be int"]),
        ({"eos_token_id": [1, "x"]}, ["eos_id.1 must be int"]),
        ({"eos_token_id": {"a": 1}}, ["eos_id"]),
        ({"model_type": "gpt9"}, ["'gpt9'", "bert"]),
        ({"model_type": None}, ["no model_type"]),
        ({"model_type": ["bert"]}, ["no model_type"]),
        ({"model_type": "../../etc/passwd"}, ["not one of the families"]),
        ({"model_type": "moduformer", "architectures": None}, ["'spec'"]),
        ({"model_type": "moduformer", "architectures": None, "spec": {"vocab": 1}}, ["missing"]),
        ({"model_type": "moduformer", "architectures": None, "spec": HUGE}, ["vocab must be"]),
        ({"architectures": "BertModel"}, ["must be a list"]),
        ({"architectures": [3]}, ["must be a list"]),
        ({"architectures": ["BertForEverything"]}, ["BertForEverything", "known"]),
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, ["shape [2, 16]", "asks for [3, 16]"]),
        ({"id2label": {"0": "a", "00": "b"}}, ["id2label must number its labels 0 to 1"]),
        ({"id2label": {"1": "a", "2": "b"}}, ["id2label must number its labels 0 to 1"]),
        ({"id2label": {"zero": "a", "one": "b"}}, ["id2label must map numbers"]),
        ({"id2label": {"0": "\ud800", "1": "b"}}, ["which is not text"]),
        ({"id2label": None, "num_labels": 0}, ["num_labels must be"]),
        ({"id2label": None, "num_labels": "2"}, ["num_labels must be"]),
        ({"id2label": None, "num_labels": 10**9}, ["num_labels must be"]),
    ],
    ids=lambda x: str(x)[:50],
)
def test_configs_that_lie(bert: Path, changes: dict[str, Any], words: list[str]) -> None:
    with refused(*words):
        load_checkpoint(configure(bert, **changes))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", ["config.json"]),
        (b"[]", ["not a JSON object"]),
        (b"{", ["config.json"]),
        (b"\xff\xfe{}", ["not UTF-8"]),
        (b'{"model_type": "bert", "layer_norm_eps": NaN}', ["NaN is not JSON"]),
        (b'{"model_type": "bert", "layer_norm_eps": 1e999}', ["is inf"]),
        (b'{"model_type": "bert", "unused": {"a": [1e999]}}', ["is inf"]),
        (b'{"model_type": "bert", "model_type": "gpt2"}', ["given twice"]),
        (b'{"model_type": "bert", "vocab_size": ' + b"9" * 9999 + b"}", ["config.json"]),
        (b'{"model_type": "bert", "x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", ["nested"]),
        (b'{"model_type": "bert", "x": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001, ["nested"]),
        (b'{"model_type": "bert", "x": ' + b"[" * 300 + b"]" * 300 + b"}", ["nested deeper"]),
        (b'{"a": "' + b"x" * (17 * 2**20) + b'"}', ["bytes"]),
    ],
    ids=range(13),
)
def test_configs_that_are_no_data(bert: Path, text: bytes, words: list[str]) -> None:
    (bert / "config.json").write_bytes(text)
    with refused(*words):
        load_checkpoint(bert)


def test_folders_without_their_files(bert: Path, tmp_path: Path) -> None:
    with refused("no checkpoint"):
        load_checkpoint(tmp_path)
    with refused(str(tmp_path / "absent")):
        load_checkpoint(tmp_path / "absent")
    (bert / "config.json").unlink()
    with refused("config.json"):
        load_checkpoint(bert)
    (bert / "config.json").mkdir()
    with refused("config.json"):
        load_checkpoint(bert)


RUNS_CODE = {
    "auto_map": {"AutoModel": "evil.Model", "AutoConfig": "http://evil/config.py"},
    "trust_remote_code": True,
    "_attn_implementation_internal": "evil/kernel",
    "custom_pipelines": {"x": {"impl": "evil.py"}},
    "text_config": {"trust_remote_code": True, "inner": [{"auto_map": {"AutoModel": "evil.M"}}], "harmless": 1},
}


def test_code_is_ignored_with_a_notice_and_never_written_again(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bert / "evil.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')\n")
    monkeypatch.syspath_prepend(bert)

    def connect(*_: object) -> None:
        raise AssertionError("a checkpoint made a connection")

    monkeypatch.setattr(socket.socket, "connect", connect)
    before = logits(load_checkpoint(bert))
    model = load_checkpoint(configure(bert, **RUNS_CODE, harmless={"kept": [1, {"deep": "한국어"}]}))
    assert torch.equal(logits(model), before)
    notes = "\n".join(model.notes)
    for key in (*list(RUNS_CODE)[:4], "text_config.trust_remote_code", "auto_map'"):
        assert key in notes, notes
    text = (model.save(tmp_path / "again") / "config.json").read_text("utf-8")
    for word in ("evil", "auto_map", "trust_remote_code", "_attn_implementation", "custom_pipelines"):
        assert word not in text
    assert json.loads(text)["harmless"] == {"kept": [1, {"deep": "한국어"}]}
    assert json.loads(text)["text_config"]["harmless"] == 1
    assert not (tmp_path / "canary").exists()
    assert "evil" not in sys.modules


# Heads, ties, labels -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "llama", "t5", "gpt_neox", "roberta"])
@pytest.mark.parametrize("tied", [True, False])
def test_tied_and_untied_come_back_bit_by_bit(name: str, tied: bool, tmp_path: Path) -> None:
    spec = SPECS[name]
    head = replace(spec.heads[0], tied=tied, scale=1.0 if not tied else spec.heads[0].scale)
    model = randomise(build(replace(spec, heads=(head,))), 2)
    again = load_checkpoint(model.save(tmp_path / "a"))
    assert again.spec == model.spec
    assert again.num_parameters() == model.num_parameters()
    assert torch.equal(logits(again), logits(model))
    third = load_checkpoint(again.save(tmp_path / "b"))
    assert torch.equal(logits(third), logits(model))
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


TIES = {
    "gpt2": ("transformer.wte.weight", ("lm_head.weight",)),
    "llama": ("model.embed_tokens.weight", ("lm_head.weight",)),
    "t5": ("shared.weight", ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")),
}


@pytest.mark.parametrize("name", TIES)
def test_ties_that_differ(name: str, tmp_path: Path) -> None:
    spec = SPECS[name]
    spec = replace(spec, heads=(replace(spec.heads[0], tied=True),))
    folder = folder_of(spec, tmp_path / "a")
    before, (key, others) = logits(load_checkpoint(folder)), TIES[name]
    for other in others:
        retensor(folder, lambda tensors, other=other: tensors.update({other: tensors[key].clone()}))
        model = load_checkpoint(folder)
        assert torch.equal(logits(model), before)
        # What the file said twice is said twice again.
        assert other in load_file(model.save(tmp_path / "b") / "model.safetensors")
        retensor(folder, lambda tensors, other=other: tensors[other].view(-1)[3].add_(1))
        with refused(repr(key), repr(other), "differ"):
            load_checkpoint(folder)
        retensor(folder, lambda tensors, other=other: tensors.pop(other))
    # Under the other name alone it is the same matrix.
    retensor(folder, lambda tensors: tensors.update({others[0]: tensors.pop(key)}))
    assert torch.equal(logits(load_checkpoint(folder)), before)


def test_labels_keep_their_order(bert: Path, tmp_path: Path) -> None:
    configure(bert, id2label={"1": "나중", "0": "먼저"}, label2id={"나중": 1, "먼저": 0})
    model = load_checkpoint(bert)
    assert model.labels == ("먼저", "나중")
    config = config_of(model.save(tmp_path / "b"))
    assert config["id2label"] == {"0": "먼저", "1": "나중"}
    assert config["label2id"] == {"먼저": 0, "나중": 1}
    assert load_checkpoint(tmp_path / "b").labels == ("먼저", "나중")


def test_eleven_labels_are_numbered_not_sorted_as_text(tmp_path: Path) -> None:
    spec = SPECS["bert"]
    labels = tuple(f"l{i}" for i in range(11))
    spec = replace(spec, heads=(spec.heads[0], replace(spec.heads[1], outputs=11)))
    assert load_checkpoint(folder_of(spec, tmp_path, labels=labels)).labels == labels


def test_a_new_head_must_be_asked_for(bert: Path, tmp_path: Path) -> None:
    body = retensor(bert, lambda tensors: [tensors.pop(name) for name in list(tensors) if "classifier" in name])
    with refused("classifier.bias", "classifier.weight", "new_head=True"):
        load_checkpoint(body)
    model = load_checkpoint(body, labels=("a", "b", "c", "d", "e"), new_head=True)
    assert model.labels == ("a", "b", "c", "d", "e")
    assert "classifier.weight" in model.notes[-1]
    assert model.heads["classify"].weight.abs().max() > 0
    assert not model.heads["classify"].bias.any()
    again = load_checkpoint(model.save(tmp_path / "again"))
    assert torch.equal(logits(again), logits(model))
    assert again.labels == model.labels
    # A missing tensor of the body is no new head, whatever was asked for.
    retensor(body, lambda tensors: tensors.pop("bert.pooler.dense.bias"))
    with refused("bert.pooler.dense.bias", "incomplete"):
        load_checkpoint(body, new_head=True)


def test_a_head_for_other_classes_is_replaced_only_when_a_new_one_is_asked_for(bert: Path) -> None:
    with refused("classifier"):
        load_checkpoint(bert, labels=("a", "b", "c"))
    pooler = load_checkpoint(bert).heads["pool"].transform.dense.weight
    model = load_checkpoint(bert, labels=("a", "b", "c"), new_head=True)
    assert logits(model).shape == (2, 3)
    assert torch.equal(model.heads["pool"].transform.dense.weight, pooler)
    assert any("other classes" in note for note in model.notes)


def test_a_new_head_leaves_the_others_alone(bert: Path) -> None:
    pooler = load_file(bert / "model.safetensors")["bert.pooler.dense.weight"]
    retensor(bert, lambda tensors: [tensors.pop(name) for name in list(tensors) if "classifier" in name])
    model = load_checkpoint(bert, new_head=True)
    assert torch.equal(model.heads["pool"].transform.dense.weight, pooler)
    retensor(bert, lambda tensors: [tensors.pop(name) for name in list(tensors) if "pooler" in name])
    model = load_checkpoint(bert, new_head=True)
    assert "pooler" in model.notes[-1]


def test_another_task_takes_the_body_and_says_what_it_left(bert: Path) -> None:
    with refused("qa_outputs.weight", "new_head=True"):
        load_checkpoint(bert, task="question-answering")
    model = load_checkpoint(bert, task="question-answering", new_head=True)
    assert any("left out" in note and "classifier.weight" in note for note in model.notes)
    with refused("not known"):
        load_checkpoint(bert, task="mind-reading")
    with refused("has no architecture with a language-model head"):
        load_checkpoint(bert, task="text-generation")


# Layouts -------------------------------------------------------------------------------------------------------------


def test_names_of_the_first_release(bert: Path) -> None:
    before = logits(load_checkpoint(bert))
    old = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))

    def rename(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            for new, first in old:
                if name.endswith(new):
                    tensors[name.replace(new, first)] = tensors.pop(name)

    assert any(name.endswith("gamma") for name in load_file(retensor(bert, rename) / "model.safetensors"))
    assert torch.equal(logits(load_checkpoint(bert)), before)
    name = "bert.embeddings.LayerNorm"
    retensor(bert, lambda tensors: tensors.update({f"{name}.weight": tensors[f"{name}.gamma"].clone()}))
    with refused(f"{name}.gamma", f"{name}.weight", "the same tensor"):
        load_checkpoint(bert)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "gpt_neox", "roberta"])
def test_bodies_with_and_without_prefix(name: str, tmp_path: Path) -> None:
    folder = folder_of(SPECS[name], tmp_path / "a")
    before, names = logits(load_checkpoint(folder)), load_file(folder / "model.safetensors").keys()
    prefix = family(config_of(folder)["model_type"]).prefix
    assert prefix

    def strip(tensors: dict[str, torch.Tensor]) -> None:
        for key in [key for key in tensors if key.startswith(prefix)]:
            tensors[key.removeprefix(prefix)] = tensors.pop(key)

    retensor(folder, strip)
    model = load_checkpoint(folder)
    assert torch.equal(logits(model), before)
    assert load_file(model.save(tmp_path / "b") / "model.safetensors").keys() == names
    # Half of each is no layout anyone writes.
    one = next(key for key in load_file(folder / "model.safetensors") if "weight" in key)
    retensor(folder, lambda tensors: tensors.update({f"{prefix}other.{one}": tensors.pop(one)}))
    with refused(one):
        load_checkpoint(folder)


def test_shards_and_old_pickles_hold_the_same(bert: Path, tmp_path: Path) -> None:
    before, tensors = logits(load_checkpoint(bert)), load_file(bert / "model.safetensors")
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    (bert / "model.safetensors").unlink()
    for file, part in shards.items():
        save_file({name: tensors[name] for name in part}, bert / file)
    index = {"metadata": {}, "weight_map": {name: file for file, part in shards.items() for name in part}}
    (bert / "model.safetensors.index.json").write_text(json.dumps(index))
    assert torch.equal(logits(load_checkpoint(bert)), before)
    (bert / "model-00002-of-00002.safetensors").unlink()
    with refused("model-00002-of-00002.safetensors"):
        load_checkpoint(bert)
    (bert / "model.safetensors.index.json").unlink()
    torch.save(tensors, bert / "pytorch_model.bin")
    model = load_checkpoint(bert)
    assert torch.equal(logits(model), before)
    model.save(tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").exists()
    torch.save(tensors, bert / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert torch.equal(logits(load_checkpoint(bert)), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_narrow_files_are_wide_in_memory_and_come_back_bit_by_bit(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    folder = folder_of(SPECS[name], tmp_path / "a")
    word = str(dtype).removeprefix("torch.")
    configure(retensor(folder, lambda t: t.update({k: v.to(dtype) for k, v in t.items()})), dtype=word)
    first = load_checkpoint(folder).save(tmp_path / "b")
    model = load_checkpoint(first)
    assert model.dtype == torch.float32
    second = model.save(tmp_path / "c")
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    original, kept = load_file(folder / "model.safetensors"), load_file(second / "model.safetensors")
    assert original.keys() == kept.keys()
    for key, value in original.items():
        assert kept[key].dtype == dtype
        assert torch.equal(kept[key], value)
    assert config_of(second)["dtype"] == word
    # What training has changed no longer fits the narrow type, and the config does not narrow it.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.0001)
    trained = model.save(tmp_path / "d")
    assert config_of(trained)["dtype"] == "float32"
    assert torch.equal(logits(load_checkpoint(trained)), logits(model))
    assert load_checkpoint(folder, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_memory_follows_the_file_not_the_config(tmp_path: Path) -> None:
    """A config of a giant over a small file must not even build the giant's modules."""
    folder = folder_of(SPECS["bert"], tmp_path)
    for name, member in ((n, m) for m in families() for n in m.presets):
        (folder / "config.json").write_text(json.dumps({**member.presets[name], "model_type": member.model_type}))
        with refused():
            load_checkpoint(folder)


def test_an_index_of_layers_is_bounded(bert: Path) -> None:
    with refused("512 layers"):
        load_checkpoint(configure(bert, num_hidden_layers=512))


# The front door ------------------------------------------------------------------------------------------------------


def test_a_tokenizer_must_fit(bert: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[UNK]": 0, **{f"w{i}": i for i in range(1, 40)}}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.save(str(bert / "tokenizer.json"))
    assert mf.load(bert).tokenizer is not None
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({**words, "w40": 40}, unk_token="[UNK]"))
    tokenizer.save(str(bert / "tokenizer.json"))
    with pytest.raises(ModuformerError, match="40"):
        mf.load(bert)


def test_types_that_are_none(bert: Path) -> None:
    for dtype in ("int8", "torch.load", "float33", torch.int64, 16):
        with pytest.raises(CheckpointError, match="float32"):
            mf.load(bert, dtype=dtype)
    assert mf.load(bert, dtype="float16").dtype == torch.float16
    assert mf.load(bert).dtype == torch.float32
