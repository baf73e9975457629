"""Scores of every task, computed here and offline, each equal to the implementation its field compares with.

Nothing heavy is imported here; import the module of the task: `classification`, `regression`, `calibration`,
`tagging`, `answering`, `summaries`, `translation`, `language_model`, `glue`. `docs/metrics.md` has formulas.
"""
