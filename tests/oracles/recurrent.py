"""Recurrent models one row, one token, one number's formula at a time, from the papers' equations.

Nothing here knows of batches, packing or caches. Weights come as a mapping of the model's tensor names; gates lie in
PyTorch's order (i, f, g, o of an LSTM; r, z, n of a GRU), which its documentation states.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
State = tuple[Tensor, ...]


def affine(weights: Weights, name: str, x: Tensor) -> Tensor:
    """W x + b, where there is a b."""
    bias = weights.get(f"{name}.bias")
    product = weights[f"{name}.weight"] @ x
    return product if bias is None else product + bias


def gates(weights: Weights, prefix: str, end: str, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """The cell's products with the input and with the state, each with its bias."""
    made = []
    for kind, value in (("ih", x), ("hh", h)):
        product = weights[f"{prefix}.weight_{kind}_l0{end}"] @ value
        bias = weights.get(f"{prefix}.bias_{kind}_l0{end}")
        made.append(product if bias is None else product + bias)
    return made[0], made[1]


def lstm_step(weights: Weights, prefix: str, end: str, x: Tensor, state: State) -> State:
    """Merity et al. 2018 (arXiv 1708.02182), section 2: i, f, o = sigmoid(W x + U h), c~ = tanh(W x + U h),
    c = i * c~ + f * c, h = o * tanh(c)."""
    h, c = state
    inner, recurrent = gates(weights, prefix, end, x, h)
    i, f, g, o = (inner + recurrent).chunk(4)
    c = torch.sigmoid(i) * torch.tanh(g) + torch.sigmoid(f) * c
    return torch.sigmoid(o) * torch.tanh(c), c


def gru_step(weights: Weights, prefix: str, end: str, x: Tensor, state: State) -> State:
    """Cho et al. 2014 (arXiv 1406.1078), eqs. 5 to 8: r, z = sigmoid(W x + U h), h = z * h + (1 - z) * n, with
    n = tanh(W x + r * (U h)) as the paper's first version has it."""
    (h,) = state
    inner, recurrent = gates(weights, prefix, end, x, h)
    (r, z, n), (hr, hz, hn) = inner.chunk(3), recurrent.chunk(3)
    r, z = torch.sigmoid(r + hr), torch.sigmoid(z + hz)
    return (z * h + (1 - z) * torch.tanh(n + r * hn),)


STEP = {"lstm": lstm_step, "gru": gru_step}


def nothing(cell: str, width: int) -> State:
    """The state before the first token."""
    zero = torch.zeros(width, dtype=torch.float64)
    return (zero, zero) if cell == "lstm" else (zero,)


def layer(
    weights: Weights, prefix: str, cell: str, direction: str, width: int, xs: Sequence[Tensor]
) -> tuple[list[Tensor], State]:
    """One layer over a row: its states in the row's order, and the last state of each direction side by side."""
    ways = {"forward": [("", False)], "backward": [("", True)], "both": [("", False), ("_reverse", True)]}[direction]
    found, last = [], []
    for end, reverse in ways:
        state, states = nothing(cell, width), []
        for x in reversed(xs) if reverse else xs:
            state = STEP[cell](weights, prefix, end, x, state)
            states.append(state[0])
        found.append(states[::-1] if reverse else states)
        last.append(state)
    return [torch.cat(parts) for parts in zip(*found)], tuple(torch.cat(parts) for parts in zip(*last))


def layers(
    weights: Weights, name: str, cell: str, direction: str, widths: Sequence[int], xs: Sequence[Tensor]
) -> tuple[list[Tensor], list[State]]:
    """All layers over a row: the last one's states, and each one's last state."""
    last = []
    for number, width in enumerate(widths):
        xs, state = layer(weights, f"{name}.{number}", cell, direction, width, xs)
        last.append(state)
    return list(xs), last


def language_model(
    weights: Weights, cell: str, direction: str, widths: Sequence[int], tokens: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """AWD-LSTM while it is evaluated: hidden states and logits of a row; the output layer is the embedding's table."""
    table = weights["embedding.tokens.weight"]
    hidden, _ = layers(weights, "decoder", cell, direction, widths, [table[token] for token in tokens])
    logits = [table @ h + weights["heads.language-model.bias"] for h in hidden]
    return torch.stack(hidden), torch.stack(logits)


def concat_pool(hidden: Tensor, read_last: int) -> Tensor:
    """Howard & Ruder 2018 (arXiv 1801.06146), eq. 4: h_c = [h_T, maxpool(H), meanpool(H)]."""
    return torch.cat((hidden[read_last], hidden.max(0).values, hidden.mean(0)))


def score(weights: Weights, kind: str, state: Tensor, h: Tensor) -> Tensor:
    """How well a decoder state and an encoder state fit.

    additive: Bahdanau et al. 2015 (arXiv 1409.0473), appendix A.1.2: v^T tanh(W_a s + U_a h); with the state after the
    step, Luong et al. 2015 (arXiv 1508.04025), eq. 8, "concat". dot, general: the other two lines of that equation.
    """
    if kind == "dot":
        return state @ h
    if kind == "general":
        return state @ weights["decoder.context.k.weight"] @ h
    inner = weights["decoder.context.q.weight"] @ state + affine(weights, "decoder.context.k", h)
    return weights["decoder.context.v.weight"][0] @ torch.tanh(inner)


def attend(weights: Weights, kind: str, state: Tensor, memory: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Bahdanau et al., eqs. 5 and 6: alpha = softmax of the scores, c = sum of alpha_j h_j; and alpha."""
    scores = [score(weights, kind, state, h) for h in memory]
    total = sum(torch.exp(s) for s in scores)
    alpha = torch.stack([torch.exp(s) / total for s in scores])
    return sum(a * h for a, h in zip(alpha, memory)), alpha


def decoder(
    weights: Weights,
    cell: str,
    widths: Sequence[int],
    memory: Sequence[Tensor],
    last: Sequence[State],
    words: Sequence[Tensor],
    *,
    bridge: str | None,
    context: str | None,
    context_at: str,
    readout: tuple[str, Sequence[str]] | None,
    input_feeding: bool,
) -> tuple[list[Tensor], list[Tensor]]:
    """What the output layer reads at every step of a row, and the attention weights of every step."""
    summary = torch.tanh(affine(weights, "decoder.context.dense", last[-1][0])) if context == "summary" else None
    if bridge is None:
        states = list(last)
    else:
        top = last[-1][0]
        reads = {"last": top, "summary": summary, "backward": top[len(top) // 2 :]}[bridge]
        # Bahdanau et al., appendix A.2.2: s_0 = tanh(W_s h_1 of the backward layer); Cho et al., A.1: tanh(V' c).
        joined, states, start = torch.tanh(affine(weights, "decoder.bridge", reads)), [], 0
        for width in widths:
            parts = 2 if cell == "lstm" else 1
            states.append(tuple(joined[start + i * width : start + (i + 1) * width] for i in range(parts)))
            start += parts * width
    fed = None
    outputs, alphas = [], []
    for word in words:
        previous, c = states[-1][0], summary
        if context not in (None, "summary") and context_at == "input":
            # Bahdanau et al., section 3.1: e_ij = a(s_{i-1}, h_j), s_i = f(s_{i-1}, y_{i-1}, c_i).
            c, alpha = attend(weights, context, previous, memory)
            alphas.append(alpha)
        x = word
        if c is not None and context_at == "input":
            x = torch.cat((x, c))
        if input_feeding:
            # Luong et al., section 3.3: the attentional vector of the step before is part of the input.
            size = weights["decoder.readout.weight"].shape[0] // (2 if readout[0] == "maxout" else 1)
            x = torch.cat((x, torch.zeros(size, dtype=torch.float64) if fed is None else fed))
        for number in range(len(widths)):
            states[number] = STEP[cell](weights, f"decoder.{number}", "", x, states[number])
            x = states[number][0]
        if context not in (None, "summary") and context_at == "output":
            # Luong et al., section 3: h_t first, then a_t and c_t of it.
            c, alpha = attend(weights, context, x, memory)
            alphas.append(alpha)
        output = x
        if readout is not None:
            kind, names = readout
            parts = {"state": x, "previous": previous, "input": word, "context": c}
            made = affine(weights, "decoder.readout", torch.cat([parts[name] for name in names]))
            if kind == "tanh":
                # Luong et al., eq. 5: h~_t = tanh(W_c [c_t; h_t]).
                output = torch.tanh(made)
            else:
                # Bahdanau et al., appendix A.2.2: t_i = [max(t~_{2j-1}, t~_{2j})]_j.
                output = torch.stack([torch.maximum(made[2 * j], made[2 * j + 1]) for j in range(len(made) // 2)])
        fed = output
        outputs.append(output)
    return outputs, alphas
