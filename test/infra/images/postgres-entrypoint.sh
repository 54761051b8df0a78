#!/bin/sh
# Starts PostgreSQL as the official image does, for the part of its conventions that fula-master uses:
# POSTGRES_USER, POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE, POSTGRES_DB, POSTGRES_INITDB_ARGS, PGDATA. They count for
# an empty PGDATA alone: what is there already is started as it is.
set -eu

fail() {
  echo "postgres-entrypoint: $1" >&2
  exit 1
}

if [ "${1:-}" != postgres ]; then
  exec "$@"
fi

if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
  [ -z "${POSTGRES_PASSWORD:-}" ] || fail "both POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are set"
  POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
  export POSTGRES_PASSWORD
  unset POSTGRES_PASSWORD_FILE
fi

if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA"
  chmod 0700 "$PGDATA"
  find "$PGDATA" ! -user postgres -exec chown postgres:postgres {} +
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  [ -n "${POSTGRES_PASSWORD:-}" ] || fail "the data directory is empty, and neither POSTGRES_PASSWORD nor POSTGRES_PASSWORD_FILE is set"
  user=${POSTGRES_USER:-postgres}
  database=${POSTGRES_DB:-$user}
  mkdir -p "$PGDATA"
  # Through a pipe, so that the password is on no disk. POSTGRES_INITDB_ARGS are several words by its own convention.
  # shellcheck disable=SC2086
  printf '%s\n' "$POSTGRES_PASSWORD" | initdb -D "$PGDATA" --username="$user" --pwfile=/dev/stdin \
    --auth-local=trust --auth-host=scram-sha-256 ${POSTGRES_INITDB_ARGS:-}
  printf '\nhost all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
  if [ "$database" != postgres ]; then
    # On its socket alone, so that nobody outside meets a server that is not there to stay.
    pg_ctl -D "$PGDATA" -w -o "-c listen_addresses=''" start
    psql -v ON_ERROR_STOP=1 --username="$user" --dbname=postgres --no-password -v database="$database" <<'SQL'
create database :"database";
SQL
    pg_ctl -D "$PGDATA" -m fast -w stop
  fi
fi

unset POSTGRES_PASSWORD
exec "$@"
