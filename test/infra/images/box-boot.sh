#!/bin/sh
# What a service manager does for a master: starts `serve` at boot where it is enabled, and again when it ends.
while :; do
  if [ -e /opt/fula-master.enabled ]; then
    fula-master serve >>/var/log/fula-master.log 2>&1 &
    echo $! >/run/fula-master.pid
    wait $! || true
  fi
  sleep 0.3
done
