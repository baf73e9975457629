"""Small checkpoints with every parameter random, as both libraries read them, with a tokenizer of real words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

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


def byte_level(prefix_space: bool) -> transformers.PreTrainedTokenizerFast:
    """A tokenizer like RoBERTa's, over bytes, so that a syllable of Hangul is several tokens."""
    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    raw.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    raw.train_from_iterator([" ".join(WORDS), "the Movie was in Seoul, not Paris"] * 5, trainer)
    raw.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=prefix_space)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        cls_token="<s>", sep_token="</s>", mask_token="<mask>", model_max_length=64, add_prefix_space=prefix_space,
    )  # fmt: skip


def meta_space() -> transformers.PreTrainedTokenizerFast:
    """A tokenizer like XLM-RoBERTa's, whose tokens hold the space before them."""
    raw = Tokenizer(models.Unigram())
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=160, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], unk_token="<unk>"
    )
    raw.train_from_iterator([" ".join(WORDS)] * 5, trainer)
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        cls_token="<s>", sep_token="</s>", mask_token="<mask>", model_max_length=64,
    )  # fmt: skip


def roberta(folder: Path, task: str, tokenizer: Any, **config: Any) -> Path:
    """A RoBERTa with a head (`task` such as "ForTokenClassification") in `folder`."""
    made = transformers.RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=66, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2, **config,
    )  # fmt: skip
    return written(folder, lambda: getattr(transformers, f"Roberta{task}")(made), tokenizer)


def bert(folder: Path, task: str, scale: float = 0.3, **config: Any) -> Path:
    """A BERT with a head (`task` such as "ForSequenceClassification") in `folder`."""
    tokenizer = word_pieces()
    made = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=128, **config,
    )  # fmt: skip
    return written(folder, lambda: getattr(transformers, f"Bert{task}")(made), tokenizer, scale)


def bart(folder: Path, task: str, **config: Any) -> Path:
    """A BART with a head (`task` such as "ForSequenceClassification") in `folder`, over the same words."""
    tokenizer = word_pieces()
    made = transformers.BartConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=128,
        pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=3, forced_eos_token_id=3, **config,
    )  # fmt: skip
    written(folder, lambda: getattr(transformers, f"Bart{task}")(made), tokenizer)
    stored = folder / "tokenizer_config.json"
    said = json.loads(stored.read_text(encoding="utf-8")) | {"model_input_names": ["input_ids", "attention_mask"]}
    stored.write_text(json.dumps(said, ensure_ascii=False), encoding="utf-8")
    return folder


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


def decided(folder: Path) -> Path:
    """The same folder with norms that leave tokens as they are, so that a model takes each for something else."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    for name in [name for name in weights if "LayerNorm" in name]:
        weights[name] = torch.full_like(weights[name], float(name.endswith("weight")))
    save_file(weights, file, metadata={"format": "pt"})
    return folder
