"""The building blocks of every Transformer: each builds itself from its spec and works on flat tokens."""
