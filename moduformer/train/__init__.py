"""Training: tables of labelled text, examples, objectives, recipes and the loop.

Nothing heavy is imported here; import the module you need, for example `moduformer.train.tables`.
"""
