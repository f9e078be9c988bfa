"""`python -m rmas` is `rmas`."""

from rmas.cli import main

if __name__ == "__main__":  # unpacking starts processes that import this file again
    main()
