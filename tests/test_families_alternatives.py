"""Names that stand for several, in rows and in the paths of rules."""

import pytest
from core_models import SPECS

from moduformer.families.family import spelled_out_rows
from moduformer.weights.alternatives import spelled_out
from moduformer.weights.config import key, read, write
from moduformer.weights.plan import Row


def test_the_first_alternative_changes_slowest() -> None:
    assert spelled_out("[a b].x.[c d]_y") == ("a.x.c_y", "a.x.d_y", "b.x.c_y", "b.x.d_y")
    assert spelled_out("layers.{i}.norm") == ("layers.{i}.norm",)


def test_rows_belong_together_in_order() -> None:
    row = Row("attn.[q k v o]_proj", "attention.[q k v out]", also=("old.[1 2 3 4]", "tied"), head=True)
    found = spelled_out_rows((row,))
    assert [(one.file, one.name) for one in found] == [
        (f"attn.{theirs}_proj", f"attention.{ours}") for theirs, ours in zip("qkvo", ("q", "k", "v", "out"))
    ]
    assert found[1].also == ("old.2", "tied")
    assert all(one.head for one in found)
    assert spelled_out_rows((Row("norm", "[a b].norm"),)) == (Row("norm", "a.norm"), Row("norm", "b.norm"))


def test_a_row_whose_sides_differ_in_length_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        spelled_out_rows((Row("[q k v]_proj", "attention.[q k]"),))


def test_a_key_fills_the_paths_that_a_model_has() -> None:
    spec = next(spec for spec in SPECS.values() if spec.encoder is not None and spec.decoder is None)
    rules = (key("drop", "[decoder encoder].pattern.*.[attention cross_attention].dropout", default=0.25),)
    made = read(spec, rules, {})
    assert made.encoder is not None
    assert {block.attention.dropout for block in made.encoder.pattern} == {0.25}
    assert write(made, rules) == {"drop": 0.25}
