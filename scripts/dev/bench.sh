#!/usr/bin/env bash
# Benchmarks. Arguments are passed on.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

if ! [ -f tests/bench/run.py ]; then
  say "no benchmarks yet (tests/bench/run.py)"
  exit 0
fi
"$ROOT/scripts/dev/venv.sh" dev
"$ROOT/scripts/dev/pyz.sh"
"$ROOT/scripts/dev/bundled_collections.sh"
need_test_tools
need_command pgbackrest pgbackrest "a peer to compare with"
need_newer_postgresql
PATH="$VENV/bin:$PATH" exec "$VENV/bin/python" tests/bench/run.py "$@"
