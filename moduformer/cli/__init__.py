"""The command line: thin commands over the library. Importing it loads neither torch nor pandas."""


def main() -> None:
    """What the program `moduformer` runs."""
    from moduformer.cli.app import app

    app(prog_name="moduformer")
