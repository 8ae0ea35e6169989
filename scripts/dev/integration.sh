#!/usr/bin/env bash
# Integration tests: real databases, real tools, the built command, the installed collection.
# Arguments are passed on to pytest.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/dev/venv.sh" dev
"$ROOT/scripts/dev/collection.sh"
"$ROOT/scripts/dev/pyz.sh"
need_test_tools
need_newer_postgresql
use_memory
# Tests wait for servers half of their time. Those of one file share its servers, so one worker runs them all.
workers=${PYTEST_WORKERS:-$(($(nproc) * 2))}
say "pytest tests/integration, $workers files at a time"
PATH="$VENV/bin:$PATH" "$VENV/bin/python" -m pytest tests/integration -n "$workers" \
  --dist loadfile --no-loadscope-reorder "$@"
