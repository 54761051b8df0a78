#!/bin/sh
# Asks the peer who it is, over its REST API.
set -eu
# While it starts, an `id` that waited for the API brings a peer of IPFS Cluster 1.1.6 down: its consensus comes a moment
# later. A `version` needs no consensus, and has waited when it is answered.
ipfs-cluster-ctl --host /ip4/127.0.0.1/tcp/9094 --timeout 8 --enc=json version >/dev/null || exit 1
answer=$(ipfs-cluster-ctl --host /ip4/127.0.0.1/tcp/9094 --timeout 8 --enc=json id) || exit 1
echo "$answer" | grep -q '"id": *"[A-Za-z0-9]' || {
  echo "the peer does not say who it is"
  exit 1
}
echo "answers"
