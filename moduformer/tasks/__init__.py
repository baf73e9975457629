"""Jobs on text: estimators that learn one from examples and do it on new text."""
