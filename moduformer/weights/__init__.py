"""Checkpoints on disk: reading and writing tensor files, and relating their tensors to a model's parameters."""
