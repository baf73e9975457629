"""Texts to mean-pooled vectors."""
