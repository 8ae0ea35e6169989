#!/usr/bin/env bash
# Backups of MySQL 8.0: its server and tools for Windows, under Wine. Arguments are passed on to pytest.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/dev/venv.sh" dev
source "$ROOT/scripts/dev/fetch_mysql8.sh"

export WINEPREFIX="$MYSQL8/prefix" WINEDEBUG=-all
unset DISPLAY
# Kept running, so that every tool need not start it anew; without our output, which would not end before it does.
trap 'wineserver -k >/dev/null 2>&1 || true' EXIT
wineserver -p 60 </dev/null >/dev/null 2>&1 || true # it runs already
say "pytest tests/mysql8"
PATH="$VENV/bin:$PATH" "$VENV/bin/python" -m pytest tests/mysql8 -n "${PYTEST_WORKERS:-auto}" \
  --dist loadfile --no-loadscope-reorder "$@"
