"""LoRA: the sum it computes, what it leaves alone, merging, and PEFT's files."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_training import bert, sentences

import moduformer as mf
from moduformer.architecture import Head
from moduformer.errors import CheckpointError, TrainingError
from moduformer.lora import Lora, LoraSettings, file_names
from moduformer.model import build
from moduformer.train import checkpoint
from moduformer.train.callbacks import Callback
from moduformer.train.evaluation import predict
from moduformer.train.groups import Only
from moduformer.train.loop import train
from moduformer.train.settings import Settings

LORA = Settings(epochs=2, batch_size=16, learning_rate=1e-2, policy=Only(("head", "adapters")))

# A BERT's names in its checkpoints, as the checkpoint plan would give them.
FILE_NAMES = {
    "attention.q": "attention.self.query",
    "attention.k": "attention.self.key",
    "attention.v": "attention.self.value",
    "attention.out": "attention.output.dense",
    "feed_forward.up": "intermediate.dense",
    "feed_forward.down": "output.dense",
}


def name_of(name: str) -> str:
    path, _, kind = name.rpartition(".")
    if path == "heads.classify":
        return f"classifier.{kind}"
    if path == "heads.pool.transform.dense":
        return f"bert.pooler.dense.{kind}"
    _, layer, part = path.split(".", 2)
    return f"bert.encoder.layer.{layer}.{FILE_NAMES[part]}.{kind}"


@pytest.fixture
def model():
    return build(bert(), seed=0)


@pytest.fixture
def examples():
    return sentences(32)[0]


def randomise(lora: Lora) -> Lora:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in lora.parameters():
            parameter.normal_(std=0.2, generator=generator)
    return lora.eval()


def test_a_fresh_adapter_changes_nothing_and_its_seed_decides_it(model, examples):
    before = predict(model, examples)
    lora = Lora(model, seed=4).eval()
    assert torch.equal(predict(model, examples), before)
    again, other = Lora(build(bert(), seed=0), seed=4), Lora(build(bert(), seed=0), seed=5)
    assert all(torch.equal(a, b) for a, b in zip(lora.parameters(), again.parameters()))
    assert not all(torch.equal(a, b) for a, b in zip(lora.parameters(), other.parameters()))


def test_an_adapter_adds_scale_b_a_to_its_part_alone(model):
    lora = randomise(Lora(model, LoraSettings(rank=4, alpha=8, targets=("q", "v"))))
    qkv = model.encoder.layer(0).attention.qkv
    x = torch.randn(9, 32)
    with torch.no_grad():
        base = torch.nn.functional.linear(x, qkv.weight, qkv.bias)
        adapter = lora._adapter("encoder.0.attention.qkv")
        for i, part in enumerate(("q", "k", "v")):
            change = qkv(x).split(32, 1)[i] - base.split(32, 1)[i]
            if part == "k":
                assert torch.equal(change, torch.zeros(9, 32))
            else:
                expected = 2.0 * x @ adapter.down[part].T @ adapter.up[part].T
                assert torch.allclose(change, expected, atol=1e-5)
                assert expected.abs().max() > 0.1


def test_training_changes_adapters_and_heads_and_no_other_weight(model):
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    data = sentences(32)
    lora = Lora(model, LoraSettings(targets=("q", "v", "up", "down", "out")))
    history = train(model, *data, LORA, adapters=lora)
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name in before if name.startswith("heads.")}
    assert all(bool(up.abs().sum() > 0) for _, part, adapter in lora.parts() for up in [adapter.up[part]])
    assert set(history.steps[-1].trained) == {"head", "adapters"}
    assert set(model.state_dict()) == set(before)


def test_frozen_weights_get_no_gradient(model, examples):
    lora = Lora(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model(torch.tensor([examples.ids.row(0)])).logits.sum().backward()
    assert all(p.grad is None for p in model.parameters())
    assert all(p.grad is not None for p in lora.parameters())


def test_the_adapters_between_two_models_are_the_nearest_of_their_rank(model, examples):
    tuned = build(bert(), seed=0)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if name.startswith(("encoder.", "heads.")) and parameter.dim() == 2:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    wanted, before = predict(tuned, examples), predict(model, examples)
    change = tuned.views()["encoder.0.attention.q.weight"] - model.views()["encoder.0.attention.q.weight"]
    left_out = torch.linalg.svdvals(change.detach())
    errors = []
    for rank in (1, 2, 4, 64):
        base = build(bert(), seed=0)
        lora = Lora.between(base, tuned, rank)
        errors.append(abs(predict(base, examples) - wanted).max())
        adapter = next(each for path, part, each in lora.parts() if (path, part) == ("encoder.0.attention.qkv", "q"))
        # No matrix of this rank is nearer than the singular values that are left out.
        assert torch.allclose((change - adapter.change("q")).norm(), left_out[rank:].norm(), atol=1e-5)
    assert errors[-1] <= 1e-5 < errors[0]
    assert abs(wanted - before).max() > 1e-2
    with pytest.raises(TrainingError, match="pad_id"):
        Lora.between(model, build(replace(bert(), pad_id=3), seed=0), 2)


def test_merging_equals_the_adapters_and_goes_back_to_the_bit(model, examples):
    base = {name: p.detach().clone() for name, p in model.named_parameters()}
    lora = randomise(Lora(model, LoraSettings(targets=("q", "k", "v", "out", "up", "down"))))
    adapted = predict(model, examples)
    lora.merge()
    lora.merge()
    assert torch.allclose(predict(model, examples), adapted, atol=1e-4)
    assert not torch.equal(model.encoder.layer(0).attention.qkv.weight, base["encoder.0.attention.qkv.weight"])
    lora.unmerge()
    assert all(torch.equal(p, base[name]) for name, p in model.named_parameters())
    assert torch.equal(predict(model, examples), adapted)
    lora.remove()
    assert not torch.allclose(predict(model, examples), adapted, atol=1e-3)


def test_a_run_with_adapters_resumes_to_the_bit_and_saves_little(tmp_path):
    def run(folder, **how):
        model = build(bert(), seed=0)
        lora = Lora(model, seed=1)
        train(model, *sentences(32), replace(LORA, save_every=1, **how), adapters=lora, folder=folder, resume=True)
        return [p.detach().clone() for p in (*lora.parameters(), *model.heads.parameters())]

    straight = run(None)

    class Stop(Callback):
        def on_save(self, path, step):
            if step == 3:
                raise KeyboardInterrupt

    model, settings = build(bert(), seed=0), replace(LORA, save_every=1)
    with pytest.raises(KeyboardInterrupt):
        train(model, *sentences(32), settings, adapters=Lora(model, seed=1), folder=tmp_path, callbacks=[Stop()])
    saved = checkpoint.read(checkpoint.latest(tmp_path / "checkpoints")).tensors
    assert not [name for name in saved if name.startswith(("model#encoder", "model#embedding"))]
    assert all(torch.equal(a, b) for a, b in zip(straight, run(tmp_path)))


# PEFT's files ---------------------------------------------------------------------------------------------------------


def test_adapters_and_heads_read_back(model, examples, tmp_path):
    randomise(Lora(model, LoraSettings(rank=3, alpha=5, targets=("q", "down")))).save(tmp_path, model, name_of)
    expected = predict(model, examples)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    other = build(bert(), seed=0)
    with torch.no_grad():
        other.heads["classify"].weight.zero_()
    lora = Lora.load(other, tmp_path, name_of)
    assert torch.equal(predict(other, examples), expected)
    assert lora.settings == LoraSettings(rank=3, alpha=5, targets=("down", "q"))


def huggingface(model):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128,
        max_position_embeddings=64, num_labels=3,
    )  # fmt: skip
    reference = transformers.BertForSequenceClassification(config).eval()
    state = reference.state_dict()
    for name, view in model.views().items():
        if name.startswith(("encoder.", "heads.")):
            target = name_of(name) if "norm" not in name and "qkv" not in name and "inner" not in name else None
            if target in state:
                state[target] = view.detach().clone()
            elif "attention_norm" in name:
                state[f"bert.encoder.layer.{name[8]}.attention.output.LayerNorm.{name.split('.')[-1]}"] = view.detach()
            elif "feed_forward_norm" in name:
                state[f"bert.encoder.layer.{name[8]}.output.LayerNorm.{name.split('.')[-1]}"] = view.detach()
    for ours, theirs in (("tokens", "word"), ("positions", "position"), ("segments", "token_type")):
        weight = getattr(model.embedding, ours).weight.detach()
        state[f"bert.embeddings.{theirs}_embeddings.weight"] = weight
    reference.load_state_dict(state)
    return reference


@pytest.mark.parametrize("targets", [("q", "v"), ("k", "out", "up", "down")])
def test_peft_computes_the_same_from_our_files(model, tmp_path, targets):
    peft = pytest.importorskip("peft")
    reference = huggingface(model)
    ids = torch.tensor([[1, 20, 30, 40], [1, 22, 33, 44]])
    with torch.no_grad():
        assert torch.allclose(reference(ids).logits, model(ids).logits, atol=1e-5)
    lora = randomise(Lora(model, LoraSettings(rank=4, alpha=6, targets=targets)))
    with torch.no_grad():
        for head in model.heads.parameters():
            head.add_(0.1)
    lora.save(tmp_path / "adapter", model, name_of, base="tiny")
    loaded = peft.PeftModel.from_pretrained(reference, tmp_path / "adapter").eval()
    with torch.no_grad():
        assert torch.allclose(loaded(ids).logits, model(ids).logits, atol=1e-5)


def test_we_compute_the_same_from_pefts_files(model, tmp_path):
    peft = pytest.importorskip("peft")
    reference = huggingface(model)
    config = peft.LoraConfig(r=4, lora_alpha=12, target_modules=["query", "value"], task_type="SEQ_CLS")
    theirs = peft.get_peft_model(reference, config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_" in name or ("classifier" in name and "modules_to_save" in name):
                parameter.normal_(std=0.2, generator=generator)
    theirs.save_pretrained(tmp_path / "adapter")
    Lora.load(model, tmp_path / "adapter", name_of)
    ids = torch.tensor([[1, 20, 30, 40], [1, 22, 33, 44]])
    with torch.no_grad():
        assert torch.allclose(theirs.eval()(ids).logits, model(ids).logits, atol=1e-5)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"peft_type": "IA3"}, "LoRA"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"rank_pattern": {"query": 2}}, "rank_pattern"),
        ({"r": 0}, "r, lora_alpha"),
        ({"r": "8"}, "r must be a number"),
        ({"r": 10**9}, "r must be a number"),
        ({"r": 5}, "is needed"),
        ({"lora_alpha": None}, "lora_alpha"),
    ],
)
def test_settings_that_would_change_the_numbers_are_refused(model, tmp_path, edit, message):
    Lora(model).save(tmp_path, model, name_of)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | edit))
    other = build(bert(), seed=0)
    with pytest.raises(CheckpointError, match=message):
        Lora.load(other, tmp_path, name_of)
    assert not any(module._forward_hooks for module in other.modules())


def test_damaged_or_foreign_files_are_refused(model, tmp_path):
    with pytest.raises(CheckpointError, match=r"adapter_config\.json"):
        Lora.load(model, tmp_path, name_of)
    Lora(model).save(tmp_path, model, name_of)
    (tmp_path / "adapter_config.json").write_text("[" * 5000)
    with pytest.raises(CheckpointError, match="not JSON"):
        Lora.load(model, tmp_path, name_of)
    Lora(model).save(tmp_path, model, name_of)
    with pytest.raises(CheckpointError, match=r"layer\.1\..* does not have"):
        Lora.load(build(bert(layers=1), seed=0), tmp_path, name_of)
    with pytest.raises(CheckpointError, match="classifier"):
        Lora.load(build(bert(classes=5), seed=0), tmp_path, name_of)


def test_fused_checkpoints_have_no_place_for_the_adapter_of_a_part(model, tmp_path):
    with pytest.raises(CheckpointError, match="fused"):
        Lora(model).save(tmp_path, model, lambda name: name.replace(".q.", ".qkv.").replace(".v.", ".qkv."))


def test_settings_and_targets_that_cannot_be_are_refused(model):
    with pytest.raises(TrainingError, match="rank"):
        LoraSettings(rank=0)
    with pytest.raises(TrainingError, match=r"query.*has down, k, out, q, up, v"):
        Lora(model, LoraSettings(targets=("query",)))


def test_a_model_without_heads_has_adapters_too(tmp_path):
    model = build(bert(heads=(Head("tag", outputs=2),)), seed=0)
    assert Lora(model).num_parameters() == 2 * 2 * (8 * 32 + 32 * 8)


# Loaded as a model ---------------------------------------------------------------------------------------------------


@pytest.fixture
def adapted(tmp_path):
    """A base checkpoint without a head, a classifier over it, and a folder of its adapters and head."""
    base = build(replace(bert(), heads=()), seed=0)
    base.save(tmp_path / "base")
    model = mf.load(tmp_path / "base", "text-classification", labels=("no", "maybe", "yes"), new_head=True)
    lora = randomise(Lora(model))
    folder = tmp_path / "adapter"
    lora.save(folder, model, file_names(model).__getitem__, base=str(tmp_path / "base"))
    (folder / "config.json").write_text(json.dumps(model.origin.config), encoding="utf-8")
    return folder, model


def test_a_folder_of_adapters_loads_as_the_model_they_make(adapted, examples):
    folder, model = adapted
    loaded = mf.load(folder)
    assert loaded.labels == ("no", "maybe", "yes")
    assert torch.allclose(predict(loaded, examples), predict(model, examples), atol=1e-5)
    assert any("low-rank adapters merged into" in note for note in loaded.notes)
    assert not any("at random" in note for note in loaded.notes)


def test_adapters_that_are_not_all_there_are_refused(adapted):
    folder, _ = adapted
    config = json.loads((folder / "adapter_config.json").read_text())
    with pytest.raises(CheckpointError, match="not one for token-classification"):
        mf.load(folder, "token-classification")
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": None}))
    with pytest.raises(CheckpointError, match="names no base model"):
        mf.load(folder)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "adapter_model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "classifier" not in name}
    assert len(kept) < len(tensors)
    save_file(kept, folder / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=r"classifier.* and neither does its base model"):
        mf.load(folder)
