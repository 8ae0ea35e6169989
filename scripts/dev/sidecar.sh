#!/usr/bin/env bash
# The sidecar: its image is built and run with podman, beside a database in a volume and one on the network.
# No image registry is needed: the base is made of Debian's packages. DBFLEET_SIDECAR_BASE names another base that
# has what the test needs: Python 3, zstd, clients and servers of MariaDB and PostgreSQL 15, and their Python drivers.
# Arguments are passed on to pytest.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/dev/venv.sh" dev
"$ROOT/scripts/dev/pyz.sh"
need_podman "the sidecar is a container"

packages=python3,zstd,tzdata,ca-certificates,mariadb-client,mariadb-server,python3-pymysql,postgresql-15,python3-psycopg2
default=localhost/dbfleet-sidecar-base:bookworm-$(printf %s "$packages" | sha256sum | cut -c1-8)
base=${DBFLEET_SIDECAR_BASE:-$default}
if ! podman image exists "$base"; then
  [ "$base" = "$default" ] || die "there is no image $base: pull it, or unset DBFLEET_SIDECAR_BASE"
  distribution_image "$base" bookworm "$packages" "the base of the sidecar"
fi
say "podman build containers/sidecar"
podman build --quiet --format docker --build-arg "BASE=$base" --build-arg PACKAGES= --file containers/sidecar/Containerfile \
  --tag localhost/dbfleet-sidecar:test . >/dev/null
say "pytest tests/sidecar"
DBFLEET_SIDECAR_BASE=$base "$VENV/bin/python" -m pytest tests/sidecar "$@"
