#!/bin/sh
# Tells every host of a scenario the addresses of all of them, as DNS does in real life. Usage: name_hosts.sh SCENARIO
set -eu

containers=$(podman ps --quiet --filter "label=dbfleet.scenario=$1")
# shellcheck disable=SC2086 # one word for each container
names=$(podman inspect --format \
  '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}} {{.Config.Hostname}} # fleet' $containers)
for container in $containers; do
  # podman mounts this file, so it cannot be replaced.
  printf '%s\n' "$names" | podman exec --interactive "$container" \
    sh -c '{ grep -v "# fleet\$" /etc/hosts; cat; } >/run/hosts && cat /run/hosts >/etc/hosts'
done
