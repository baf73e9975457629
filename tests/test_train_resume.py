"""Checkpoints that survive kills, full disks and power cuts, and resumption to the bit."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import bert, sentences

from moduformer.errors import CheckpointError, TrainingError
from moduformer.model import build
from moduformer.train import checkpoint
from moduformer.train.callbacks import Callback
from moduformer.train.loop import train
from moduformer.train.settings import Settings

OPERATIONS = ("write", "fsync", "replace", "mkdir", "unlink", "rmdir")


def state(value: float, step: int) -> checkpoint.State:
    return checkpoint.State({"a": torch.full((5,), value), "b": torch.zeros(0, 2)}, {"step": step})


def value_of(folder: Path) -> float | None:
    """What a resumption would find: the value saved in the latest checkpoint, after all checks."""
    found = checkpoint.latest(folder)
    return None if found is None else float(checkpoint.read(found).tensors["a"][0])


def count_operations(monkeypatch, action):
    """Calls `action(number, name)` before every operation on files."""
    counted = [0]

    def wrap(name, real):
        def operation(*args, **kwargs):
            counted[0] += 1
            action(counted[0], name)
            return real(*args, **kwargs)

        return operation

    for name in OPERATIONS:
        monkeypatch.setattr(os, name, wrap(name, getattr(os, name)))
    return counted


# Saving --------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_reads_back_and_older_ones_go(tmp_path):
    for step in range(1, 5):
        path = checkpoint.write(tmp_path, step, state(step, step), best=step == 2)
    assert path.name == "step-00000004"
    assert checkpoint.latest(tmp_path) == path
    assert checkpoint.best(tmp_path).name == "step-00000002"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest.json", "step-00000002", "step-00000004"]
    read = checkpoint.read(path)
    assert read.data == {"step": 4}
    assert read.tensors["a"].tolist() == [4.0] * 5
    assert read.tensors["b"].shape == (0, 2)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_an_error_at_any_operation_keeps_the_previous_checkpoint(tmp_path, monkeypatch, error):
    folder = tmp_path / "c"
    checkpoint.write(folder, 1, state(1, 1), best=True)
    before = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    failed = saved = 0
    for number in range(1, 200):

        def fail(n, name, number=number):
            if n == number and name in ("write", "fsync", "replace", "mkdir"):
                raise OSError(error, os.strerror(error))

        copy = tmp_path / str(number)
        shutil.copytree(folder, copy)
        with monkeypatch.context() as patched:
            counted = count_operations(patched, fail)
            try:
                checkpoint.write(copy, 2, state(2, 2))
                saved += 1
            except CheckpointError as failure:
                assert "previous checkpoint" in str(failure) or "unchanged" in str(failure)  # noqa: PT017
                failed += 1
        found = value_of(copy)
        assert found in (1.0, 2.0)
        if found == 1.0:
            now = {p.relative_to(copy): p.read_bytes() for p in copy.rglob("*") if p.is_file()}
            assert {name: now[name] for name in before} == before
        checkpoint.clean(copy)
        assert not [p for p in copy.iterdir() if p.name.startswith(".")]
        if number > counted[0]:
            break
    assert failed >= 10
    assert saved >= 1


KILLS = """
import os, shutil, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import test_train_resume as t
from moduformer.train import checkpoint
root = Path({root!r})
checkpoint.write(root / "start", 1, t.state(1, 1), best=True)
number = 0
while True:
    number += 1
    folder = root / str(number)
    shutil.copytree(root / "start", folder)
    child = os.fork()
    if not child:
        counted = [0]
        def wrap(real):
            def operation(*args, **kwargs):
                counted[0] += 1
                if counted[0] == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)
            return operation
        for name in t.OPERATIONS:
            setattr(os, name, wrap(getattr(os, name)))
        checkpoint.write(folder, 2, t.state(2, 2))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status):
        print(number)
        break
"""


def run_script(script: str) -> str:
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_kill_at_any_operation_leaves_the_old_checkpoint_or_the_new(tmp_path):
    last = int(run_script(KILLS.format(tests=os.path.dirname(__file__), root=str(tmp_path))))
    values = []
    for number in range(1, last + 1):
        folder = tmp_path / str(number)
        values.append(value_of(folder))
        checkpoint.clean(folder)
        names = {p.name for p in folder.iterdir()}
        assert names <= {"latest.json", "step-00000001", "step-00000002"}
        assert value_of(folder) == values[-1]
        checkpoint.write(folder, 3, state(3, 3))
        assert value_of(folder) == 3.0
    assert last > 15
    assert set(values) == {1.0, 2.0}
    assert values == sorted(values)


class Disk:
    """What would be on the disk after a power cut: only what has been forced there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.contents: dict[int, bytes] = {}
        self.entries: dict[int, dict[str, int]] = {}
        self.folders: set[int] = set()
        for path in (root, *root.rglob("*")):
            self.sync(path)

    def sync(self, path: Path) -> None:
        inode = path.stat().st_ino
        if path.is_dir():
            self.folders.add(inode)
            self.entries[inode] = {p.name: p.lstat().st_ino for p in path.iterdir()}
            self.folders |= {p.lstat().st_ino for p in path.iterdir() if p.is_dir()}
        else:
            self.contents[inode] = path.read_bytes()

    def rename(self, folder: Path, source: str, target: str) -> None:
        """A rename that reached the disk although nobody asked."""
        entries = self.entries.setdefault(folder.stat().st_ino, {})
        entries[target] = (folder / source).lstat().st_ino
        entries.pop(source, None)

    def copy(self) -> "Disk":
        other = Disk.__new__(Disk)
        other.root, other.contents = self.root, dict(self.contents)
        other.entries = {inode: dict(names) for inode, names in self.entries.items()}
        other.folders = set(self.folders)
        return other

    def after_power_cut(self, target: Path, inode: int | None = None) -> Path:
        inode = self.root.stat().st_ino if inode is None else inode
        target.mkdir()
        for name, child in self.entries.get(inode, {}).items():
            if child in self.folders:
                self.after_power_cut(target / name, child)
            else:
                (target / name).write_bytes(self.contents.get(child, b""))
        return target


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to know which file is synced")
def test_a_power_cut_at_any_time_leaves_the_old_checkpoint_or_the_new(tmp_path, monkeypatch):
    root = tmp_path / "disk"
    folder = root / "checkpoints"
    checkpoint.write(folder, 1, state(1, 1), best=True)
    disk = Disk(root)
    images = []
    fsync, replace = os.fsync, os.replace

    def synced(handle):
        fsync(handle)
        disk.sync(Path(os.readlink(f"/proc/self/fd/{handle}")))
        images.append(disk.copy())

    def replaced(source, target):
        # The rename may reach the disk before anything that was not forced there.
        early = disk.copy()
        early.rename(Path(target).parent, Path(source).name, Path(target).name)
        replace(source, target)
        images.append(early)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    checkpoint.write(folder, 2, state(2, 2), best=True)
    monkeypatch.undo()
    values = []
    for number, image in enumerate([*images, disk]):
        values.append(value_of(image.after_power_cut(tmp_path / str(number)) / "checkpoints"))
    assert set(values) == {1.0, 2.0}
    assert values[-1] == 2.0
    assert len(values) > 8


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to know which file is synced")
@pytest.mark.parametrize("forgotten", ["files", "folders"])
def test_the_power_cut_test_sees_a_forgotten_fsync(tmp_path, monkeypatch, forgotten):
    root = tmp_path / "disk"
    folder = root / "checkpoints"
    checkpoint.write(folder, 1, state(1, 1))
    disk = Disk(root)
    fsync = os.fsync

    def synced(handle):
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if path.is_dir() == (forgotten == "files"):
            fsync(handle)
            disk.sync(path)

    monkeypatch.setattr(os, "fsync", synced)
    checkpoint.write(folder, 2, state(2, 2))
    monkeypatch.undo()
    try:
        found = value_of(disk.after_power_cut(tmp_path / "image") / "checkpoints")
    except CheckpointError:
        found = None
    assert found != 2.0


def test_a_kill_before_the_first_pointer_leaves_a_checkpoint_that_counts(tmp_path):
    path = checkpoint.write(tmp_path, 1, state(1, 1))
    (tmp_path / "latest.json").unlink()
    checkpoint.clean(tmp_path)
    assert checkpoint.latest(tmp_path) == path
    (path / "state.json").write_text("{}")
    assert checkpoint.latest(tmp_path) is None


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["missing", "changed", "empty"])
def test_a_damaged_checkpoint_is_refused(tmp_path, name, damage):
    path = checkpoint.write(tmp_path, 1, state(1, 1)) / name
    if damage == "missing":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content if damage == "changed" else b"")
    with pytest.raises(CheckpointError, match=name.replace(".", "\\.")):
        checkpoint.read(checkpoint.latest(tmp_path))


@pytest.mark.parametrize(
    "pointer", ["", "[]", "{}", '{"latest": {"name": "../x", "manifest": ""}, "best": null}', "[" * 9999]
)
def test_a_pointer_that_is_damaged_or_points_elsewhere_is_refused(tmp_path, pointer):
    checkpoint.write(tmp_path, 1, state(1, 1))
    (tmp_path / "latest.json").write_text(pointer)
    with pytest.raises(CheckpointError, match=r"latest\.json"):
        checkpoint.latest(tmp_path)


# Resuming ------------------------------------------------------------------------------------------------------------

SETTINGS = Settings(
    epochs=3,
    batch_size=4,
    accumulate=3,
    learning_rate=2e-3,
    save_every=2,
    metric="score",
    evaluate_every=3,
    log_every=2,
)


class Stop(Callback):
    """Ends the run as an interrupt would, after some steps."""

    def __init__(self, step: int) -> None:
        self.at = step

    def on_step(self, step) -> None:
        if step.step == self.at:
            raise KeyboardInterrupt


def score(model):
    return {"score": float(-model.heads["classify"].weight.abs().sum())}


def fingerprint(model) -> str:
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()


def start(folder: Path, settings: Settings = SETTINGS, stop: int = 7) -> None:
    model, watchers = build(bert(), seed=0), [Stop(stop)]
    with pytest.raises(KeyboardInterrupt):
        train(model, *sentences(40), settings, folder=folder, evaluate=score, callbacks=watchers)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    straight = build(bert(), seed=0)
    whole = train(straight, *sentences(40), SETTINGS, folder=tmp_path / "a", evaluate=score)
    start(tmp_path / "b")
    resumed = build(bert(), seed=0)
    history = train(resumed, *sentences(40), SETTINGS, folder=tmp_path / "b", evaluate=score, resume=True)
    assert history.resumed_from == 6
    assert fingerprint(resumed) == fingerprint(straight)
    assert [s.loss for s in history.steps] == [s.loss for s in whole.steps]
    assert [e.metrics for e in history.evaluations] == [e.metrics for e in whole.evaluations]
    columns = [row.split(",")[:4] for row in (tmp_path / "b" / "log.csv").read_text().splitlines()]
    assert columns == [row.split(",")[:4] for row in (tmp_path / "a" / "log.csv").read_text().splitlines()]
    again = build(bert(), seed=0)
    train(again, *sentences(40), SETTINGS, folder=tmp_path / "b", evaluate=score, resume=True)
    assert fingerprint(again) == fingerprint(straight)


def test_resuming_where_there_is_nothing_starts_and_starting_where_there_is_something_is_refused(tmp_path):
    settings = Settings(epochs=1)
    train(build(bert(), seed=0), *sentences(8), settings, folder=tmp_path, resume=True)
    with pytest.raises(TrainingError, match="earlier run"):
        train(build(bert(), seed=0), *sentences(8), settings, folder=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": Settings(**{**SETTINGS.__dict__, "seed": 1})}, "settings.seed: 0 -> 1"),
        ({"settings": Settings(**{**SETTINGS.__dict__, "batch_size": 5})}, "settings.batch_size: 4 -> 5"),
        ({"settings": Settings(**{**SETTINGS.__dict__, "learning_rate": 1.0})}, "settings.learning_rate: 0.002 -> 1.0"),
        ({"data": sentences(40, seed=9)}, "data: "),
        ({"data": (sentences(40)[0], np.roll(sentences(40)[1], 1))}, "data: "),
        ({"spec": bert(dropout=0.2)}, "model.embedding.dropout: 0.1 -> 0.2"),
    ],
)
def test_another_run_is_refused_with_every_difference(tmp_path, change, message):
    start(tmp_path)
    model = build(change.get("spec", bert()), seed=0)
    with pytest.raises(TrainingError) as refusal:
        train(
            model,
            *change.get("data", sentences(40)),
            change.get("settings", SETTINGS),
            folder=tmp_path,
            evaluate=score,
            resume=True,
        )
    assert message in str(refusal.value)


def test_what_does_not_change_numbers_may_change(tmp_path):
    start(tmp_path)
    settings = Settings(**{**SETTINGS.__dict__, "save_every": 5, "log_every": 7})
    model = build(bert(), seed=0)
    train(model, *sentences(40), settings, folder=tmp_path, evaluate=score, resume=True)
    straight = build(bert(), seed=0)
    train(straight, *sentences(40), SETTINGS, evaluate=score)
    assert fingerprint(model) == fingerprint(straight)


def rewrite(folder: Path, edit) -> None:
    """Changes the latest checkpoint and signs it again, so that only its content can be refused."""
    found = checkpoint.read(checkpoint.latest(folder))
    edit(found)
    checkpoint.write(folder, 999, found)


def drop_data(*path):
    def edit(found):
        data = found.data
        for key in path[:-1]:
            data = data[key]
        del data[path[-1]]

    return edit


def drop_tensors(prefix):
    def edit(found):
        for name in [name for name in found.tensors if name.startswith(prefix)]:
            del found.tensors[name]

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        drop_tensors("optimizer#"),
        drop_tensors("optimizer#encoder.0.attention.qkv.weight#exp_avg_sq"),
        drop_tensors("optimizer#encoder.0.attention.qkv.weight"),
        drop_tensors("optimizer#rows#steps"),
        drop_tensors("model#encoder.1.attention.out.bias"),
        drop_tensors("random#torch"),
        drop_data("random", "python"),
        drop_data("random", "numpy"),
        drop_data("step"),
        drop_data("epoch"),
        drop_data("position"),
        drop_data("worse"),
        drop_data("identity"),
        drop_data("identity", "data"),
        drop_data("identity", "settings", "schedule"),
        drop_data("history"),
        drop_data("history", "best_value"),
        drop_data("history", "best_step"),
    ],
)
def test_a_checkpoint_without_any_one_of_its_items_is_refused(tmp_path, edit):
    start(tmp_path)
    rewrite(tmp_path / "checkpoints", edit)
    with pytest.raises((TrainingError, CheckpointError)):
        train(build(bert(), seed=0), *sentences(40), SETTINGS, folder=tmp_path, evaluate=score, resume=True)


def test_other_frozen_weights_are_refused(tmp_path):
    from moduformer.train.groups import TopGroups

    settings = Settings(epochs=4, policy=TopGroups(1), save_every=1)
    start(tmp_path, settings, stop=3)
    with pytest.raises(TrainingError, match="frozen weights"):
        train(build(bert(), seed=1), *sentences(40), settings, folder=tmp_path, resume=True)
    saved = checkpoint.read(checkpoint.latest(tmp_path / "checkpoints")).tensors
    assert {name for name in saved if name.startswith("model#")} == {
        f"model#heads.{name}"
        for name in (
            "pool.transform.dense.weight", "pool.transform.dense.bias",
            "classify.weight", "classify.bias",
        )
    }  # fmt: skip


RUNS = """
import json, os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import torch
import test_train_resume as t
from moduformer.train import checkpoint
from moduformer.train.objectives import Classification

events = 0
kill_at = None

def happen():
    global events
    events += 1
    if events == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)

class Watched(Classification):
    def loss(self, model, prepared):
        happen()
        return super().loss(model, prepared)

def score(model):
    happen()
    return t.score(model)

for name in t.OPERATIONS:
    def wrap(real):
        def operation(*args, **kwargs):
            happen()
            return real(*args, **kwargs)
        return operation
    setattr(os, name, wrap(getattr(os, name)))

def run(folder, kill):
    "A run in a process of its own; None if it was killed, else its weights' hash and the number of events."
    global kill_at, events
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        events, kill_at = 0, kill
        model = t.build(t.bert(), seed=0)
        t.train(model, *t.sentences(40), t.SETTINGS, folder=folder, evaluate=score, objective=Watched(), resume=True)
        seen = events
        os.write(writer, json.dumps([t.fingerprint(model), seen]).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return json.loads(said) if said else None

torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # imports much, once for all processes
root = Path({root!r})
straight, total = run(root / "straight", None)
import random
points = sorted(random.Random(0).sample(range(1, total + 1), {count} - 1)) + [total]
results = []
for point in points:
    folder = root / str(point)
    assert run(folder, point) is None, point
    # Killed once more on the way, so that a resumed run is resumed.
    run(folder, max(point // 2, 1))
    results.append(run(folder, None)[0])
print(json.dumps([straight, total, results]))
"""


def test_runs_killed_at_random_points_end_with_the_same_weights(tmp_path):
    script = RUNS.format(tests=os.path.dirname(__file__), root=str(tmp_path), count=20)
    straight, total, results = json.loads(run_script(script))
    assert total > 200
    assert len(results) == 20
    assert set(results) == {straight}
