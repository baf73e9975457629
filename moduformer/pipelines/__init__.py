"""Pipelines: a task done by a model that has learned it, from any input, in plain Python values."""
