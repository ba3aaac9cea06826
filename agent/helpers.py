"""The commands, shell functions and Python module that scripts find, as files to write.

A POSIX shell looks for `. provisioner.sh` on PATH, so a script gets the functions without knowing where they are;
Python finds `provisioner_task` by PYTHONPATH.
"""

from __future__ import annotations

import os
import sys
from pkgutil import get_data
from shlex import quote

from .errors import ConfigError
from .provisioner_task import FAILURE_FILE, PROGRESS_FILE

FUNCTIONS_NAME = "provisioner.sh"
MODULE_DIR = "python"
MODULE_NAME = "provisioner_task.py"
# Command -> the agent's verb.
COMMANDS = {"provisioner-param": "param", "provisioner-asset": "asset"}

FUNCTIONS = f"""\
# Sourced by task scripts: `. {FUNCTIONS_NAME}`. A script that calls none of the exit words and exits 0 is done.

exit_stop() {{ exit 16; }}                 # done; the agent stops
exit_shutdown() {{ exit 32; }}             # done; power off
exit_reboot() {{ exit 64; }}               # done; reboot
exit_incomplete() {{ exit 128; }}          # not done; the job goes on when the machine is made runnable
exit_incomplete_stop() {{ exit 144; }}     # not done; the agent stops, the job goes on afterwards
exit_incomplete_shutdown() {{ exit 160; }} # not done; power off, the job goes on afterwards
exit_incomplete_reboot() {{ exit 192; }}   # not done; reboot, the job goes on afterwards

# fail MESSAGE: failed; the message is shown with the job
fail() {{
    printf '%s\\n' "$*" >&2
    printf '%s\\n' "$*" > "$PROVISIONER_TASK_DIR/{FAILURE_FILE}"
    exit 1
}}

# get_param NAME: text as it is, anything else as JSON; fails when it has no value
get_param() {{ provisioner-param get -- "$1"; }}

# set_param NAME VALUE [NAME VALUE ...]: all in one go; a VALUE is taken as JSON, or as text when it is not JSON
set_param() {{ provisioner-param set -- "$@"; }}

# unset_param NAME [NAME ...]
unset_param() {{ provisioner-param unset -- "$@"; }}

# attach FILE [NAME]: keep a file with this job
attach() {{ provisioner-asset ${{2:+"--name=$2"}} -- "$1"; }}

# progress PERCENT: how far this job is, 0 to 100
progress() {{
    printf '%s\\n' "$1" > "$PROVISIONER_TASK_DIR/{PROGRESS_FILE}.new" &&
        mv "$PROVISIONER_TASK_DIR/{PROGRESS_FILE}.new" "$PROVISIONER_TASK_DIR/{PROGRESS_FILE}"
}}
"""


def files(python: str) -> dict[str, tuple[str, int]]:
    """Path below the helpers' folder -> (text, mode) of every helper; `python` runs the agent."""
    commands = {
        name: (f'#!/bin/sh\nexec {quote(python)} -I "$PROVISIONER_AGENT" {verb} "$@"\n', 0o755)
        for name, verb in COMMANDS.items()
    }
    return {
        FUNCTIONS_NAME: (FUNCTIONS, 0o644),
        f"{MODULE_DIR}/{MODULE_NAME}": (_module_source(), 0o644),
        **commands,
    }


def _module_source() -> str:
    """Our own file for scripts, out of the zipapp or the source tree that we run from."""
    data = get_data(__package__, MODULE_NAME)
    if data is None:
        raise ConfigError(f"the agent is incomplete: it lacks {MODULE_NAME}")
    return data.decode("utf-8")


def install(folder: str, python: str = sys.executable) -> None:
    """Write the helpers into a folder."""
    for name, (text, mode) in files(python).items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
