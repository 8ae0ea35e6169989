#!/usr/bin/env bash
# Backups on another distribution, in a container made from its packages. Usage:
# distribution.sh debian-11|debian-13|debian-sid|ubuntu-22.04|ubuntu-24.04|ubuntu-26.04 [ARGUMENT of pytest...]
#
# debian-11     what RHEL 9 has, or older: Python 3.9, SQLite 3.34, PostgreSQL 13, OpenSSH 8.4 and PyMySQL 0.9
# debian-13     MariaDB 11.8, SQLite 3.46, OpenSSH 10 and Python 3.13
# debian-sid    changes every day until it is the next Debian: MySQL 9.7 (beside which MariaDB cannot be),
#               PostgreSQL 18, SQLite 3.53 and Python 3.14
# ubuntu-22.04  MariaDB 10.6, PostgreSQL 14, SQLite 3.37 and Python 3.10
# ubuntu-24.04  MySQL 8.0 for Linux with Percona's xtrabackup, which Debian does not have
# ubuntu-26.04  MySQL 8.4 with that, and Python 3.14
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

name=${1:-}
packages=python3,python3-pytest,python3-pytest-xdist,python3-hypothesis,python3-pymysql,python3-psycopg2
packages+=,python3-paramiko,sqlite3,zstd,age,gnupg,openssh-server,openssl,procps
sqlite=(integration/test_{database_sqlite,sqlite_objects,store_sftp}.py)
all_of_sqlite=("${sqlite[@]}" integration/test_{sqlite_tables,sqlite_restore,sqlite_plain_files,sftp_append_only}.py
  integration/test_{sftp_locks,command}.py)
mariadb=(integration/test_mysql_{conformance,physical_conformance,hardships}.py)
postgresql=(integration/test_postgresql_{conformance,physical_conformance,physical,physical_faults,restore,standby}.py
  integration/test_{log_archive,point_in_time}.py)
without="playbook" # Ansible is not there: tests of playbooks run elsewhere
options=()
pytest=own
case $name in
  debian-11)
    suite=bullseye
    MIRROR=http://deb.debian.org/debian # the archive of its updates is not whole any more
    packages+=,mariadb-server,mariadb-backup,postgresql-13
    tests=("${all_of_sqlite[@]}" "${mariadb[@]}" "${postgresql[@]}")
    without+=" or sqlite_is_the_one"
    options=(--env TEST_POSTGRESQL=13)
    pytest=newer
    ;;
  debian-13)
    suite=trixie
    packages+=,mariadb-server,mariadb-backup
    tests=("${sqlite[@]}" integration/test_mysql_{conformance,physical_conformance,objects}.py
      integration/test_{mariadb_objects,binlog_archive}.py)
    ;;
  debian-sid)
    suite=sid
    packages+=,mysql-server,mysql-client,postgresql-18
    tests=(mysql8 "${sqlite[@]}" "${postgresql[@]}"
      integration/test_postgresql_{directory,faults,objects,role,tablespaces,tls}.py)
    options=(--env TEST_MYSQL=native --env TEST_POSTGRESQL=18)
    ;;
  ubuntu-22.04)
    suite=jammy
    packages+=,mariadb-server,mariadb-backup,postgresql-14
    tests=("${all_of_sqlite[@]}" "${mariadb[@]}" "${postgresql[@]}" integration/test_mysql_{objects,physical}.py
      integration/test_{mariadb_objects,binlog_archive}.py)
    options=(--env TEST_POSTGRESQL=14)
    pytest=newer
    ;;
  ubuntu-24.04)
    suite=noble
    packages+=,mysql-server,mysql-client,percona-xtrabackup
    tests=(mysql8/test_mysql8_physical{,_conformance}.py)
    options=(--env TEST_MYSQL=native)
    pytest=newer
    ;;
  ubuntu-26.04)
    suite=resolute
    packages+=,mysql-server,mysql-client,percona-xtrabackup
    tests=(mysql8)
    options=(--env TEST_MYSQL=native)
    ;;
  *) die "which distribution? Usage: ${0##*/} debian-11|debian-13|debian-sid|ubuntu-22.04|ubuntu-24.04|ubuntu-26.04" ;;
esac
shift

need_podman "$name runs in a container"
image=localhost/dbfleet-$name:$(printf %s "$packages" | sha256sum | cut -c1-8)
if ! podman image exists "$image"; then
  if [[ $name = ubuntu-* ]]; then require_ubuntu "nothing was tested on $name"; fi
  distribution_image "$image" "$suite" "$packages" "the image of $name"
fi

wheels=requirements/pytest.txt
if [ "$pytest" = newer ]; then
  options+=(--env PYTHONPATH=/src/build/pytest)
  if ! is_current "$BUILD/pytest/.made-of" "$(digest "$wheels")"; then
    "$ROOT/scripts/dev/venv.sh" dev
    say "fetching $wheels (pip)"
    rm -rf "$BUILD/pytest"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
      --only-binary=:all: --python-version 3.9 --target "$BUILD/pytest" --requirement "$wheels"
    digest "$wheels" >"$BUILD/pytest/.made-of"
  fi
fi

say "pytest of ${tests[*]}, on $name"
# Tests mount small file systems, to fill them.
podman run --rm --privileged --network none --tmpfs /tmp:rw,exec,mode=1777 --volume "$ROOT:/src:ro" --workdir /src \
  --env PYTHONDONTWRITEBYTECODE=1 --env LC_ALL=C.UTF-8 "${options[@]}" "$image" \
  python3 -m pytest -o cache_dir=/tmp/cache -n "${PYTEST_WORKERS:-$(($(nproc) * 2))}" --dist loadfile \
  -k "not ($without)" "${tests[@]/#/tests/}" "$@"
