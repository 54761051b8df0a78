#!/bin/sh
# Starts PostgreSQL in the container of a fula-master stack; the image's own entrypoint makes the data directory and
# gives root up. What this box's server is told lies beside the data directory, not in it: recovery replaces that as a
# whole, and brings in what another box's says.
set -eu

: "${PGDATA:=/var/lib/postgresql/data/pgdata}"
export PGDATA
root=${PGDATA%/*}

fail() {
  echo "postgres-start: $1" >&2
  exit 1
}

# Whoever runs one of the image's programs means that program.
if [ "${1:-postgres}" != postgres ]; then
  exec docker-entrypoint.sh "$@"
fi

# A volume of an older stack has the data at its root. PG_VERSION goes last: as long as it is there, this goes on.
if [ -e "$root/PG_VERSION" ]; then
  [ ! -e "$PGDATA/PG_VERSION" ] || fail "$root and $PGDATA are data directories, both of them"
  mkdir -p "$PGDATA"
  for path in "$root"/* "$root"/.[!.]*; do
    case "${path##*/}" in
      PG_VERSION | "${PGDATA##*/}" | lost+found) continue ;;
    esac
    [ ! -e "$path" ] || mv "$path" "$PGDATA/"
  done
  mv "$root/PG_VERSION" "$PGDATA/"
fi

# Half rewritten: it may look whole, and must not be served.
[ ! -e "$root/recovery.inprogress" ] || fail "a recovery was cut off, and the data may be half rewritten; run fula-master resync"
if [ ! -s "$PGDATA/PG_VERSION" ] && [ "${FULA_POSTGRES_ROLE:-own}" = standby ]; then
  fail "there is no copy of the primary's data yet; run fula-master standby add"
fi

write() {
  cat >"$1.new"
  mv "$1.new" "$1"
}

write "$root/server.conf" <<CONF
# Written by fula-master, and written anew whenever something of it changes.
# Settings of your own belong into postgresql.conf of the data directory.
include_if_exists = '$PGDATA/postgresql.conf'
listen_addresses = '*'
hba_file = '$root/pg_hba.conf'
ident_file = '$root/pg_ident.conf'
# Without hints in the log, pg_rewind could not tell which pages a server changed that went its own way.
wal_log_hints = on
include_if_exists = '$root/node.conf'
CONF
[ -e "$root/pg_hba.conf" ] || write "$root/pg_hba.conf" <<'HBA'
# Written by fula-master, and written anew whenever something of it changes.
local all all trust
host all,replication all 127.0.0.1/32 scram-sha-256
host all,replication all ::1/128 scram-sha-256
host all,replication all samenet scram-sha-256
HBA
[ -e "$root/pg_ident.conf" ] || write "$root/pg_ident.conf" <<'IDENT'
# Written by fula-master, and written anew whenever something of it changes.
IDENT
chown postgres "$root" "$root/server.conf" "$root/pg_hba.conf" "$root/pg_ident.conf"
chmod 0700 "$root"
chmod 0600 "$root/server.conf" "$root/pg_hba.conf" "$root/pg_ident.conf"

exec docker-entrypoint.sh postgres -c config_file="$root/server.conf"
