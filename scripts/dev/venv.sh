#!/usr/bin/env bash
# Makes or updates .venv. Usage: venv.sh run|dev  (requirements/run.txt or requirements/dev.txt)
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

level=${1:-run}
stamp="$VENV/.stamp-$level"
# The place counts too: an environment that was moved or copied does not work.
state() { printf '%s %s' "$VENV" "$(digest requirements/run.txt "requirements/$1.txt")"; }
want=$(state "$level")

if is_current "$stamp" "$want" && "$VENV/bin/python" -c '' 2>/dev/null; then
  exit 0
fi

if ! [ -x "$VENV/bin/pip" ] || ! "$VENV/bin/pip" --version >/dev/null 2>&1; then
  python=$(find_python)
  if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    need_apt "to create a Python environment in .venv" "python$version-venv"
  fi
  say "creating .venv with $python: the tools stay out of the system"
  "$python" -m venv --clear "$VENV"
fi

case $level in
  run) why="ansible-core runs the playbooks" ;;
  dev) why="the tools that check and test the collection" ;;
  *) die "usage: $0 run|dev" ;;
esac
say "installing requirements/$level.txt (pip, into .venv): $why"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r "requirements/$level.txt"
printf '%s' "$want" >"$stamp"
if [ "$level" = dev ]; then state run >"$VENV/.stamp-run"; fi  # requirements/dev.txt includes run.txt
