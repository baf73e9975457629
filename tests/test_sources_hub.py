"""The hub: only a checkpoint's files, verified by hash, and no request at all for what is here already."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sources_servers import FakeHub, Server, send, serving, sha256

from moduformer.errors import SourceError
from moduformer.sources import aliases, fetch_data, hub, resolve
from moduformer.sources.aliases import HubRepository, ModelAlias, PackageFile
from moduformer.sources.hub_files import HubFile, select

WEIGHTS = bytes(range(256)) * 400
FILES = {
    "config.json": b'{"model_type": "bert"}',
    "generation_config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"\x80\x04." * 1000,
    "tokenizer.json": b'{"version": "1.0"}',
    "tokenizer_config.json": b"{}",
    "vocab.txt": b"[PAD]\n",
    "chat_template.jinja": b"{{ messages }}",
    "1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}',
    "README.md": b"# A model\n",
    "modeling_evil.py": b"raise SystemExit",
    "setup.sh": b"rm -rf /",
    "onnx/model.onnx": b"onnx",
    "flax_model.msgpack": b"flax",
    "training_args.bin": b"\x80\x04.",
}
LFS = {"model.safetensors", "pytorch_model.bin", "onnx/model.onnx", "flax_model.msgpack"}


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No cache, login or network of the machine that runs the tests."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "HF_", "MODUFORMER_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("MODUFORMER_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MODUFORMER_SOURCES", "hub")
    monkeypatch.setattr(hub, "_silent", {})
    return tmp_path


@pytest.fixture
def fake() -> FakeHub:
    return FakeHub("org/tiny", dict(FILES), set(LFS))


@pytest.fixture
def server(fake: FakeHub, monkeypatch: pytest.MonkeyPatch):
    with serving(fake) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_only_the_checkpoint_is_fetched_and_then_nobody_is_asked(server: Server, fake: FakeHub) -> None:
    seen: list[tuple[int, int | None]] = []
    found = resolve("org/tiny", progress=lambda done, total: seen.append((done, total)))
    assert names(found.path) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
        "chat_template.jinja",
        "1_Pooling/config.json",
        "README.md",
    }
    assert (found.path / "model.safetensors").read_bytes() == WEIGHTS
    assert (found.kind, found.revision) == ("hub", fake.commit)
    total = sum(len(FILES[name]) for name in names(found.path))
    assert seen[-1] == (total, total)
    assert not any(".py" in path or "pytorch_model" in path for path in server.paths)
    asked = len(server.requests)
    again = resolve("org/tiny")
    assert resolve("org/tiny", revision=fake.commit).path == again.path == found.path
    assert "cached" in again.note
    assert len(server.requests) == asked


def test_cached_model_resolves_offline_in_a_new_process_without_the_hub_client(server: Server, fake: FakeHub) -> None:
    folder = resolve("org/tiny").path
    asked = len(server.requests)
    script = (
        "import sys; from moduformer.sources import resolve; print(resolve('org/tiny').path);"
        "print('huggingface_hub' in sys.modules)"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert answer.stdout.split() == [str(folder), "False"], answer.stderr
    assert len(server.requests) == asked


def test_same_size_corruption_is_refused_and_removed(server: Server, fake: FakeHub) -> None:
    fake.corrupt["model.safetensors"] = WEIGHTS[:-1] + b"\x00"
    with pytest.raises(SourceError, match="sha256"):
        resolve("org/tiny")
    assert not list(hub.cache_folder().rglob("model.safetensors"))
    fake.corrupt.clear()
    assert (resolve("org/tiny").path / "model.safetensors").read_bytes() == WEIGHTS


def test_corruption_of_a_small_file_is_noticed_by_its_git_hash(server: Server, fake: FakeHub) -> None:
    fake.corrupt["config.json"] = b'{"model_type": "bart"}'
    with pytest.raises(SourceError, match=r"config\.json is not the file"):
        resolve("org/tiny")


def test_a_moved_branch_is_not_followed_until_asked(server: Server, fake: FakeHub) -> None:
    first = resolve("org/tiny")
    fake.commit = "c" * 40
    fake.files["config.json"] = b'{"model_type": "gpt2"}'
    assert resolve("org/tiny").revision == first.revision
    moved = resolve("org/tiny", update=True)
    assert moved.revision == "c" * 40
    assert b"gpt2" in (moved.path / "config.json").read_bytes()
    assert resolve("org/tiny").revision == "c" * 40


def test_a_branch_rewritten_after_it_was_pinned_is_refused(server: Server, fake: FakeHub) -> None:
    first = resolve("org/tiny")
    (first.path / "config.json").resolve().unlink()
    fake.commit = "c" * 40
    with pytest.raises(SourceError):
        resolve("org/tiny")


def test_pinned_hashes_hold_against_the_hub_itself(
    server: Server, fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = PackageFile("x", "1", "x-1.whl", "0" * 64, 1, ())
    for digest, good in ((sha256(WEIGHTS), True), ("1" * 64, False)):
        repository = HubRepository("org/tiny", fake.commit, (("model.safetensors", digest),))
        monkeypatch.setitem(aliases.MODELS, "pinned", ModelAlias("pinned", "a fake", "MIT", repository, nowhere))
        if good:
            assert resolve("pinned").kind == "hub"
        else:
            with pytest.raises(SourceError, match="pinned one"):
                resolve("pinned")


def test_snapshot_of_another_program_is_adopted_without_a_request(
    server: Server, fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import hf_hub_download

    wanted = ["config.json", "model.safetensors", "tokenizer.json"]
    for name in wanted:
        hf_hub_download("org/tiny", name, cache_dir=hub.cache_folder(), endpoint=server.url)
    asked = len(server.requests)
    found = resolve("org/tiny")
    assert names(found.path) == set(wanted)
    assert len(server.requests) == asked


def test_incomplete_or_damaged_snapshot_of_another_program_is_not_adopted(server: Server, fake: FakeHub) -> None:
    from huggingface_hub import hf_hub_download

    hf_hub_download("org/tiny", "config.json", cache_dir=hub.cache_folder(), endpoint=server.url)
    assert not hub.is_cached("org/tiny", None, "model")
    for name in ("model.safetensors", "tokenizer.json"):
        path = Path(hf_hub_download("org/tiny", name, cache_dir=hub.cache_folder(), endpoint=server.url))
    assert hub.is_cached("org/tiny", None, "model")
    weights = path.with_name("model.safetensors").resolve()
    weights.write_bytes(WEIGHTS[:-1] + b"\x00")
    assert not hub.is_cached("org/tiny", None, "model")


def test_token_goes_to_the_hub_and_not_to_its_storage(
    server: Server, fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_s3cret")
    with serving(lambda handler, state: send(handler, 200, {}, WEIGHTS)) as storage:

        def answer(handler, state):
            if handler.path.endswith("/model.safetensors"):
                headers = {
                    "X-Repo-Commit": fake.commit,
                    "X-Linked-Etag": f'"{sha256(WEIGHTS)}"',
                    "X-Linked-Size": str(len(WEIGHTS)),
                    "Location": storage.url.replace("127.0.0.1", "localhost") + "/blob",
                }
                send(handler, 302, headers)
            else:
                fake(handler, state)

        server.answer = answer
        resolve("org/tiny")
    assert any(request.headers.get("authorization") == "Bearer hf_s3cret" for request in server.requests)
    assert storage.requests
    assert not any("authorization" in request.headers for request in storage.requests)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "RepoNotFound", "no org/gone"),
        (404, "RevisionNotFound", "no revision"),
        (403, "GatedRepo", "HF_TOKEN"),
        (500, "", "cannot be reached"),
    ],
)
def test_refusals_of_the_hub_are_said_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, words: str
) -> None:
    with serving(lambda handler, server: send(handler, status, {"X-Error-Code": code}, b"{}")) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        with pytest.raises(SourceError, match=words) as caught:
            resolve("org/gone", revision="v9" if status == 404 else None)
    assert "HF_ENDPOINT" in str(caught.value)


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><html>Log in</html>", b"[1]", b"{}", b'{"id": 3, "sha": "../../x"}'])
def test_something_that_is_no_hub_is_said(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    with serving(lambda handler, server: send(handler, 200, {}, body)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        with pytest.raises(SourceError):
            resolve("org/tiny")


def test_offline_asks_nobody(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE"):
        resolve("org/tiny")
    assert not server.requests


def test_a_hostile_listing_writes_nothing_outside(server: Server, fake: FakeHub, alone: Path) -> None:
    fake.files = {**FILES, "../../../../evil/config.json": b"{}", "/evil.json": b"{}", "1_x/../config.json": b"{}"}
    resolve("org/tiny")
    assert not any("evil" in path.name for path in alone.rglob("*"))


def test_a_bad_revision_is_refused_before_anything(server: Server) -> None:
    for revision in ("../../../etc", "a b", "", "x\x00"):
        with pytest.raises(SourceError, match="not a revision"):
            resolve("org/tiny", revision=revision)
    assert not server.requests


def test_data_set_files_come_and_loading_scripts_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "data/train.parquet": b"PAR1" * 10,
        "test.csv": b"text,label\n",
        "extra.jsonl": b"{}\n",
        "README.md": b"#",
        "loader.py": b"raise SystemExit",
    }
    with serving(FakeHub("org/rows", files, {"data/train.parquet"}, kind="datasets")) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        folder = fetch_data("org/rows")
        assert names(folder) == set(files) - {"loader.py"}
        asked = len(server.requests)
        assert fetch_data("org/rows") == folder
        assert len(server.requests) == asked
    with serving(FakeHub("org/script", {"loader.py": b""}, kind="datasets")) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        with pytest.raises(SourceError, match="never run"):
            fetch_data("org/script")


def listed(*files: str) -> list[HubFile]:
    return [HubFile(name, 1, None, None) for name in files]


def test_which_weights_are_chosen() -> None:
    def chosen(*files: str) -> set[str]:
        return {file.name for file in select(listed(*files), "org/m", "model")}

    shards = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json")
    assert chosen("config.json", *shards, "pytorch_model.bin") == {"config.json", *shards}
    assert chosen(*shards, "model.safetensors", "model.fp16.safetensors") == {"model.safetensors"}
    assert chosen("pytorch_model.bin", "tf_model.h5", "spiece.model") == {"pytorch_model.bin", "spiece.model"}
    assert chosen("adapter_config.json", "adapter_model.safetensors") == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert chosen("pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json") == {
        "pytorch_model-00001-of-00001.bin",
        "pytorch_model.bin.index.json",
    }
    hostile = ["../../evil.csv", "/evil.csv", "a\\..\\evil.csv", "C:evil.csv", "a/../../evil.csv", "x\x00.csv"]
    assert [file.name for file in select(listed(*hostile, "good/rows.csv"), "org/m", "dataset")] == ["good/rows.csv"]
    with pytest.raises(SourceError, match=r"m-q4\.gguf"):
        select(listed("m-q4.gguf", "config.json"), "org/m", "model")


def test_records_survive_nonsense(server: Server, fake: FakeHub) -> None:
    resolve("org/tiny")
    for record in (hub.records("org/tiny", "model")).glob("*.json"):
        for text in (
            "",
            "[]",
            '{"files": 3}',
            '{"commit": "../x"}',
            json.dumps({"files": {"../../x": {}}}),
            "[" * 99999,
        ):
            record.write_text(text)
            assert resolve("org/tiny").kind == "hub"
