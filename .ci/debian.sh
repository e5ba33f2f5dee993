#!/usr/bin/env bash
# Puts the programs of a Debian package into /usr/local/bin, if they are missing and this user may: without the package
# itself, which would also start a service. Tests that need the program are skipped where it is not.
# Usage: .ci/debian.sh PACKAGE [LIBRARY …], where PACKAGE is also the program's name, and LIBRARY a package that the
# program needs, under the names that it has in several releases of Debian: the first that there is is installed.
set -euo pipefail

package=$1
shift
if command -v "$package" >/dev/null; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "no $package, and no right to install it: the tests that need it will be skipped"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

install_library() {
  for library in "$@"; do
    if apt-get install -qq -y --no-install-recommends "$library"; then return; fi
  done
  [ $# = 0 ]
}

if ! { apt-get update -qq && install_library "$@" && apt-get download -qq "$package" && dpkg-deb -x "$package"_*.deb . &&
  "usr/bin/$package" --version && install -m 755 usr/bin/* /usr/local/bin/; } >/dev/null 2>&1; then
  echo "$package could not be installed: the tests that need it will be skipped"
fi
