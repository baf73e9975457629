"""Contenders, one idea a file: ours through the public API alone, and other libraries as their users run them."""
