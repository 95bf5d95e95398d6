#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# install-deps.sh LIST: install what is missing of the Debian packages in LIST.
# As root or with a sudo that asks no password this does it; anyone else gets
# the command to run.
set -euo pipefail

list=${1:?usage: install-deps.sh LIST}

if ! command -v dpkg-query >/dev/null; then
	echo "deps: no dpkg here; packages by their Debian names are in $list" >&2
	exit 0
fi

missing=()
while read -r package _; do
	case $package in '' | '#'*) continue ;; esac
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$state" = installed ] || missing+=("$package")
done <"$list"

[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" = 0 ]; then
	as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
	as_root=(sudo)
else
	echo "deps: missing packages; as root run" >&2
	echo "    apt-get install --no-install-recommends ${missing[*]}" >&2
	exit 1
fi

echo "deps: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
