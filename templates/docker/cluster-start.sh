#!/bin/sh
# Starts an IPFS Cluster peer in the container of a fula-master stack; any image with `ipfs-cluster-service` and a POSIX
# shell will do. The secret comes from a file and is seen by this process alone, not by `docker inspect`.
set -eu

: "${IPFS_CLUSTER_PATH:=/data/ipfs-cluster}"
export IPFS_CLUSTER_PATH

fail() {
  echo "cluster-start: $1" >&2
  exit 1
}

secret_file=/run/secrets/cluster_secret
CLUSTER_SECRET=$(cat "$secret_file") || fail "$secret_file cannot be read"
case "$CLUSTER_SECRET" in
  *[!0-9a-f]* | '') fail "$secret_file must hold 64 hexadecimal digits: without a secret the swarm is open to anyone" ;;
esac
[ "${#CLUSTER_SECRET}" -eq 64 ] || fail "$secret_file must hold 64 hexadecimal digits, not ${#CLUSTER_SECRET}"
export CLUSTER_SECRET

address=$(hostname -i 2>/dev/null | awk '{print $1}')
[ -n "$address" ] || fail "the address of this container cannot be found out"
export CLUSTER_RESTAPI_HTTPLISTENMULTIADDRESS="/ip4/127.0.0.1/tcp/9094,/ip4/$address/tcp/9094"
export CLUSTER_LISTENMULTIADDRESS="/ip4/0.0.0.0/tcp/9096"

[ -f "$IPFS_CLUSTER_PATH/service.json" ] || ipfs-cluster-service init --consensus crdt
own=$(sed -n 's/.*"id": *"\([^"]*\)".*/\1/p' "$IPFS_CLUSTER_PATH/identity.json")
[ -n "$own" ] || fail "$IPFS_CLUSTER_PATH/identity.json names no peer id"

# `init` trusts everybody; the names of those that are trusted must be said at every start.
trusted=${FULA_TRUSTED_PEERS:-}
if [ "${CLUSTER_FOLLOWERMODE:-false}" = true ]; then
  [ -n "$trusted" ] || fail "a follower must be told whom it trusts (cluster.trustedPeers)"
  case ",$trusted," in *",$own,"*) fail "a follower must not trust itself (cluster.trustedPeers names $own)" ;; esac
fi
export CLUSTER_CRDT_TRUSTEDPEERS="${trusted:-$own}"

[ -z "${FULA_CLUSTER_ANNOUNCE:-}" ] || export CLUSTER_ANNOUNCEMULTIADDRESS="$FULA_CLUSTER_ANNOUNCE"

set -- daemon --upgrade
# Without --no-trust a peer trusts whomever it bootstraps from, beside those that it is told to trust.
[ -z "${FULA_BOOTSTRAP:-}" ] || set -- "$@" --no-trust --bootstrap "$FULA_BOOTSTRAP"
exec ipfs-cluster-service "$@"
