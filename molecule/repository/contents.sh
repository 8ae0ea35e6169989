#!/usr/bin/env bash
# The contents of a host's database, as its own tool writes them: contents.sh postgresql|mysql|sqlite
set -euo pipefail
case $1 in
  postgresql) runuser -u postgres -- pg_dump promptpilot | grep -Ev '^\\(un)?restrict ' | sha256sum ;;
  mysql) mariadb-dump --skip-comments --skip-dump-date --routines --triggers --events billing_1 | sha256sum ;;
  sqlite) python3 /usr/local/lib/database.py digest /srv/promptpilot/promptpilot.db ;;
esac
