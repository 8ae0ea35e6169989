#!/usr/bin/env bash
# Backups on another Debian, in a container made from its packages. Usage: debian.sh 11|13|sid [ARGUMENT of pytest...]
# 11 has what RHEL 9 has, or older: Python 3.9, SQLite 3.34, PostgreSQL 13, OpenSSH 8.4 and PyMySQL 0.9.
# 13 has MariaDB 11.8, SQLite 3.46, OpenSSH 10 and Python 3.13. sid, which changes every day until it is the next
# Debian, has MySQL 9.7 (beside which MariaDB cannot be), PostgreSQL 18, SQLite 3.53 and Python 3.14.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

debian=${1:-}
packages=python3,python3-pytest,python3-pytest-xdist,python3-hypothesis,python3-pymysql,python3-psycopg2
packages+=,python3-paramiko,sqlite3,zstd,age,gnupg,openssh-server,openssl,procps
tests=(integration/test_{database_sqlite,sqlite_objects,store_sftp}.py)
postgresql=(integration/test_postgresql_{conformance,physical_conformance,physical,physical_faults,restore,standby}.py
  integration/test_{log_archive,point_in_time}.py)
without="playbook" # Ansible is not there: tests of playbooks run elsewhere
options=()
case $debian in
  11)
    suite=bullseye
    MIRROR=http://deb.debian.org/debian # the archive of its updates is not whole any more
    packages+=,mariadb-server,mariadb-backup,postgresql-13
    tests+=(integration/test_{sqlite_tables,sqlite_restore,sqlite_plain_files,sftp_append_only,sftp_locks,command}.py
      integration/test_mysql_{conformance,physical_conformance,hardships}.py "${postgresql[@]}")
    without+=" or sqlite_is_the_one"
    options=(--env TEST_POSTGRESQL=13 --env PYTHONPATH=/src/build/debian-11)
    ;;
  13)
    suite=trixie
    packages+=,mariadb-server,mariadb-backup
    tests+=(integration/test_{mysql_conformance,mysql_physical_conformance,mysql_objects,mariadb_objects,binlog_archive}.py)
    ;;
  sid)
    suite=sid
    packages+=,mysql-server,mysql-client,postgresql-18
    tests+=(mysql8 "${postgresql[@]}" integration/test_postgresql_{directory,faults,objects,role,tablespaces,tls}.py)
    options=(--env TEST_MYSQL=native --env TEST_POSTGRESQL=18)
    ;;
  *) die "which Debian? Usage: scripts/dev/debian.sh 11|13|sid [ARGUMENT of pytest...]" ;;
esac
shift

need_podman "Debian $debian runs in a container"
image=localhost/dbfleet-debian-$debian:$(printf %s "$packages" | sha256sum | cut -c1-8)
podman image exists "$image" || debian_image "$image" "$suite" "$packages" "the image of Debian $debian"

wheels=requirements/debian-$debian.txt
if [ -f "$wheels" ] && ! is_current "$BUILD/debian-$debian/.made-of" "$(digest "$wheels")"; then
  "$ROOT/scripts/dev/venv.sh" dev
  say "fetching $wheels (pip)"
  rm -rf "$BUILD/debian-$debian"
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
    --only-binary=:all: --python-version 3.9 --target "$BUILD/debian-$debian" --requirement "$wheels"
  digest "$wheels" >"$BUILD/debian-$debian/.made-of"
fi

say "pytest of ${tests[*]}, on Debian $debian"
# Tests mount small file systems, to fill them.
podman run --rm --privileged --network none --tmpfs /tmp:rw,exec,mode=1777 --volume "$ROOT:/src:ro" --workdir /src \
  --env PYTHONDONTWRITEBYTECODE=1 --env LC_ALL=C.UTF-8 "${options[@]}" "$image" \
  python3 -m pytest -o cache_dir=/tmp/cache -n "${PYTEST_WORKERS:-$(($(nproc) * 2))}" --dist loadfile \
  -k "not ($without)" "${tests[@]/#/tests/}" "$@"
