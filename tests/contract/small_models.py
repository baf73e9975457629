"""Small checkpoints with every parameter random, as both libraries read them, with a tokenizer of real words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

WORDS = """the a this that movie film was is not very good bad great awful and but in of to i we she he they it who
where when what how lives works at from paris seoul london kim lee anna google samsung played by acting story end was
bright dark sun rises city river old new long short . , ? ! ' - 영화 정말 재미 있다 없다 서울
은 는 이 가 에서 한다 를 을 사람 음악 좋다
나쁘다 김 철수 살았다 회사""".split()
PIECES = ["##s", "##ed", "##ing", "##ly", "##에서", "##는", "##이", "##가", "##를", "##을", "##은", "##다"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def word_pieces() -> transformers.PreTrainedTokenizerFast:
    """A BERT-like tokenizer over the words above, letters and syllables."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    listed = list(dict.fromkeys([*SPECIAL, *WORDS, *PIECES, *letters, *(f"##{letter}" for letter in letters)]))
    vocab = {word: number for number, word in enumerate(listed)}
    raw = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.decoder = decoders.WordPiece()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=128,
    )  # fmt: skip


def bert(folder: Path, task: str, **config: Any) -> Path:
    """A BERT with a head (`task` such as "ForSequenceClassification") in `folder`."""
    tokenizer = word_pieces()
    made = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=128, **config,
    )  # fmt: skip
    return written(folder, lambda: getattr(transformers, f"Bert{task}")(made), tokenizer)


def written(folder: Path, make: Callable[[], Any], tokenizer: Any, scale: float = 0.3) -> Path:
    """The folder, with a model whose every parameter is random and its tokenizer."""
    torch.manual_seed(3)
    model = make().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * scale)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # `transformers` 5 writes a class that 4 does not have.
    config = folder / "tokenizer_config.json"
    config.write_text(config.read_text(encoding="utf-8").replace("TokenizersBackend", "PreTrainedTokenizerFast"))
    return folder
