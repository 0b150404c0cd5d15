"""``python -m session2`` is the `session2` command."""

from .cli import main

if __name__ == "__main__":
    main()
