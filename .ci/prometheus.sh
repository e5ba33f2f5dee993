#!/usr/bin/env bash
# Installs Debian's Prometheus if there is none and this user may. Without it the test that asks one skips itself.
set -euo pipefail

if command -v prometheus >/dev/null; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "no Prometheus, and no right to install it: the test that needs it will be skipped"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
# Only the program: the package would also start a service.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if ! { apt-get update -qq && cd "$folder" && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb . &&
  install -m 755 usr/bin/prometheus /usr/local/bin/prometheus && install -m 755 usr/bin/promtool /usr/local/bin/promtool; } >/dev/null 2>&1; then
  echo "Prometheus could not be installed: the test that needs it will be skipped"
fi
