"""The commands and shell functions that scripts find on their PATH, as files to write.

A POSIX shell looks for `. provisioner.sh` on PATH, so a script gets the functions without knowing where they are.
"""

from __future__ import annotations

import os
import sys
from shlex import quote

FUNCTIONS_NAME = "provisioner.sh"
PARAM_NAME = "provisioner-param"
PROGRESS_FILE = ".progress"

FUNCTIONS = f"""\
# Sourced by task scripts: `. {FUNCTIONS_NAME}`. A script that calls none of the exit words and exits 0 is done.

exit_stop() {{ exit 16; }}                 # done; the agent stops
exit_shutdown() {{ exit 32; }}             # done; power off
exit_reboot() {{ exit 64; }}               # done; reboot
exit_incomplete() {{ exit 128; }}          # not done; the job goes on when the machine is made runnable
exit_incomplete_stop() {{ exit 144; }}     # not done; the agent stops, the job goes on afterwards
exit_incomplete_shutdown() {{ exit 160; }} # not done; power off, the job goes on afterwards
exit_incomplete_reboot() {{ exit 192; }}   # not done; reboot, the job goes on afterwards

# get_param NAME: text as it is, anything else as JSON; fails when it has no value
get_param() {{ {PARAM_NAME} get "$1"; }}

# set_param NAME VALUE: VALUE is taken as JSON, or as text when it is not JSON
set_param() {{ {PARAM_NAME} set "$1" "$2"; }}

# unset_param NAME
unset_param() {{ {PARAM_NAME} unset "$1"; }}

# progress PERCENT: how far this job is, 0 to 100
progress() {{
    printf '%s\\n' "$1" > "$PROVISIONER_TASK_DIR/{PROGRESS_FILE}.new" &&
        mv "$PROVISIONER_TASK_DIR/{PROGRESS_FILE}.new" "$PROVISIONER_TASK_DIR/{PROGRESS_FILE}"
}}
"""


def files(python: str) -> dict[str, tuple[str, int]]:
    """Name -> (text, mode) of every helper; `python` runs the agent."""
    param = f'#!/bin/sh\nexec {quote(python)} -I "$PROVISIONER_AGENT" param "$@"\n'
    return {FUNCTIONS_NAME: (FUNCTIONS, 0o644), PARAM_NAME: (param, 0o755)}


def install(folder: str, python: str = sys.executable) -> None:
    """Write the helpers into a folder."""
    os.makedirs(folder, exist_ok=True)
    for name, (text, mode) in files(python).items():
        path = os.path.join(folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
