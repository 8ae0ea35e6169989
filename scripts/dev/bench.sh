#!/usr/bin/env bash
# Benchmarks. Arguments are passed on.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/dev/venv.sh" dev
"$ROOT/scripts/dev/pyz.sh"
"$ROOT/scripts/dev/bundled_collections.sh"
need_test_tools
for peer in pgbackrest mydumper; do
  need_command "$peer" "$peer" "a peer to compare with"
done
need_newer_postgresql
PATH="$VENV/bin:$PATH" exec "$VENV/bin/python" tests/bench/run.py "$@"
