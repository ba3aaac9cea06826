"""Starts servers quickly: everything is imported, and what ships is read and checked, once; each server is a fork.

`python -m tests.fleet.starter NAME:NAME DESCRIPTOR DESCRIPTOR`. Every line on stdin is a JSON list: the file for its
output, then the command line of `provisioner`. The answer is the new process's id. The descriptors are listening
sockets, handed on as systemd does (sd_listen_fds(3)). Only the first server is told the administrator's password.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import signal
import sys

import provisioner.cli.serve  # noqa: F401 (imported for those that are forked)
from agent.build import zipapp
from provisioner.cli.command import Terminal
from provisioner.cli.main import run
from provisioner.content.whole import problems
from provisioner.packs import load_shipped
from tests.journey import PASSWORD_VARIABLE

_FIRST_INHERITED = 3
_OUT_OF_THE_WAY = 100


def _become_server(output: str, arguments: list[str], listeners: list[int], names: str) -> None:
    """Never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, place in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, place)
    for number, descriptor in enumerate(listeners):
        os.dup2(descriptor, _FIRST_INHERITED + number)
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(listeners)), "LISTEN_FDNAMES": names}
    os._exit(run(arguments, Terminal(os.environ)))


def main(argv: list[str]) -> int:
    """Serve orders until stdin ends."""
    names, *numbers = argv
    listeners = [fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY) for number in numbers]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    problems(load_shipped())
    zipapp()
    # A collection in a fork would otherwise write to, and so copy, every page of what all share.
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        output, *arguments = json.loads(line)
        child = os.fork()
        if not child:
            _become_server(output, arguments, listeners, names)
        # The first makes the administrator; those after it would each take 0.2 s to find that nothing has changed.
        os.environ.pop(PASSWORD_VARIABLE, None)
        print(child, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
