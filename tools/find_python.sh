#!/usr/bin/env bash
# Prints a Python >= 3.11 that can make virtual environments, or says what to install.
set -euo pipefail
works='import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))'
for name in ${PYTHON:-} python3.12 python3.11 python3.13 python3 python3.14 python; do
    if command -v "$name" >/dev/null 2>&1 && "$name" -c "$works" >/dev/null 2>&1; then
        "$name" -c 'import sys; print(sys.executable)'
        exit 0
    fi
done
cat >&2 <<'MSG'
qtfeat needs Python 3.11 or newer with the venv module, and none was found on the PATH.
  Debian, Ubuntu:  sudo apt-get install python3 python3-venv
  Fedora:          sudo dnf install python3
  macOS:           brew install python@3.12
  Windows:         winget install Python.Python.3.12
Then run the command again (or: make PYTHON=/path/to/python3 ...).
MSG
exit 1
