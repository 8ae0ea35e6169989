#!/usr/bin/env bash
# Everything that checks without running: lint and types, and sanity beside them, since each keeps one core busy.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

# What more than one of them needs is made first.
"$ROOT/scripts/dev/venv.sh" dev
"$ROOT/scripts/dev/collection.sh"
need_command git git "to know which files belong to the project"

said=$(mktemp)
set -m # a process group of its own, which can be ended as a whole
"$ROOT/scripts/dev/sanity.sh" >"$said" 2>&1 &
sanity=$!
set +m
trap 'kill -- "-$sanity" 2>/dev/null || true; rm -f -- "$said"' EXIT
"$ROOT/scripts/dev/lint.sh"
"$ROOT/scripts/dev/types.sh"
failed=0
wait "$sanity" || failed=$?
cat -- "$said"
exit "$failed"
