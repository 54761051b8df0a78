#!/bin/sh
# Asks the server whether JetStream works, and whether it knows who leads: without a quorum it can store nothing.
set -eu
ask() {
  printf 'GET %s HTTP/1.0\r\n\r\n' "$1" | nc -w 4 127.0.0.1 8222
}
ask "/healthz?js-enabled-only=true" | head -n 1 | grep -q " 200 " || {
  echo "JetStream does not answer"
  exit 1
}
ask /jsz | grep -q '"leader": *"[^"]' || {
  echo "the servers have no leader: too few of them are connected"
  exit 1
}
echo "answers"
