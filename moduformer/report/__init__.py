"""What a finished training run shows to a person: results as data, a page, a model card and pictures."""
