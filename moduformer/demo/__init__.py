"""The main job from beginning to end on real text: what `moduformer demo` runs."""
