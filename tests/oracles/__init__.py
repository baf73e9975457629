"""Families that `transformers` does not have: each is written a second time, plainly and slowly, from its paper and the
shapes of its published files. The modules share no code with the library, nor with each other.

Every module that `parity/test_oracles.py` reads has `CLASSES`, `config(rng)` (a random config.json), `shapes(config,
name)` (the tensors of a checkpoint), `forward(tensors, config, ids, name)` (one row of token ids, without padding) and
`text(rng, config, length)` with `opening(config, ids)`, how many tokens a decoder has to read at once before it can
write one by one.
"""
