#!/bin/sh
# Asks Kubo for its identity and for something of its repository, and looks where its API listens.
set -eu

: "${IPFS_PATH:=/data/ipfs}"
export IPFS_PATH

# 0x1389 is port 5001, state 0A is LISTEN; an address of zeros is all interfaces (proc(5), /proc/net/tcp).
for table in /proc/net/tcp /proc/net/tcp6; do
  [ -r "$table" ] || continue
  if awk '$2 ~ /^0+:1389$/ && $4 == "0A" { found = 1 } END { exit !found }' "$table"; then
    echo "the API listens on all interfaces"
    exit 1
  fi
done
ipfs --api=/ip4/127.0.0.1/tcp/5001 --timeout=8s id --format='<id> ' || exit 1
ipfs --api=/ip4/127.0.0.1/tcp/5001 --timeout=8s repo stat --size-only >/dev/null || exit 1
echo "answers"
