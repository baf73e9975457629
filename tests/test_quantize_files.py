"""Quantised folders: back to the bit, and hostile ones refused by name."""

import json
import subprocess
import sys

import pytest
import torch
from core_models import SPECS, randomise
from tiny_models import tiny_encoder

import moduformer as mf
from moduformer.batch import Batch
from moduformer.errors import CheckpointError
from moduformer.quantize import quantize
from moduformer.weights.files import open_tensors, save_tensors

TEXTS = [[5, 6, 7, 8, 9], [3, 4], [11, 12, 13]]
CODES = "encoder.0.attention.qkv.codes"
SCALE = "encoder.0.attention.qkv.scale"


def run(model):
    batch = Batch.from_lists(TEXTS)
    both = model.encoder is not None and model.decoder is not None
    with torch.no_grad():
        states = model.run(batch, Batch.from_lists(TEXTS, order=batch.order) if both else None)
    return [states.hidden, *states.heads.values()]


def stored(folder):
    with open_tensors(folder) as file:
        return {name: file.read(name) for name in file.names()}


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize(("scheme", "heads"), [("int8", None), ("int4", "int4"), ("int4", "int8")])
def test_save_and_load_give_the_same_bits(name, scheme, heads, tmp_path):
    model = quantize(randomise(mf.build(SPECS[name]), 2).eval(), scheme, heads=heads)
    model.save(tmp_path / "a")
    loaded = mf.load(tmp_path / "a")
    assert loaded.quantization == model.quantization
    assert loaded.num_parameters() == model.num_parameters()
    assert loaded.spec == model.spec
    for a, b in zip(run(model), run(loaded), strict=True):
        assert torch.equal(a, b)
    loaded.save(tmp_path / "b")
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()
    assert (tmp_path / "a" / "config.json").read_bytes() == (tmp_path / "b" / "config.json").read_bytes()


def test_tokenizer_labels_and_stored_types_are_kept(tmp_path):
    model = mf.load(tiny_encoder(tmp_path / "float"))
    model.labels = ("no", "yes")
    model.origin.dtypes.clear()
    model.to(torch.bfloat16).save(tmp_path / "half")
    model = quantize(mf.load(tmp_path / "half"))
    loaded = mf.load(model.save(tmp_path / "coded"))
    assert loaded.tokenizer.encode("good film").ids == model.tokenizer.encode("good film").ids
    assert loaded.labels == ("no", "yes")
    assert stored(tmp_path / "coded")["embedding.tokens.weight"].dtype == torch.bfloat16
    assert loaded.dtype == torch.float32
    assert mf.load(tmp_path / "coded", dtype="bfloat16").dtype == torch.bfloat16


@pytest.fixture
def folder(tmp_path):
    model = quantize(randomise(mf.build(SPECS["bert"]), 2).eval())
    return model.save(tmp_path / "coded")


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] |= changes
    (folder / "config.json").write_text(json.dumps(config))
    return config


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (SCALE, None, "missing 1 tensors.*qkv.scale"),
        (CODES, None, "missing 1 tensors.*qkv.codes"),
        ("encoder.1.feed_forward.down.bias", None, "down.bias"),
        (SCALE, torch.ones(47), r"qkv\.scale.*\[47\].*\[48\]"),
        (CODES, torch.zeros(48, 8, dtype=torch.int8), r"qkv\.codes.*shape"),
        (CODES, torch.zeros(48, 16), r"qkv\.codes.*float32.*int8"),
        (SCALE, torch.ones(48, dtype=torch.float16), r"qkv\.scale.*float16.*float32"),
        (SCALE, torch.full((48,), float("nan")), r"qkv\.scale.*48 NaN"),
        (SCALE, torch.full((48,), float("inf")), r"qkv\.scale.*48 infinite"),
        ("embedding.tokens.weight", torch.zeros(40, 16, dtype=torch.int8), "tokens.weight.*int8"),
        ("encoder.0.attention.qkv.weight", torch.zeros(48, 16), "no place.*qkv.weight"),
    ],
)
def test_a_damaged_file_is_refused_by_the_name_of_its_tensor(folder, name, value, message):
    tensors = stored(folder)
    if value is None:
        del tensors[name]
    else:
        tensors[name] = value
    save_tensors(folder, tensors)
    with pytest.raises(CheckpointError, match=message):
        mf.load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheme": "int3"}, "'int3'"),
        ({"scheme": None}, "None"),
        ({"heads": ["int8"]}, "int8"),
        ({"group": 31}, "groups of 31"),
        ({"group": True}, "groups of True"),
        ({"layers": None}, "layers"),
        ({"layers": {"encoder.0.attention.qkv": "fp3"}}, "fp3"),
        ({"layers": {"encoder.0.attention.qkv": ["int8"]}}, "int8"),
        ({"layers": {"encoder.9.attention.qkv": "int8"}}, r"encoder\.9\.attention\.qkv"),
        ({"layers": {"embedding.tokens": "int8"}}, r"embedding\.tokens"),
        ({"layers": {"heads.pool.product": "int8"}}, r"heads\.pool\.product"),
        ({"layers": {"": "int8"}}, "no linear layer"),
        ({"layers": {"encoder.0.attention.qkv": "int4"}}, r"int4.*\[48, 16\]"),
        ({"layers": {}}, "missing"),
    ],
)
def test_a_config_that_lies_is_refused(folder, changes, message):
    change_config(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        mf.load(folder)


def test_a_spec_far_larger_than_the_file_is_refused_before_memory_is_taken(folder):
    config = change_config(folder)
    config["spec"]["vocab"] = 16_000_000
    config["spec"]["dim"] = 16
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"embedding\.tokens\.weight"):
        mf.load(folder)
    config["spec"]["encoder"]["layers"] = 1000
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="describes 1,000 layers"):
        mf.load(folder)


def test_other_tasks_and_new_heads_need_the_float_checkpoint(folder):
    assert mf.load(folder, task="text-classification").quantization is not None
    with pytest.raises(CheckpointError, match="quantised for its head 'classify'"):
        mf.load(folder, task="fill-mask")
    with pytest.raises(CheckpointError, match="no new head"):
        mf.load(folder, labels=["a", "b"], new_head=True)


def test_transformers_refuses_such_a_folder_instead_of_reading_codes_as_weights(folder):
    pytest.importorskip("transformers")
    code = f"from transformers import AutoConfig; AutoConfig.from_pretrained({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "moduformer" in done.stderr
