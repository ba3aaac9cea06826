#!/bin/bash
# Makes the virtual environment with this project in it, editable, and all that its tests need.
set -euo pipefail

venv=$1
[ -x "$venv/bin/python" ] || {
    echo "making the virtual environment $venv"
    python3 -m venv "$venv"
}
"$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed; this is $("$venv/bin/python" --version)" >&2
    exit 1
}
echo "installing Python packages into $venv"
"$venv/bin/python" -m pip install --quiet --upgrade pip 'setuptools>=69' wheel
"$venv/bin/python" -m pip install --quiet --editable '.[dev]'
