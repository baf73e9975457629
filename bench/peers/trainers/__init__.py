"""Labelled texts to a classifier."""
