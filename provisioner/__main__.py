"""`provisioner` and `python -m provisioner`: the program's beginning and end."""

import os
import sys

from provisioner.cli.command import Terminal
from provisioner.cli.completion import ASKING_VARIABLE, offer
from provisioner.cli.main import run
from provisioner.cli.parser import GROUPS, whole_parser


def main() -> int:
    """Run what the command line asks for; the result is the exit code."""
    if ASKING_VARIABLE in os.environ:
        typed = os.environ.get("COMP_LINE", "").split()
        offer(whole_parser(next((word for word in typed[1:] if word in GROUPS), "")), os.environ)
    return run(sys.argv[1:], Terminal(os.environ))


if __name__ == "__main__":
    sys.exit(main())
