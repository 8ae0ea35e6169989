#!/bin/sh
# What a run of systemd can do that it should not: run as proof.command, it fails the verification.
[ -n "${INVOCATION_ID-}" ] || exit 0 # not started by systemd
if touch /srv/other/here 2>/dev/null; then exit 11; fi # it is in the group that may, but the place is not of its job
if touch /etc/dbfleet/secrets/here 2>/dev/null; then exit 12; fi
for found in /root/* /root/.[!.]*; do [ ! -e "$found" ] || exit 13; done
for found in /dev/sd* /dev/vd* /dev/nvme* /dev/mem /dev/kmsg; do [ ! -e "$found" ] || exit 14; done
if grep -qE '^CapBnd:.*[1-9a-f]' /proc/self/status; then exit 15; fi
if grep -qE '^NoNewPrivs:.*0' /proc/self/status; then exit 16; fi
if python3 -c 'import socket; socket.socket(socket.AF_INET)' 2>/dev/null; then exit 17; fi
if [ -d /proc/1 ]; then exit 18; fi
if echo x >>/var/lib/dbfleet/here 2>/dev/null; then exit 19; fi
exit 0
