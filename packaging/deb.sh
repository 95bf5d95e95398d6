#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# deb.sh VERSION DIR: build the Debian packages of this tree into DIR.
#
# Built is a copy of the tracked files as they are now, with packaging/debian as its debian/, so that
# nothing that lies about here gets into a package and nothing is left behind here. The same files,
# packages and SOURCE_DATE_EPOCH give the same packages, byte for byte: the date of the
# last commit is taken where none is set.
set -euo pipefail

version=${1:?usage: deb.sh VERSION DIR} out=${2:?usage: deb.sh VERSION DIR}
cd "$(dirname "$0")/.."
top=$PWD

for program in dpkg-buildpackage:dpkg-dev dh:debhelper dh_dkms:dh-dkms; do
	command -v "${program%:*}" >/dev/null || {
		echo "deb: needs ${program%:*} (Debian package ${program#*:}); make deps installs it" >&2
		exit 77
	}
done

if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
	SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y NEWS.md)
fi
export SOURCE_DATE_EPOCH
export DEB_BUILD_OPTIONS=${DEB_BUILD_OPTIONS-parallel=$(nproc)}

mkdir -p "$out"
out=$(cd "$out" && pwd)
tree=$out/vram-$version
rm -rf "$tree"
mkdir "$tree"
# In a tarball there is no git: then everything but what a build makes.
if git rev-parse --git-dir >/dev/null 2>&1; then
	git ls-files -z
else
	find . -type f ! -path './build*' ! -name '*.pyc' -print0
fi | while IFS= read -r -d '' file; do
	# A file that was removed and not committed yet is no part of it.
	[ ! -e "$file" ] || printf '%s\0' "$file"
done | tar -c --null -T - | tar -x -C "$tree"
[ -e "$tree/packaging/debian/control" ] || cp -r "$top/packaging/debian" "$tree/packaging/"
cp -r "$tree/packaging/debian" "$tree/debian"
sed -e "s|@VERSION@|$version|" -e "s|@DATE@|$(date -u -R -d "@$SOURCE_DATE_EPOCH")|" \
	"$tree/debian/changelog.in" >"$tree/debian/changelog"
rm "$tree/debian/changelog.in"
find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

rm -f "$out"/*.deb "$out"/*.changes "$out"/*.buildinfo
cd "$tree"
# -d only where asked for: with the packages that the build needs, DEB_FLAGS is empty.
# shellcheck disable=SC2086
LC_ALL=C.UTF-8 TZ=UTC dpkg-buildpackage --no-sign --build=binary -rfakeroot ${DEB_FLAGS:-} >"$out/build.log" 2>&1 || {
	tail -n 40 "$out/build.log"
	echo "deb: failed; all of it is in $out/build.log" >&2
	exit 1
}
cd "$out"
rm -rf "$tree"
ls -- *.deb
