#!/bin/bash
# Makes the virtual environment with this project in it, editable, and all that its tests need.
set -euo pipefail

venv=$1
# The distribution's interpreter is built with profile-guided optimisation, which one on the PATH often is not: such a
# one took 4.5 s of a processor to load our tests, Debian's 2.9 s.
can='import ensurepip, sys; sys.exit(sys.version_info < (3, 11))'
[ -x "$venv/bin/python" ] || {
    for python in /usr/bin/python3 python3; do
        ! "$python" -c "$can" 2>/dev/null || break
    done
    echo "making the virtual environment $venv with $(command -v "$python")"
    "$python" -m venv "$venv"
}
"$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed; this is $("$venv/bin/python" --version)" >&2
    exit 1
}
echo "installing Python packages into $venv"
"$venv/bin/python" -m pip install --quiet --upgrade pip 'setuptools>=69' wheel
"$venv/bin/python" -m pip install --quiet --editable '.[dev]'
