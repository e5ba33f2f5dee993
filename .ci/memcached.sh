#!/usr/bin/env bash
# Installs Debian's memcached if there is none and this user may. Without it the tests that need one are skipped.
set -euo pipefail

if command -v memcached >/dev/null; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "no memcached, and no right to install it: the tests that need it will be skipped"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
# Only the program: the package would also start a service.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if ! { apt-get update -qq && { apt-get install -qq -y libevent-2.1-7t64 || apt-get install -qq -y libevent-2.1-7; } &&
  cd "$folder" && apt-get download -qq memcached && dpkg-deb -x memcached_*.deb . &&
  usr/bin/memcached -V && install -m 755 usr/bin/memcached /usr/local/bin/memcached; } >/dev/null 2>&1; then
  echo "memcached could not be installed: the tests that need it will be skipped"
fi
