"""Token ids of one language to token ids of another."""
