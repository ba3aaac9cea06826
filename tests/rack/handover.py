"""Gives a process sockets that were bound elsewhere, the way systemd's socket activation does (sd_listen_fds(3)).

    handover.py FD:NAME,FD:NAME... COMMAND...

The sockets become file descriptors 3, 4, ... and LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID say so. It replaces itself
with COMMAND, so that LISTEN_PID is right.
"""

import os
import sys

FIRST = 3


def main(argv: list[str]) -> None:
    """Put the sockets in place and become COMMAND."""
    pairs = [word.split(":", 1) for word in argv[0].split(",")]
    # First out of the way, then into place: a source may sit where another one must go.
    moved = [_above(int(fd), FIRST + len(pairs)) for fd, _ in pairs]
    for number, fd in enumerate(moved):
        os.dup2(fd, FIRST + number, inheritable=True)
        os.close(fd)
    os.environ["LISTEN_FDS"] = str(len(pairs))
    os.environ["LISTEN_FDNAMES"] = ":".join(name for _, name in pairs)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.execvp(argv[1], argv[1:])


def _above(fd: int, lowest: int) -> int:
    copy = os.dup(fd)
    spare = []
    while copy < lowest:
        spare.append(copy)
        copy = os.dup(fd)
    for number in spare:
        os.close(number)
    os.close(fd)
    return copy


if __name__ == "__main__":
    main(sys.argv[1:])
