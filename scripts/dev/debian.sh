#!/usr/bin/env bash
# Backups on another Debian, in a container made from its packages. Usage: debian.sh 13|sid [ARGUMENT of pytest...]
# 13 has MariaDB 11.8, SQLite 3.46, OpenSSH 10 and Python 3.13. sid, which changes every day until it is the next
# Debian, has MySQL 9.7 (beside which MariaDB cannot be), PostgreSQL 18, SQLite 3.53 and Python 3.14.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

debian=${1:-}
packages=python3,python3-pytest,python3-pytest-xdist,python3-hypothesis,python3-pymysql,python3-psycopg2
packages+=,python3-paramiko,sqlite3,zstd,age,gnupg,openssh-server,openssl
tests=(integration/test_{database_sqlite,sqlite_objects,store_sftp}.py)
options=()
case $debian in
  13)
    suite=trixie
    packages+=,mariadb-server,mariadb-backup
    tests+=(integration/test_{mysql_conformance,mysql_physical_conformance,mysql_objects,binlog_archive}.py)
    ;;
  sid)
    suite=sid
    packages+=,mysql-server,mysql-client,postgresql-18
    tests+=(mysql8 integration/test_postgresql_{conformance,directory,faults,objects,physical,physical_conformance}.py
      integration/test_postgresql_{physical_faults,restore,role,standby,tablespaces,tls}.py
      integration/test_{log_archive,point_in_time}.py)
    options=(--env TEST_MYSQL=native --env TEST_POSTGRESQL=18)
    ;;
  *) die "which Debian? Usage: scripts/dev/debian.sh 13|sid [ARGUMENT of pytest...]" ;;
esac
shift

need_podman "Debian $debian runs in a container"
image=localhost/dbfleet-debian-$debian:$(printf %s "$packages" | sha256sum | cut -c1-8)
podman image exists "$image" || debian_image "$image" "$suite" "$packages" "the image of Debian $debian"

say "pytest of ${tests[*]}, on Debian $debian"
# Tests mount small file systems, to fill them. Ansible is not there: tests of playbooks run elsewhere.
podman run --rm --privileged --network none --tmpfs /tmp:rw,exec,mode=1777 --volume "$ROOT:/src:ro" --workdir /src \
  --env PYTHONDONTWRITEBYTECODE=1 --env LC_ALL=C.UTF-8 "${options[@]}" "$image" \
  python3 -m pytest -o cache_dir=/tmp/cache -n "${PYTEST_WORKERS:-$(($(nproc) * 2))}" --dist loadfile \
  -k "not playbook" "${tests[@]/#/tests/}" "$@"
