"""Seq2Seq: fine-tuning and from scratch, scores, long sources, files, errors that name the pair."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from test_train_scratch import reversals

import moduformer as mf
from moduformer.errors import CheckpointError, DataError, TrainingError
from moduformer.families import family
from moduformer.metrics.summaries import summary_metrics
from moduformer.metrics.translation import translation_metrics
from moduformer.tasks.seq2seq import Seq2Seq
from moduformer.tasks.seq2seq_training import encoded_pairs, pipeline_of
from moduformer.text.tokenizer import Tokenizer
from moduformer.train.pairs import pairs_from_lists, read_pairs, read_parallel, split_pairs

SMALL = {"layers": 1, "d_model": 48, "d_ff": 96, "heads": 4, "dropout": 0.0, "vocab": 24}


@pytest.fixture(scope="module")
def pairs() -> tuple[list[str], list[str]]:
    torch.set_num_threads(1)
    listed = reversals(1200, 0)
    return [source for source, _ in listed], [target for _, target in listed]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, pairs) -> Path:
    """A random BART of one layer a side, whose tokenizer knows the words."""
    tokenizer = Tokenizer.train(pairs[0], "wordpiece", 60)
    config = {
        "vocab_size": tokenizer.max_id + 1, "d_model": 48, "encoder_layers": 1, "decoder_layers": 1,
        "encoder_ffn_dim": 96, "decoder_ffn_dim": 96, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
        "max_position_embeddings": 24, "dropout": 0.0, "pad_token_id": tokenizer.pad_id, "bos_token_id": None,
        "eos_token_id": tokenizer.sep_id, "decoder_start_token_id": tokenizer.sep_id, "forced_eos_token_id": None,
    }  # fmt: skip
    model = mf.build(family("bart").read(config, "BartForConditionalGeneration"), seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    model.tokenizer = tokenizer
    return model.save(tmp_path_factory.mktemp("bart"))


def learner(checkpoint: Path, **parameters) -> Seq2Seq:
    usual = {"epochs": 12, "learning_rate": 3e-3, "label_smoothing": 0.0, "num_beams": 1}
    return Seq2Seq(checkpoint, **{**usual, **parameters})


def test_a_checkpoint_learns_to_translate_and_survives_saving(checkpoint: Path, pairs, tmp_path: Path):
    held = reversals(40, 7, (2, 4))
    sources, targets = [s for s, _ in held], [t for _, t in held]
    found = learner(checkpoint).fit(*pairs, eval_set=(sources, targets))
    losses = [e.metrics["loss"] for e in found.history_.evaluations]
    assert losses[-1] < 0.5 * losses[0]
    bleu = translation_metrics(found.predict(sources), targets, kinds=("bleu",)).score
    assert found.score(sources, targets) == pytest.approx(bleu)
    assert bleu > 40
    assert found.report_["tokens_dropped"] == 0
    again = Seq2Seq.load(found.save(tmp_path))
    assert again.predict(sources) == found.predict(sources)
    assert again.get_params() | {"model": str(checkpoint)} == found.get_params() | {"model": str(checkpoint)}
    pipe = mf.pipeline("translation", str(tmp_path), num_beams=1)
    assert [one["translation_text"] for one in pipe(sources)] == found.predict(sources)


def test_the_2017_transformer_and_recurrent_ones_learn_from_nothing(pairs, tmp_path: Path):
    sources, targets = pairs
    for name, size in (("transformer", SMALL), ("seq2seq-gru-bahdanau", SMALL | {"d_model": 24})):
        found = Seq2Seq(name, epochs=2, size=size, batch_size=16, learning_rate=4e-3, num_beams=2)
        found.fit(sources[:400], targets[:400])
        first, last = found.history_.steps[0].loss, found.history_.steps[-1].loss
        assert last < first
        again = Seq2Seq.load(found.save(tmp_path / name))
        assert again.predict(sources[:5]) == found.predict(sources[:5])
        # What is read when predicting is what was read when training.
        pipe = again.pipeline
        assert pipe.frame_ids("ga na", pipe.configured({}))[-1] == again.model_.tokenizer.eos_id
        assert again.model_.tokenizer.bos_id not in pipe.frame_ids("ga na", pipe.configured({}))


def test_equal_seeds_give_equal_models(checkpoint: Path, pairs):
    parts = [pairs[0][:60], pairs[1][:60]]
    one, two = (learner(checkpoint, epochs=1, random_state=3).fit(*parts) for _ in range(2))
    for (name, a), (_, b) in zip(one.model_.named_parameters(), two.model_.named_parameters()):
        assert torch.equal(a, b), name


def test_low_rank_adapters_leave_the_base_and_are_merged(checkpoint: Path, pairs):
    base = mf.load(checkpoint)
    found = learner(checkpoint, recipe="lora", epochs=1).fit(pairs[0][:200], pairs[1][:200])
    changed = [
        name
        for (name, a), (_, b) in zip(base.named_parameters(), found.model_.named_parameters())
        if not torch.equal(a, b)
    ]
    assert changed
    assert all("qkv" in name or ".q" in name or "kv" in name for name in changed), changed


def test_summaries_are_scored_by_rouge_with_several_references(checkpoint: Path, pairs):
    found = learner(checkpoint, task="summarization", epochs=1).fit(pairs[0][:50], [[t, "x"] for t in pairs[1][:50]])
    sources, references = pairs[0][:5], [[t, "ga ga"] for t in pairs[1][:5]]
    expected = summary_metrics(found.predict(sources), references).score
    assert found.score(sources, references) == pytest.approx(expected)
    long = ". ".join(pairs[0][:30]) + "."
    assert len(next(found.answers([long])).windows) > 3


def test_what_does_not_fit_is_cut_and_counted(checkpoint: Path):
    model = mf.load(checkpoint)
    pipe = pipeline_of(model, "translation")
    end = model.tokenizer.sep_id
    long = " ".join(["ga"] * 40)
    encoded, report = encoded_pairs(pipe, pairs_from_lists([long, "na"], ["na", long]))
    assert (report["sources_cut"], report["targets_cut"]) == (1, 1)
    assert report["tokens_dropped"] == 2 * (42 - 24)
    assert encoded.ids.row(0)[-1] == encoded.targets.row(1)[-1] == end
    assert len(encoded.ids.row(0)) == len(encoded.targets.row(1)) == 24
    assert encoded_pairs(pipe, pairs_from_lists(["na"], [long]), max_target=5)[0].targets.lengths.tolist() == [5]


def test_early_stopping_keeps_the_best(checkpoint: Path, pairs):
    found = learner(checkpoint, epochs=3, patience=1).fit(pairs[0][:200], pairs[1][:200])
    assert "choice_loss" in found.history_.evaluations[0].metrics


@pytest.mark.parametrize(
    ("parameters", "what"),
    [
        ({"task": "chat"}, "use one of translation"),
        ({"epochs": 0}, "at least 1"),
        ({"label_smoothing": 1.0}, "below 1"),
        ({"size": {"layers": 1}}, "from scratch"),
        ({"recipe": "features"}, "use plain, ulmfit or lora"),
        ({"recipe": "magic"}, "no recipe called"),
    ],
)
def test_settings_that_cannot_be_are_named(checkpoint: Path, parameters: dict, what: str):
    with pytest.raises((DataError, TrainingError), match=what):
        learner(checkpoint, **parameters).fit(["ga"], ["na"])


def test_models_that_cannot_learn_this_are_refused(tmp_path: Path, checkpoint: Path):
    with pytest.raises(DataError, match="fields are layers"):
        Seq2Seq(size={"depth": 3}).fit(["a"], ["b"])
    with pytest.raises(DataError, match="one string"):
        learner(checkpoint, epochs=1).fit(["ga"], ["na"]).predict("ga")
    (tmp_path / "seq2seq.json").write_text('{"version": 2}')
    with pytest.raises(CheckpointError, match="version 2"):
        Seq2Seq.load(tmp_path)


# Pairs from files -----------------------------------------------------------------------------------------------------


def test_columns_are_guessed_and_said(tmp_path: Path):
    table = tmp_path / "a.csv"
    table.write_text("en,ko,attribution\nHello.,안녕.,by x\nGood.,좋다.,by y\n", encoding="utf-8")
    found = read_pairs(table)
    assert (found.source_column, found.target_column) == ("en", "ko")
    assert "columns guessed: source 'en', target 'ko'" in found.notes
    assert read_pairs(table, target="en").source_column == "ko"
    assert read_pairs(table, "ko", "attribution").targets == [("by x",), ("by y",)]
    lines = tmp_path / "b.jsonl"
    rows = [{"id": 1, "source": ["One.", "Two."], "target": ["a", "b"]}, {"id": 2, "source": "x", "target": ""}]
    lines.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = read_pairs(lines)
    assert (found.sources, found.targets) == (["One. Two."], [("a", "b")])
    assert found.refused[0].line == 2
    assert found.refused[0].reason == "target: it is empty"
    three = tmp_path / "c.csv"
    three.write_text("a,b,c\nx one,y two,z three\n", encoding="utf-8")
    with pytest.raises(DataError, match="which columns are source and target"):
        read_pairs(three)
    with pytest.raises(DataError, match="Did you mean 'ko'"):
        read_pairs(table, "en", "kо".replace("о", "oo"))


def test_parallel_files_are_read_line_by_line(tmp_path: Path):
    first, second = tmp_path / "a.de", tmp_path / "a.en"
    first.write_text("Ein Haus\u2028mit Garten.\n\nZwei.\n", encoding="utf-8")
    second.write_text("A house.\r\nNothing.\r\nTwo.\r\n", encoding="utf-8")
    found = read_parallel(first, second)
    assert found.sources == ["Ein Haus\u2028mit Garten.", "Zwei."]
    assert found.targets == [("A house.",), ("Two.",)]
    assert (found.rows_read, found.refused[0].line, found.lines) == (3, 2, [1, 3])
    second.write_text("A house.\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"3 lines but .* has 1"):
        read_parallel(first, second)
    with pytest.raises(DataError, match="no such file"):
        read_parallel(first, tmp_path / "none")


def test_lists_are_checked(pairs):
    with pytest.raises(DataError, match="2 sources but 1 targets"):
        pairs_from_lists(["a", "b"], ["c"])
    with pytest.raises(DataError, match=r"sources\[1\]: is a NoneType"):
        pairs_from_lists(["a", None], ["c", "d"])
    with pytest.raises(DataError, match=r"targets\[0\]: target: it is empty"):
        pairs_from_lists(["a"], [" "])
    train, held = split_pairs(pairs_from_lists(*pairs), 0.1, 1)
    assert not set(train.sources) & set(held.sources)
    assert 100 <= len(held) <= 160
    with pytest.raises(DataError, match="too few"):
        split_pairs(pairs_from_lists(["a", "A "], ["b", "c"]))


def test_data_at_hand_is_read(shared: Path):
    wanted = {"small_parallel_enja/test.parquet": ("en", "ja"), "tatoeba_ko_en/test.csv": ("en", "ko"),
              "scitldr_a/validation.jsonl": ("source", "target")}  # fmt: skip
    for name, columns in wanted.items():
        found = read_pairs(shared / "data" / name)
        assert (found.source_column, found.target_column) == columns
        assert len(found) > 400
        assert found.rows_read == len(found) + len(found.refused)


def test_it_is_found_and_shown():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert repr(mf.Seq2Seq(epochs=3)) == "Seq2Seq(epochs=3)"
    with pytest.raises(Exception, match="not learned anything"):
        mf.Seq2Seq().predict(["a"])
