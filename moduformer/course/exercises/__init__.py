"""The exercises of the notebooks, a file each."""
