"""RoBERTa (Liu et al. 2019, arXiv 1907.11692) and XLM-R (Conneau et al. 2020): BERT that counts positions from its
padding id on, has no next-sentence head, and classifies through a dense layer of its own."""

from dataclasses import dataclass, replace
from typing import Any

from moduformer.architecture import Head, LearnedPositions, Transform
from moduformer.families import bert
from moduformer.families.family import Family, encoder_architectures
from moduformer.weights.config import ACTIVATIONS, Config, Get, Rule, key
from moduformer.weights.plan import Row

CLASSIFY = Head("classify", reads="first", transform=Transform(768, "tanh"), outputs=2)


@dataclass(frozen=True)
class PositionsAfterPadding:
    """The position table's rows include those up to the padding id, which no token but padding takes."""

    def read(self, config: Config) -> dict[str, Any]:
        """`max_position_embeddings` and `pad_token_id` to the number, offset and uncounted token of positions."""
        rows, pad = config.get("max_position_embeddings", 512), config.get("pad_token_id", 1)
        return {
            "embedding.positions.max": rows - pad - 1,
            "embedding.positions.offset": pad + 1,
            "embedding.positions.uncounted": pad,
            "pad_id": pad,
            "bos_id": config.get("bos_token_id", 0),
            "eos_id": config.get("eos_token_id", 2),
        }

    def write(self, get: Get) -> dict[str, Any]:
        """The same numbers back."""
        positions = get("embedding.positions")
        return {
            "max_position_embeddings": positions.max + positions.offset,
            "pad_token_id": positions.uncounted,
            "bos_token_id": get("bos_id"),
            "eos_token_id": get("eos_id"),
        }


RULES: tuple[Rule, ...] = (
    key("vocab_size", "vocab", default=50265),
    key("hidden_size", "dim", "embedding.width", "heads.[pool masked-lm classify].transform.width", default=768),
    key("hidden_act", f"{bert.BLOCK}.feed_forward.activation", default="gelu", table=ACTIVATIONS),
    PositionsAfterPadding(),
    *bert.without_keys("hidden_size", "hidden_act", "max_position_embeddings", "vocab_size", "TokenIds"),
)
ROWS = (
    *(replace(row, also=("lm_head.decoder",) if row.also else ()) for row in bert.BODY),
    Row("lm_head.[dense layer_norm]", "heads.masked-lm.transform.[dense norm]", head=True),
    Row("lm_head.decoder.weight", "heads.masked-lm.weight", head=True),
    Row("lm_head.bias", "heads.masked-lm.bias", head=True, also=("lm_head.decoder.bias",)),
    Row("classifier.[dense out_proj]", "heads.[classify.transform.dense classify]", head=True),
    Row("[classifier qa_outputs]", "heads.[tag span]", head=True),
)
POSITIONS = LearnedPositions(512, offset=2, uncounted=1)


def member(model_type: str, name: str) -> Family:
    """A family that is RoBERTa but for its name."""
    return Family(
        model_type=model_type,
        template=replace(bert.TEMPLATE, embedding=replace(bert.TEMPLATE.embedding, positions=POSITIONS)),
        rules=RULES,
        rows=ROWS,
        architectures=encoder_architectures(name, bert.MASKED_LM, (CLASSIFY,), (bert.POOL,)),
        prefix="roberta.",
        unused=(r"(.*\.)?embeddings\.position_ids",),
    )


FAMILIES = {"roberta": member("roberta", "Roberta"), "xlm-roberta": member("xlm-roberta", "XLMRoberta")}
