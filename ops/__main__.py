"""``python -m ops``: the command ``zentransfer``."""

from ops.start import main

if __name__ == "__main__":
    main()
