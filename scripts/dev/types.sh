#!/usr/bin/env bash
# Types of the engine, checked strictly (settings in pyproject.toml).
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/dev/venv.sh" dev
say "mypy --strict"
"$VENV/bin/mypy"
