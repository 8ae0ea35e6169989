#!/bin/sh
# The contents of both databases, as their own tools write them.
set -e
runuser -u postgres -- pg_dump promptpilot | grep -Ev '^\\(un)?restrict ' | sha256sum
mariadb-dump --skip-comments --skip-dump-date --routines --triggers --events billing_1 | sha256sum
