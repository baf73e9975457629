"""The Transformer of 2017 against torch.nn's own layers and the paper's formula for positions."""

import math
from collections.abc import Callable

import pytest
import torch
from core_models import randomise
from torch import nn

from moduformer.families import family
from moduformer.model import Model, build

SOURCE, TARGET = (7, 3, 5, 5), (4, 6, 6, 1)


def sinusoid(position: int, dim: int) -> list[float]:
    """Section 3.5: PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos(pos / 10000^(2i/d))."""
    row = []
    for place in range(dim):
        angle = position / 10000 ** (2 * (place // 2) / dim)
        row.append(math.sin(angle) if place % 2 == 0 else math.cos(angle))
    return row


class Oracle(nn.Module):
    """Encoder and decoder of torch.nn, with the weights of one of our models and every bias of attention zero."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        spec = model.spec
        self.dim, self.table = spec.dim, model.embedding.tokens.weight.detach()
        encoder, decoder = spec.encoder, spec.decoder
        block = encoder.pattern[0]
        shape = (spec.dim, block.attention.heads, block.feed_forward.width, 0.0, "relu", block.norm.eps, True, False)
        self.encoder = nn.ModuleList(nn.TransformerEncoderLayer(*shape) for _ in range(encoder.layers))
        self.decoder = nn.ModuleList(nn.TransformerDecoderLayer(*shape) for _ in range(decoder.layers))
        self.double()
        for mine, layers in ((model.encoder, self.encoder), (model.decoder, self.decoder)):
            for number, layer in enumerate(layers):
                ours = mine.layer(number)
                self.attention(layer.self_attn, [ours.attention.qkv.weight], ours.attention.out.weight)
                norms = ["attention", "feed_forward"]
                if mine is model.decoder:
                    cross = ours.cross_attention
                    self.attention(layer.multihead_attn, [cross.q.weight, cross.kv.weight], cross.out.weight)
                    norms.insert(1, "cross_attention")
                for theirs, linear in (
                    (layer.linear1, ours.feed_forward.inner),
                    (layer.linear2, ours.feed_forward.down),
                ):
                    theirs.load_state_dict({"weight": linear.weight, "bias": linear.bias})
                for i, name in enumerate(norms, 1):
                    norm = getattr(ours, f"{name}_norm_res")
                    getattr(layer, f"norm{i}").load_state_dict({"weight": norm.weight, "bias": norm.bias})
        self.eval()

    @staticmethod
    def attention(theirs: nn.MultiheadAttention, parts: list[torch.Tensor], out: torch.Tensor) -> None:
        with torch.no_grad():
            theirs.in_proj_weight.copy_(torch.cat(parts))
            theirs.out_proj.weight.copy_(out)
            theirs.in_proj_bias.zero_()
            theirs.out_proj.bias.zero_()

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        positions = torch.tensor([sinusoid(p, self.dim) for p in range(ids.shape[1])], dtype=torch.float64)
        return self.table[ids] * math.sqrt(self.dim) + positions

    def forward(self, source: torch.Tensor, real: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        memory = self.embed(source)
        for layer in self.encoder:
            memory = layer(memory, src_key_padding_mask=~real)
        hidden = self.embed(target)
        future = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
        for layer in self.decoder:
            hidden = layer(hidden, memory, tgt_mask=future, memory_key_padding_mask=~real)
        return hidden @ self.table.T


@pytest.mark.parametrize(("dim", "heads", "layers"), [(16, 2, (2, 2)), (24, 4, (1, 3)), (8, 1, (3, 1))])
@torch.no_grad()
def test_equals_torch(dim: int, heads: int, layers: tuple[int, int], seen: Callable[..., None]) -> None:
    spec = family("transformer").read(
        {
            "vocab_size": 30,
            "d_model": dim,
            "num_heads": heads,
            "d_ff": 20,
            "encoder_layers": layers[0],
            "decoder_layers": layers[1],
        },
        "TransformerForConditionalGeneration",
    )
    model = randomise(build(spec).double(), dim)
    oracle = Oracle(model)
    generator = torch.Generator().manual_seed(dim)
    source = torch.randint(3, 30, (4, max(SOURCE)), generator=generator)
    target = torch.randint(3, 30, (4, max(TARGET)), generator=generator)
    real = torch.arange(max(SOURCE)) < torch.tensor(SOURCE)[:, None]
    told = torch.arange(max(TARGET)) < torch.tensor(TARGET)[:, None]
    expected = oracle(source, real, target)[told]
    found = model(source, real.long(), decoder_input_ids=target, decoder_attention_mask=told.long()).logits[told]
    error = float((found - expected).abs().max() / expected.abs().max())
    assert error <= 1e-9
    seen("transformer", "TransformerForConditionalGeneration", error, "float64")
    # Every parameter takes part: without one of them, the numbers differ.
    for name, parameter in model.named_parameters():
        kept = parameter.clone()
        parameter.zero_()
        changed = model(source, real.long(), decoder_input_ids=target, decoder_attention_mask=told.long()).logits[told]
        assert (changed - expected).abs().max() > 1e-6, name
        parameter.copy_(kept)


def test_the_published_sizes_have_the_papers_hyperparameters() -> None:
    base, big = (family("transformer").read(family("transformer").presets[f"transformer-{n}"]) for n in ("base", "big"))
    for spec, dim, heads, width, dropout in ((base, 512, 8, 2048, 0.1), (big, 1024, 16, 4096, 0.3)):
        assert (spec.dim, spec.encoder.layers, spec.decoder.layers) == (dim, 6, 6)
        block = spec.decoder.pattern[0]
        assert (block.attention.heads, block.attention.head_dim, block.feed_forward.width) == (heads, 64, width)
        assert (block.dropout, spec.embedding.dropout) == (dropout, dropout)
        assert spec.encoder.final_norm is None
