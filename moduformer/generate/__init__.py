"""Making text: how the next token is chosen, over ragged prompts and a cache."""
