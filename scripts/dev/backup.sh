#!/usr/bin/env bash
# `make backup`: backs up the database that DATABASE_URL names, or a sample database when it names none,
# into BACKUP_DIR, then shows what is stored and how to restore it.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/dev/collection.sh"
"$ROOT/scripts/dev/pyz.sh"

need_command zstd zstd "compresses the backups"

sample="$ROOT/data/promptpilot.db"
if [ -z "${DATABASE_URL:-}" ]; then
  "$VENV/bin/python" scripts/sample_database.py "$sample"
  DATABASE_URL="sqlite:///$sample"
fi
# The driver that an application names in its URL (sqlite+aiosqlite:///) is of no concern here.
if [[ $DATABASE_URL =~ ^([A-Za-z]+)\+[^:/]+(://.*)$ ]]; then
  DATABASE_URL=${BASH_REMATCH[1]}${BASH_REMATCH[2]}
fi
# Relative paths are the caller's; Ansible's modules run elsewhere.
case $DATABASE_URL in
  sqlite:////*) ;;
  sqlite:///*) DATABASE_URL="sqlite:///$PWD/${DATABASE_URL#sqlite:///}" ;;
esac
BACKUP_DIR=${BACKUP_DIR:-./backups}
case $BACKUP_DIR in
  *://*) ;;
  *) BACKUP_DIR=$(realpath -m -- "$BACKUP_DIR") ;;
esac
export DATABASE_URL BACKUP_DIR

"$VENV/bin/ansible-playbook" playbooks/backup.yml

if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi
printf '\n%sStored in %s:%s\n\n' "$bold" "$BACKUP_DIR" "$plain"
"$VENV/bin/python" build/dbfleet.pyz list
printf '\n%sTo restore the latest one beside the original:%s\n\n' "$bold" "$plain"
settings="BACKUP_DIR=$(printf '%q' "$BACKUP_DIR")"
case $DATABASE_URL in
  "sqlite:///$sample") settings+=" DATABASE_URL=$(printf '%q' "$DATABASE_URL")" ;;
  # A URL may hold a password: it stays in the environment where it already is.
esac
target=$(printf '%q' "sqlite:///$ROOT/data/restored.db")
case $DATABASE_URL in
  sqlite:*) ;;
  *) target="URL_OF_A_NEW_DATABASE" ;;
esac
printf '  %s python3 build/dbfleet.pyz restore latest --to %s\n\n' "$settings" "$target"
