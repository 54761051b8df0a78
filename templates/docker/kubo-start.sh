#!/bin/sh
# Starts Kubo in the container of a fula-master stack; any image with `ipfs` and a POSIX shell will do.
# Everything is set anew at each start, so that a repository of other makers gets our addresses too.
set -eu

: "${IPFS_PATH:=/data/ipfs}"
export IPFS_PATH

fail() {
  echo "kubo-start: $1" >&2
  exit 1
}

address=$(hostname -i 2>/dev/null | awk '{print $1}')
[ -n "$address" ] || fail "the address of this container cannot be found out"

# "a,b" as a list in JSON
json_list() {
  echo "$1" | awk -v RS=, 'NF { printf "%s\"%s\"", sep, $1; sep = "," } BEGIN { printf "[" } END { printf "]" }'
}

# "/ip4/…/tcp/4001/p2p/ID,…" as Kubo's Peering.Peers; one node may stand there with several addresses.
json_peers() {
  echo "$1" | awk -v RS=, '
    BEGIN { printf "[" }
    NF {
      at = match($1, "/p2p/[^/]*$")
      if (!at) next
      printf "%s{\"ID\":\"%s\",\"Addrs\":[\"%s\"]}", sep, substr($1, at + 5), substr($1, 1, at - 1)
      sep = ","
    }
    END { printf "]" }'
}

[ -f "$IPFS_PATH/config" ] || ipfs init --empty-repo

# The API on this container's own address and on loopback, never on all interfaces: who reaches it owns the node.
ipfs config --json Addresses.API "[\"/ip4/127.0.0.1/tcp/5001\",\"/ip4/$address/tcp/5001\"]"
ipfs config --json Addresses.Gateway '[]'
swarm='["/ip4/0.0.0.0/tcp/4001","/ip4/0.0.0.0/udp/4001/quic-v1"]'
reach=${FULA_KUBO_REACH:-public}
# Kubo's own defaults but in a private network, which neither certificates nor web sockets belong in.
in_public=null
if [ "${FULA_KUBO_PRIVATE:-false}" = true ]; then
  # libp2p encrypts with the key below everything else, which QUIC has no place for; and nobody of the public network has it.
  swarm='["/ip4/0.0.0.0/tcp/4001"]'
  reach=federation
  in_public=false
  swarm_key=$(tr -d '[:space:]' </run/secrets/swarm_key 2>/dev/null || true)
  case "$swarm_key" in
    *[!0-9a-f]* | "") fail "kubo.private is on, and /run/secrets/swarm_key holds no key of 64 hex digits" ;;
  esac
  [ "${#swarm_key}" -eq 64 ] || fail "the key in /run/secrets/swarm_key has ${#swarm_key} characters instead of 64"
  (umask 077 && printf '/key/swarm/psk/1.0.0/\n/base16/\n%s\n' "$swarm_key" >"$IPFS_PATH/swarm.key")
  # Without it Kubo would go into the public network where the key were lost.
  export LIBP2P_FORCE_PNET=1
else
  rm -f "$IPFS_PATH/swarm.key"
fi
ipfs config --json Addresses.Swarm "$swarm"
ipfs config --json AutoTLS.Enabled "$in_public"
ipfs config --json Swarm.Transports.Network.Websocket "$in_public"
ipfs config --json Addresses.AppendAnnounce "$(json_list "${FULA_KUBO_ANNOUNCE:-}")"
ipfs config --json Peering.Peers "$(json_peers "${FULA_KUBO_PEERS:-}")"

case "$reach" in
  public)
    ipfs config --json AutoConf.Enabled true
    ipfs config --json Bootstrap '["auto"]'
    ipfs config --json DNS.Resolvers '{".":"auto"}'
    ipfs config --json Routing.DelegatedRouters '["auto"]'
    ipfs config --json Ipns.DelegatedPublishers '["auto"]'
    ipfs config Routing.Type auto
    ;;
  federation)
    # Only the nodes of this federation: nobody is asked who is not named in Peering.Peers or by the cluster.
    ipfs config --json AutoConf.Enabled false
    ipfs config --json Bootstrap '[]'
    ipfs config --json DNS.Resolvers '{}'
    ipfs config --json Routing.DelegatedRouters '[]'
    ipfs config --json Ipns.DelegatedPublishers '[]'
    ipfs config Routing.Type none
    ;;
  *) fail "FULA_KUBO_REACH is ${FULA_KUBO_REACH}; it must be public or federation" ;;
esac
# Nodes of the public network announce private addresses by mistake; to a hosting provider, dialling them looks like a
# scan. They are neither dialled nor announced, unless this federation has such addresses itself.
filters='[]'
if [ "$reach" = public ]; then
  case ",${FULA_KUBO_ANNOUNCE:-},${FULA_KUBO_PEERS:-}" in
    *,/ip4/10.* | *,/ip4/192.168.* | *,/ip4/172.1[6-9].* | *,/ip4/172.2[0-9].* | *,/ip4/172.3[01].*) ;;
    *,/ip4/100.6[4-9].* | *,/ip4/100.[7-9][0-9].* | *,/ip4/100.1[01][0-9].* | *,/ip4/100.12[0-7].*) ;;
    *,/ip4/127.* | *,/ip4/169.254.* | *,/ip6/f[cd]* | *,/ip6/fe80*) ;;
    *) filters='["/ip4/10.0.0.0/ipcidr/8","/ip4/100.64.0.0/ipcidr/10","/ip4/169.254.0.0/ipcidr/16","/ip4/172.16.0.0/ipcidr/12","/ip4/192.168.0.0/ipcidr/16","/ip6/fc00::/ipcidr/7","/ip6/fe80::/ipcidr/10"]' ;;
  esac
fi
ipfs config --json Swarm.AddrFilters "$filters"
ipfs config --json Addresses.NoAnnounce "$filters"
# The cluster chooses holders by the room that they say they have; Kubo's own default says 10 GB, whatever the disk.
disk_kb=$(df -Pk "$IPFS_PATH" | awk 'NR == 2 { print $2 }')
ipfs config Datastore.StorageMax "$((disk_kb / 10 * 9))KB"
# Announcing oneself to everybody on the local network is of no use in a container.
ipfs config --json Discovery.MDNS.Enabled false

# Bitswap takes a block of no bytes for a missing one: a node that was not given it could never pin what names it.
printf '' | ipfs block put >/dev/null

exec ipfs daemon --migrate=true --enable-gc=false
