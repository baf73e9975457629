"""Prompts to the tokens that follow them, greedily."""
