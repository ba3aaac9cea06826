"""The program that `ipmi_sim` runs to switch power and to read its LAN settings.

    hook.py SOCKET MACHINE get NAME...
    hook.py SOCKET MACHINE set NAME VALUE [NAME VALUE...]
    hook.py SOCKET MACHINE check NAME VALUE

`get` prints `NAME:VALUE` lines, `set` prints nothing; an error is printed and the exit code is 1, which the BMC
turns into an IPMI error. It is started for every single question, so it imports next to nothing.
"""

import json
import socket
import sys

TIMEOUT_SECONDS = 20


def ask(path: str, request: dict[str, str]) -> str:
    """The supervisor's answer. SystemExit with its words when it refuses."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT_SECONDS)
        connection.connect(path)
        connection.sendall(json.dumps(request).encode() + b"\n")
        reply = json.loads(connection.makefile("rb").readline())
    if "error" in reply:
        print(reply["error"])
        raise SystemExit(1)
    return str(reply["value"])


def main(argv: list[str]) -> None:
    """One question or one order of the BMC."""
    path, machine, verb, *words = argv
    request = {"op": verb, "machine": machine}
    if verb == "get":
        for name in words:
            print(f"{name}:{ask(path, request | {'name': name})}")
    else:
        # `identify` has two values; only the first matters.
        for name, value in zip(words[::2], words[1::2], strict=False):
            ask(path, request | {"name": name, "value": value})


if __name__ == "__main__":
    main(sys.argv[1:])
