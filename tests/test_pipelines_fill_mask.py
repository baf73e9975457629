"""Fill-mask: shapes of Hugging Face 4, and masks anywhere in a long text."""

import pytest
import torch
from pipeline_models import POSITIONS, folder_of, long_text, small

import moduformer as mf
from moduformer.errors import PipelineError
from moduformer.pipelines.fill_mask import FillMask

ONE, TWO = "The movie was very [MASK].", "이 영화 정말 [MASK] 있다"
SEVERAL = "The [MASK] was very [MASK]."


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    torch.set_num_threads(1)
    return mf.pipeline("fill-mask", str(folder_of(tmp_path_factory.mktemp("masked"), "BertForMaskedLM")))


def by_hand(model, ids, place):
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0, place].softmax(-1)


def close(ours, theirs):
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(close, ours, theirs))
    return ours.keys() == theirs.keys() and all(
        a == pytest.approx(b, abs=1e-5) if isinstance(a, float) else a == b
        for a, b in zip(ours.values(), theirs.values())
    )


def test_shapes(pipe):
    found = pipe(ONE)
    assert [list(entry) for entry in found] == [["score", "token", "token_str", "sequence"]] * 5
    assert [type(value) for value in found[0].values()] == [float, int, str, str]
    ids = pipe.tokenizer.encode(ONE).ids
    wanted = by_hand(pipe.model, ids, ids.index(pipe.tokenizer.mask_id))
    assert [entry["token"] for entry in found] == wanted.topk(5).indices.tolist()
    assert found[0]["score"] == pytest.approx(float(wanted.max()), abs=1e-6)
    assert "[CLS]" not in found[0]["sequence"]
    assert "[MASK]" not in found[0]["sequence"]
    assert pipe([ONE]) == found, "a list of one text, as Hugging Face gives it"
    several = pipe(SEVERAL, top_k=2)
    assert [len(mask) for mask in several] == [2, 2]
    assert all("[MASK]" in entry["sequence"] and "[CLS]" in entry["sequence"] for mask in several for entry in mask)
    assert len(pipe([ONE, SEVERAL, TWO])) == 3
    assert len(pipe(ONE, top_k=10**6)) == pipe.model.spec.vocab


def test_ragged_batches_give_what_single_texts_give(pipe):
    texts = [ONE, SEVERAL, f"{long_text(6)} [MASK] {long_text(3)}", TWO, "[MASK]"]
    assert all(map(close, pipe(texts), [pipe(text) for text in texts]))


@pytest.mark.parametrize("before", [0, 1, 5, 12])
def test_a_mask_of_a_long_text_is_read_with_all_the_text_that_fits_around_it(pipe, before):
    text = f"{long_text(before)} [MASK] {long_text(12 - before)}".strip()
    ids = pipe.tokenizer.encode(text).ids
    place = ids.index(pipe.tokenizer.mask_id)
    found = pipe(text, top_k=3, details=True)
    assert text[found[0]["start"] : found[0]["end"]] == "[MASK]"
    room = POSITIONS - 2
    start = min(max(place - room // 2, 1), len(ids) - 1 - room)
    assert min(place - start, start + room - 1 - place) >= min(room // 2 - 1, place - 1, len(ids) - 2 - place)
    window = [ids[0], *ids[start : start + room], ids[-1]]
    wanted = by_hand(pipe.model, window, place - start + 1)
    assert [entry["token"] for entry in found] == wanted.topk(3).indices.tolist()
    assert [entry["score"] for entry in found] == pytest.approx(wanted.topk(3).values.tolist(), abs=1e-6)
    assert found[0]["windows"] == 1
    assert not found[0]["truncated"]
    ids[place] = found[0]["token"]
    assert found[0]["sequence"] == pipe.tokenizer.decode(ids), "the whole text, not its window"


def test_masks_far_apart_have_windows_of_their_own(pipe):
    text = f"[MASK] {long_text(6)} [MASK] {long_text(6)} [MASK]"
    (found,) = pipe.predict(text)
    assert found.windows == 3
    assert [text[mask.start : mask.end] for mask in found.masks] == ["[MASK]"] * 3
    near = pipe.predict(f"[MASK] [MASK] {long_text(6)}")[0]
    assert near.windows == 1


def test_truncation_is_told_and_a_mask_behind_it_is_an_error(pipe):
    text = f"{ONE} {long_text(6)}"
    (entry,) = pipe(text, top_k=1, tokenizer_kwargs={"truncation": True}, details=True)
    assert entry["truncated"]
    assert len(pipe.tokenizer.encode(entry["sequence"], add_special_tokens=False)) <= POSITIONS
    with pytest.raises(PipelineError, match=r"no \[MASK\] in what truncation leaves"):
        pipe(f"{long_text(6)} {ONE}", tokenizer_kwargs={"truncation": True})


def test_targets(pipe, caplog):
    scores = {entry["token_str"]: entry["score"] for entry in pipe(ONE, top_k=10**6)}
    found = pipe(ONE, targets=["good", "long", "영화", "good"])
    assert len(found) == 3
    assert all(entry["score"] == pytest.approx(scores[entry["token_str"]]) for entry in found)
    assert found == sorted(found, key=lambda entry: -entry["score"])
    assert pipe(ONE, targets="good")[0]["token_str"] == "good"
    assert len(pipe(ONE, targets=["moviegood"])) == 1
    assert "is no single token" in caplog.text
    with pytest.raises(PipelineError, match="names no token"):
        pipe(ONE, targets=[])


def test_mistakes_are_named(pipe):
    with pytest.raises(PipelineError, match=r"input 2: there is no \[MASK\] in this text"):
        pipe([ONE, TWO, "none here"])
    with pytest.raises(PipelineError, match="top_k is 0"):
        pipe(ONE, top_k=0)
    with pytest.raises(PipelineError, match="no head for masked tokens"):
        FillMask(small("BertModel"))
    with pytest.raises(PipelineError, match="did you mean 'targets'"):
        pipe(ONE, target="good")


def test_a_model_of_masked_tokens_names_its_task(pipe):
    assert mf.pipeline(model=pipe.model).task == "fill-mask"
