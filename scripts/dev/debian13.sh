#!/usr/bin/env bash
# Backups on Debian 13: MariaDB 11.8, SQLite 3.46, OpenSSH 10 and Python 3.13, in a container made from its packages.
# Arguments are passed on to pytest.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

export CONTAINERS_CONF="${CONTAINERS_CONF:-$ROOT/.config/podman/containers.conf}"
for command in podman runc; do need_command $command $command "Debian 13 runs in a container"; done
packages=python3,python3-pytest,python3-pytest-xdist,python3-hypothesis,python3-pymysql,python3-psycopg2
packages+=,python3-paramiko,mariadb-server,mariadb-backup,sqlite3,zstd,age,gnupg,openssh-server,openssl
image=localhost/dbfleet-debian13:$(printf %s "$packages" | sha256sum | cut -c1-8)
podman image exists "$image" || debian_image "$image" trixie "$packages" "the image of Debian 13"

files=(test_mysql_conformance.py test_mysql_physical_conformance.py test_mysql_objects.py test_binlog_archive.py
  test_database_sqlite.py test_sqlite_objects.py test_store_sftp.py)
say "pytest of ${#files[@]} files, on Debian 13"
# Tests mount small file systems, to fill them.
podman run --rm --privileged --network none --tmpfs /tmp:rw,exec,mode=1777 --volume "$ROOT:/src:ro" --workdir /src \
  --env PYTHONDONTWRITEBYTECODE=1 --env LC_ALL=C.UTF-8 "$image" \
  python3 -m pytest -o cache_dir=/tmp/cache -n "${PYTEST_WORKERS:-$(($(nproc) * 2))}" --dist loadfile \
  "${files[@]/#/tests/integration/}" "$@"
