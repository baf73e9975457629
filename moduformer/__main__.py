"""`python -m moduformer`, the same program as `moduformer`."""

from moduformer.cli import main

if __name__ == "__main__":
    main()
