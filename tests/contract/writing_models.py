"""Small models that write, with every parameter random, as both libraries read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sentencepiece
import transformers
from small_models import WORDS, byte_level, word_pieces, written
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}{% if not loop.last or m['role'] != 'assistant' %}"
    "</s>{% else %}</s> {% endif %}{% endfor %}{% if add_generation_prompt %}<s>assistant: {% endif %}"
)
CODES = ["en_XX", "de_DE", "ko_KR", "ro_RO"]


def unigram(frame: str, special: list[str], extra: tuple[str, ...] = (), **named: Any) -> Any:
    """A tokenizer whose tokens hold the space before them, framed as told, such as "$A </s>"."""
    letters = sorted({letter for word in WORDS for letter in word})
    pieces = [*special, "▁", *(f"▁{word}" for word in WORDS), *letters, "."]
    vocab = [(piece, -float(place) / 10) for place, piece in enumerate(dict.fromkeys(pieces))]
    raw = Tokenizer(models.Unigram(vocab, unk_id=special.index("<unk>")))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    raw.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in [*special, *extra]])
    used = [(token, raw.token_to_id(token)) for token in frame.split() if token != "$A"]
    raw.post_processor = processors.TemplateProcessing(single=frame, pair=f"{frame} $B", special_tokens=used)
    named = {"unk_token": "<unk>", "pad_token": "<pad>", "eos_token": "</s>"} | named
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, **named)


def gpt2(folder: Path, generation: dict[str, Any] | None = None, **config: Any) -> Path:
    """A GPT-2 over bytes, so that a Hangul syllable is several tokens."""
    tokenizer = byte_level(False)
    # A decoder's prompt is left open at the end.
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    made = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=400, bos_token_id=0, eos_token_id=2,
        **config,
    )  # fmt: skip
    return _with(written(folder, lambda: transformers.GPT2LMHeadModel(made), tokenizer, 0.6), generation)


def llama(folder: Path, generation: dict[str, Any] | None = None) -> Path:
    """A LLaMA with a chat template, whose tokens hold the space before them."""
    tokenizer = unigram("<s> $A", ["<unk>", "<s>", "</s>", "<pad>"], bos_token="<s>", model_max_length=300)
    tokenizer.chat_template = TEMPLATE
    made = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=400, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return _with(written(folder, lambda: transformers.LlamaForCausalLM(made), tokenizer, 0.6), generation)


def bart(folder: Path, generation: dict[str, Any] | None = None, positions: int = 300, **config: Any) -> Path:
    """A BART that writes, over the words of `small_models`."""
    tokenizer = word_pieces()
    made = transformers.BartConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=positions,
        pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=3, forced_eos_token_id=3, **config,
    )  # fmt: skip
    return _with(written(folder, lambda: transformers.BartForConditionalGeneration(made), tokenizer, 0.6), generation)


def t5(folder: Path, generation: dict[str, Any] | None = None, **config: Any) -> Path:
    """A T5; `config` may hold `task_specific_params`."""
    tokenizer = unigram("$A </s>", ["<pad>", "</s>", "<unk>"], model_max_length=64)
    made = transformers.T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0,
        **config,
    )  # fmt: skip
    written(folder, lambda: transformers.T5ForConditionalGeneration(made), tokenizer, 0.8)
    return _with(folder, generation, config)


def marian(folder: Path, generation: dict[str, Any] | None = None) -> Path:
    """A Marian translator with the two SentencePiece models and the joint vocabulary of its published kin."""
    folder.mkdir(parents=True, exist_ok=True)
    sides = {
        "source": [w for w in WORDS if w.isascii()],
        "target": [w for w in WORDS if not w.isascii() or w in ".,?!"],
    }
    pieces: dict[str, int] = {"</s>": 0, "<unk>": 1}
    for name, words in sides.items():
        sentences = [" ".join(words[i : i + 5]) for i in range(len(words))] * 20
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences), model_prefix=str(folder / name), vocab_size=60, minloglevel=3,
            hard_vocab_limit=False, bos_id=-1, pad_id=-1, eos_id=0, unk_id=1,
        )  # fmt: skip
        (folder / f"{name}.model").rename(folder / f"{name}.spm")
        (folder / f"{name}.vocab").unlink()
        made = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{name}.spm"))
        for number in range(made.get_piece_size()):
            pieces.setdefault(made.id_to_piece(number), len(pieces))
    for token in (">>deu<<", ">>kor<<", "<pad>"):
        pieces[token] = len(pieces)
    (folder / "vocab.json").write_text(json.dumps(pieces, ensure_ascii=False), encoding="utf-8")
    said = {"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "ko", "model_max_length": 128,
            "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "separate_vocabs": False}  # fmt: skip
    config = transformers.MarianConfig(
        vocab_size=len(pieces), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=300,
        pad_token_id=len(pieces) - 1, eos_token_id=0, bos_token_id=0, decoder_start_token_id=len(pieces) - 1,
        forced_eos_token_id=0,
    )  # fmt: skip
    written(folder, lambda: transformers.MarianMTModel(config), _NoTokenizer(folder, said), 0.6)
    return _with(folder, {"bad_words_ids": [[len(pieces) - 1]], **(generation or {})})


def mbart(folder: Path, generation: dict[str, Any] | None = None) -> Path:
    """An mBART whose frame ends with the source's language, and whose answers begin with the target's."""
    from transformers import MBartTokenizer

    base = unigram("$A </s> en_XX", ["<s>", "<pad>", "</s>", "<unk>"], (*_every_code(), "<mask>"), bos_token="<s>")
    base.save_pretrained(folder)
    said = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    said |= {"tokenizer_class": "MBartTokenizerFast", "src_lang": "en_XX", "mask_token": "<mask>", "sep_token": "</s>",
             "cls_token": "<s>", "additional_special_tokens": _every_code()}  # fmt: skip
    said.pop("extra_special_tokens", None)
    config = transformers.MBartConfig(
        vocab_size=len(base), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=200,
        pad_token_id=1, bos_token_id=0, eos_token_id=2, forced_eos_token_id=2, decoder_start_token_id=2,
    )  # fmt: skip
    assert MBartTokenizer
    written(folder, lambda: transformers.MBartForConditionalGeneration(config), _NoTokenizer(folder, said), 0.6)
    return _with(folder, generation)


def _every_code() -> list[str]:
    from transformers.models.mbart.tokenization_mbart import FAIRSEQ_LANGUAGE_CODES

    return list(FAIRSEQ_LANGUAGE_CODES)


class _NoTokenizer:
    """Stands in for a tokenizer whose files are there already, but for its settings."""

    def __init__(self, folder: Path, said: dict[str, Any]) -> None:
        self.folder, self.said = folder, said

    def save_pretrained(self, folder: Path) -> None:
        """Writes `tokenizer_config.json`."""
        text = json.dumps(self.said, ensure_ascii=False)
        (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def _with(folder: Path, generation: dict[str, Any] | None, config: dict[str, Any] | None = None) -> Path:
    """Settings written into the folder's generation_config.json and config.json, whatever `transformers` 5 keeps."""
    for name, more in (("generation_config.json", generation), ("config.json", config)):
        path = folder / name
        stored = json.loads(path.read_text(encoding="utf-8")) | (more or {})
        path.write_text(json.dumps(stored, ensure_ascii=False), encoding="utf-8")
    return folder
