"""Text in, ids out: tokenizers, overlapping windows over long text, chat templates.

`moduformer.text.tokenizer.Tokenizer` wraps the tokenizer files of a checkpoint, `moduformer.text.windows` cuts long
token runs into overlapping windows without losing a token, and `moduformer.text.chat` renders chat templates of
untrusted checkpoints under limits. Nothing is imported here, so `import moduformer.text` costs nothing.
"""
