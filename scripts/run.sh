#!/usr/bin/env bash
# Sets everything up and runs the demonstration; exits with what the demonstration says.
set -euo pipefail
cd "$(dirname "$0")/.."
unset MAKEFLAGS MFLAGS MAKELEVEL
scripts/setup.sh
make --silent clients/typescript/dist/cli/main.js
exec .venv/bin/python -m demo "$@"
