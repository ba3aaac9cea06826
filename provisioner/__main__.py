"""`provisioner` and `python -m provisioner`: the program's beginning and end."""

import os
import sys

from provisioner.cli.command import Terminal
from provisioner.cli.main import run


def main() -> int:
    """Run what the command line asks for; the result is the exit code."""
    return run(sys.argv[1:], Terminal(os.environ))


if __name__ == "__main__":
    sys.exit(main())
