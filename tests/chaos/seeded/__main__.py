"""`python -m tests.chaos.seeded BUG serve|work`: the ordinary command with the bug in it."""

import sys
from importlib import import_module

from message_service.cli.main import main

if __name__ == "__main__":
    import_module(f"tests.chaos.seeded.{sys.argv.pop(1)}").plant()
    main()
