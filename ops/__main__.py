"""``python -m ops``: the command ``zentransfer``."""

from ops.cli import main

if __name__ == "__main__":
    main(prog_name="zentransfer")
