#!/bin/sh
# PromptPilot's backups by hand, as its users have always typed them:
#
#   ./scripts/backup_restore.sh backup
#   ./scripts/backup_restore.sh restore backups/promptpilot_backup_20250823_103000.sql
#   ./scripts/backup_restore.sh list
#
# DATABASE_URL    the database            (default sqlite:///./data/promptpilot.db)
# BACKUP_DIR      where backups are kept  (default ./backups)
# RETENTION_DAYS  when set, a backup then removes backups that are older than so many days
# PYTHON          the Python to use       (default python3; 3.9 or newer)
#
# Further options go to the dbfleet command, which does the work; its --help explains them.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(dirname -- "$here")
: "${PYTHON:=python3}"
: "${DATABASE_URL:=sqlite:///./data/promptpilot.db}"
: "${BACKUP_DIR:=./backups}"
export DATABASE_URL BACKUP_DIR

usage() {
  echo "usage: $0 backup | restore FILE | list   (then options of dbfleet, such as --json)"
}

if [ -f "$root/build/dbfleet.pyz" ]; then
  program=$root/build/dbfleet.pyz
elif [ -f "$here/dbfleet.pyz" ]; then
  program=$here/dbfleet.pyz
elif [ -f "$root/plugins/module_utils/dbfleet/__main__.py" ]; then
  program=
  PYTHONPATH=$root/plugins/module_utils${PYTHONPATH:+:$PYTHONPATH}
  export PYTHONPATH
else
  echo "$0: dbfleet.pyz is neither in $root/build nor in $here" >&2
  echo "  remedy: build it with 'make pyz' in a checkout, and copy it beside this script" >&2
  exit 2
fi

dbfleet() {
  if [ -n "$program" ]; then "$PYTHON" "$program" "$@"; else "$PYTHON" -m dbfleet "$@"; fi
}

verb=${1:-}
if [ $# -gt 0 ]; then shift; fi
case $verb in
  backup)
    dbfleet backup --name promptpilot "$@"
    if [ -n "${RETENTION_DAYS:-}" ]; then
      dbfleet prune --name promptpilot
    fi
    ;;
  restore)
    if [ $# -eq 0 ]; then
      usage >&2
      exit 2
    fi
    file=$1
    shift
    # The database that is replaced is kept beside the restored one.
    dbfleet restore --name promptpilot --replace "$@" -- "$file"
    ;;
  list) dbfleet list --name promptpilot "$@" ;;
  help | -h | --help) usage ;;
  *)
    usage >&2
    exit 2
    ;;
esac
