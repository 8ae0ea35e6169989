#!/usr/bin/env bash
# The database that the regression suite of PostgreSQL 15 leaves behind on 15, 17 and 18: backed up, restored,
# compared. Its SQL is in Debian's source package. DBFLEET_TEST_ONLY="test_setup create_table" runs a part of it.
# Arguments are passed on to pytest.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/dev/venv.sh" dev
need_command pg_ctlcluster postgresql "the server that the suite runs on"
need_newer_postgresql

SUITE="$BUILD/regression"
if [ ! -f "$SUITE/.complete" ]; then
  say "fetching the source of PostgreSQL 15 (Debian)"
  rm -rf "$SUITE"
  mkdir -p "$SUITE/lists/partial"
  echo "deb-src http://deb.debian.org/debian bookworm main" >"$SUITE/sources.list"
  options=(-qq -o "Dir::Etc::sourcelist=$SUITE/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$SUITE/lists" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  (cd "$SUITE" && apt-get "${options[@]}" source --download-only postgresql-15)
  archives=("$SUITE"/postgresql-15_*.orig.tar.bz2)
  tar -xjf "${archives[0]}" -C "$SUITE" --strip-components=1 --wildcards '*/src/test/regress'
  rm -r "$SUITE/lists" "${archives[@]}"
  touch "$SUITE/.complete"
fi

# The server's user must be able to read the suite's data, wherever this checkout is.
folder=$(mktemp -d /tmp/dbfleet-regression-XXXXXX)
trap 'rm -rf "$folder"' EXIT
cp -r "$SUITE/src/test/regress/." "$folder"
chmod -R a+rX "$folder"
say "pytest tests/regression"
DBFLEET_TEST_REGRESSION="$folder" PATH="$VENV/bin:$PATH" "$VENV/bin/python" -m pytest tests/regression \
  -n "${PYTEST_WORKERS:-auto}" --dist loadgroup "$@"
