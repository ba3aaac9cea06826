"""The words that a rack, a BMC's hook and the supervisor exchange: one JSON object per line, over a unix socket."""

import json
import socket
from pathlib import Path
from typing import Any

from tests.rack.network import RackError

REPLY_SECONDS = 30.0


def ask(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """The supervisor's answer to `request`. RackError when it refuses or is gone."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(REPLY_SECONDS)
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            line = connection.makefile("rb").readline()
    except OSError as error:
        raise RackError(f"the rack's supervisor does not answer: {error}") from error
    reply: dict[str, Any] = json.loads(line) if line else {"error": "the rack's supervisor hung up"}
    if "error" in reply:
        raise RackError(reply["error"])
    return reply
