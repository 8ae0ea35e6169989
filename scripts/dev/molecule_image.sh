#!/usr/bin/env bash
# Makes the image of the test hosts: Debian with systemd as PID 1. It is built from Debian's packages, so no
# image registry is needed. DBFLEET_TEST_IMAGE names another image (with systemd, Python 3 and sshd) instead:
# localhost/dbfleet-systemd:SUITE is made of that suite of Debian or Ubuntu (trixie, jammy, noble).
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

ours=localhost/dbfleet-systemd
image=${DBFLEET_TEST_IMAGE:-$ours:bookworm}
need_podman "test hosts are containers"
if podman image exists "$image"; then
  exit 0
fi
case $image in
  "$ours":*) ;;
  *)
    say "pulling $image: the image of the test hosts"
    podman pull --quiet "$image"
    exit 0
    ;;
esac

packages=systemd,systemd-sysv,dbus,apt,python3,python3-apt,cron,sudo,openssh-server,iproute2,procps,gnupg,ca-certificates
distribution_image "$image" "${image#"$ours":}" "$packages" "the image of the test hosts" \
  --change 'CMD=["/lib/systemd/systemd"]'
