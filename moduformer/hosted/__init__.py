"""Models that are reached over their makers' public HTTP interfaces only: text generation and chat."""
