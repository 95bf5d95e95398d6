#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# check_deb.sh DIR: look at the Debian packages in DIR (`make deb`): built again they are the same, lintian
# has nothing to say, and in a root that debootstrap made they are installed, used, installed over
# themselves, removed and purged (in_root.sh). With BOOT=1 that root is also booted under QEMU,
# with systemd as its first process (boot.sh).
#
# The root is made once, with what the packages depend on, below build/kernels (VRAM_KERNELS), which `make
# clean` leaves alone. Everything happens in a copy of it, in mount and process namespaces of its own.
#
# Needs root, and a Debian mirror for the first time. Exit status: 77 if that is not to be had.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
src=$(cd "$here/../.." && pwd)
debs=$(cd "${1:?usage: check_deb.sh DIR}" && pwd)
build=${VRAM_BUILD:-$src/build}
base=${VRAM_KERNELS:-$src/build/kernels}/bookworm
work=$build/deb-root
log=$build/logs/check-deb.log
suite=bookworm
# Besides what the packages want: something to build against them, to read and complete with, and to boot.
tools="gcc,libc6-dev,make,pkg-config,man-db,groff-base,bash-completion,systemd,systemd-sysv,udev,dbus,libpam-systemd,kmod,iproute2"

skip()
{
	echo "$*"
	exit 77
}

[ "$(id -u)" = 0 ] || skip "needs root, for debootstrap and namespaces"
for program in debootstrap unshare lintian dpkg-deb; do
	command -v "$program" >/dev/null || skip "needs $program; make deps installs it"
done
unshare --mount --pid --fork true 2>/dev/null || skip "namespaces are not permitted here"
compgen -G "$debs/vramd_*.deb" >/dev/null || skip "no packages in $debs; make deb builds them"
mkdir -p "$build/logs"
: >"$log"

passed=0 failed=0 skipped=0
result()
{
	echo "$*"
	case $1 in
	PASS*) passed=$((passed + 1)) ;;
	FAIL*) failed=$((failed + 1)) ;;
	SKIP*) skipped=$((skipped + 1)) ;;
	esac
}

# check NAME COMMAND...: its output goes to the log; of a failure the end is shown.
check()
{
	local name=$1 begin
	shift
	begin=$(wc -c <"$log")
	if "$@" >>"$log" 2>&1; then
		result PASS "$name"
	else
		result FAIL "$name"
		tail -c +$((begin + 1)) "$log" | tail -n 20 | sed 's/^/        /'
	fi
}

# ---- the packages as they are -----------------------------------------------------

same_again()
{
	local version deb
	version=$(dpkg-deb -f "$(compgen -G "$debs/vramd_*.deb" | head -n 1)" Version)
	"$src/packaging/deb.sh" "$version" "$build/deb-again" || return
	for deb in "$debs"/*.deb; do
		cmp "$deb" "$build/deb-again/${deb##*/}" || return
	done
	rm -rf "$build/deb-again"
}

# Tags that are looked at and left: none. Warnings fail as errors do.
without_complaint()
{
	local said
	said=$(lintian --fail-on none "$debs"/*.changes 2>&1 | grep -v '^running with root') || true
	[ -z "$said" ] || {
		echo "$said"
		return 1
	}
}

# ---- the root ---------------------------------------------------------------------

in_base()
{
	unshare --mount --pid --fork bash -c "mount -t proc proc '$base/proc' && exec chroot '$base' \"\$@\"" \
		bash env DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# All that our packages depend on, but each other.
depends()
{
	local deb
	for deb in "$debs"/*.deb; do
		dpkg-deb -f "$deb" Depends
	done | tr ',' '\n' | sed 's/^ *//' | grep -Ev '^(vramd|libvram|vram-)' | sort -u | paste -sd, |
		sed 's/,/, /g'
}

make_base()
{
	local mirror want headers
	headers=$("$src/tests/vm/kernels.sh" fetch 6.1 >&2 &&
		cat "$("$src/tests/vm/kernels.sh" path 6.1)/release") || headers=
	want="$(depends)${headers:+, linux-headers-$headers}"
	if [ "$(cat "$base/.complete" 2>/dev/null)" = "$tools $want" ]; then
		return
	fi
	# shellcheck disable=SC2016  # for apt-get to expand
	mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(CODENAME)' \
		'Created-By: Packages' | awk '$2 == "Debian" && $3 !~ /-/ { print $1; exit }')
	mirror=${mirror:-http://deb.debian.org/debian}
	if [ "$(cat "$base/.tools" 2>/dev/null)" != "$tools" ]; then
		rm -rf "$base"
		mkdir -p "$base"
		debootstrap --variant=minbase --include="$tools" $suite "$base" "$mirror" || return
		echo "$tools" >"$base/.tools"
	fi
	# The machine's kernel headers may be newer than the release.
	printf 'deb %s %s main\n' "$mirror" $suite "$mirror" $suite-updates \
		http://deb.debian.org/debian-security $suite-security >"$base/etc/apt/sources.list"
	cp /etc/resolv.conf "$base/etc/resolv.conf"
	cp /etc/apt/apt.conf.d/*proxy* "$base/etc/apt/apt.conf.d/" 2>/dev/null
	in_base apt-get -qq update &&
		in_base apt-get -qq -y --no-install-recommends satisfy "$want" || return
	in_base apt-get clean
	echo "$tools $want" >"$base/.complete"
}

# A copy to spoil: a layer over it, or where that cannot be a copy indeed.
make_work()
{
	rm -rf "$work"
	mkdir -p "$work/upper" "$work/work" "$work/root"
	mount -t overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/work" vram-deb "$work/root" 2>/dev/null ||
		cp -a --reflink=auto "$base/." "$work/root"
	mkdir -p "$work/root/packages"
	cp "$debs"/*.deb "$here"/in_* "$here"/autologin.conf "$here"/*.c "$work/root/packages"
	mount -t proc proc "$work/root/proc"
	mount -t sysfs -o ro sysfs "$work/root/sys"
	mount -t tmpfs -o mode=755 dev "$work/root/dev"
	mkdir -p "$work/root/dev/pts" "$work/root/dev/shm"
	mknod -m 666 "$work/root/dev/null" c 1 3
	mknod -m 666 "$work/root/dev/zero" c 1 5
	mknod -m 666 "$work/root/dev/random" c 1 8
	mknod -m 666 "$work/root/dev/urandom" c 1 9
	mknod -m 666 "$work/root/dev/tty" c 5 0
	ln -s /proc/self/fd "$work/root/dev/fd"
	mount -t devpts -o newinstance,ptmxmode=0666 devpts "$work/root/dev/pts"
	ln -s pts/ptmx "$work/root/dev/ptmx"
	mount -t tmpfs -o mode=1777 shm "$work/root/dev/shm"
	mount -t tmpfs -o mode=755 run "$work/root/run"
}

if [ "${2-}" = inside ]; then
	mount --make-rprivate / && make_work || exit
	chroot "$work/root" env -i BOOT="${BOOT:-}" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
		LC_ALL=C.UTF-8 TERM=dumb DEBIAN_FRONTEND=noninteractive /bin/bash /packages/in_root.sh || exit
	[ -z "${BOOT:-}" ] || "$here/boot.sh" "$work/root"
	exit
fi

begin=$SECONDS
check "built again: the same packages, byte for byte" same_again
check "lintian: no error, no warning" without_complaint
if make_base >>"$log" 2>&1; then
	while IFS= read -r line; do
		case $line in
		PASS* | FAIL* | SKIP*) result "$line" ;;
		"end 0") ;;
		end*) result FAIL "the checks in the root did not come to their end (${line#end }); all of it is in $log" ;;
		*) echo "$line" ;;
		esac
	done < <(unshare --mount --pid --fork --kill-child "$0" "$debs" inside 2>>"$log"; echo "end $?")
else
	tail -n 20 "$log"
	result SKIP "no root to install into: the mirror cannot be reached (all of it is in $log)"
fi
rm -rf "$work"
echo "$passed passed, $failed failed, $skipped skipped in $((SECONDS - begin)) s"
[ $failed = 0 ]
