#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# kernels.sh fetch NAME...        get kernels to boot and to build modules for
# kernels.sh build NAME DIR       build vram.ko for one of them into DIR
# kernels.sh module NAME SRC DIR  build another module's folder for it into DIR
# kernels.sh path NAME            print the folder of a fetched kernel
#
# NAME is one of
#   6.1    the kernel of the installed headers (package linux-headers-amd64)
#   6.12   bookworm-backports, with its headers
#   sid    the newest of Debian, built for in a root of its own with its compiler
#   kasan  6.1 from package linux-source-6.1, built with kasan.config
#
# Nothing is installed: packages are unpacked below build/kernels (or
# VRAM_KERNELS), whichever build folder is in use, and stay there. In NAME/ lie
#   release  vermagic's first word        boot    what QEMU loads
#   config   the kernel's                 btf     its type information, if any
#   modules  what the guest's start needs initrd  made from it
#   kdir     names the folder for `make -C`
# `kernels.sh fetch` looks for newer packages only after `rm -r NAME`.
#
# Exit status: 77 if a program is missing (its package is named), 1 for failures.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
src=$(cd "$here/../.." && pwd)
kernels=${VRAM_KERNELS:-$src/build/kernels}
jobs=${JOBS:-$(nproc)}

die()
{
	echo "kernels: $*" >&2
	exit 1
}

say()
{
	echo "kernels: $*" >&2
}

# need PROGRAM PACKAGE: stop unless the program is there.
need()
{
	command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] && return
	echo "needs $1 (Debian package $2)"
	exit 77
}

# ---- packages -------------------------------------------------------------------

# private_apt SUITE: an apt that knows this suite only, from the mirror that the machine uses.
private_apt()
{
	local suite=$1 mirror
	apt_dir=$kernels/.apt/$suite
	# shellcheck disable=SC2016  # for apt-get to expand
	mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(CODENAME)' \
		'Created-By: Packages' | awk '$2 == "Debian" && $3 !~ /-/ { print $1; exit }')
	mkdir -p "$apt_dir/lists/partial" "$apt_dir/cache/archives/partial"
	: >"$apt_dir/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
		"${mirror:-http://deb.debian.org/debian} $suite main" >"$apt_dir/sources.list"
	apt_options=(-o "Dir::Etc::sourcelist=$apt_dir/sources.list" -o Dir::Etc::sourceparts=-
		-o "Dir::State::lists=$apt_dir/lists" -o "Dir::Cache=$apt_dir/cache"
		-o "Dir::State::status=$apt_dir/status" -o Debug::NoLocking=1
		-o APT::Sandbox::User= -o APT::Install-Recommends=0 -qq)
	apt-get "${apt_options[@]}" update >&2 || die "no package lists of $suite"
}

# depends PACKAGE PREFIX: the package that a meta package stands for, in the suite of private_apt.
depends()
{
	apt-cache "${apt_options[@]}" depends --important "$1" | awk -v prefix="$2" \
		'$1 == "Depends:" && index($2, prefix) == 1 { print $2; exit }'
}

# download DIR PACKAGE...: the .deb files of these very packages.
download()
{
	local dir=$1
	shift
	say "downloading $*"
	mkdir -p "$dir"
	(cd "$dir" && apt-get "${apt_options[@]}" download "$@" >&2) || die "cannot download $*"
}

# unpack_image TREE DEB...: the kernel and those of its modules that a guest's start may need, and the
# two GPUs without hardware.
unpack_image()
{
	local tree=$1 deb
	shift
	mkdir -p "$tree"
	for deb in "$@"; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$tree" --wildcards \
			'./boot/*' '*/lib/modules/*/vmlinuz' '*/lib/modules/*/config' \
			'*/modules.builtin*' '*/modules.order' '*/kernel/fs/*' \
			'*/kernel/lib/*' '*/kernel/crypto/*' '*/kernel/arch/*' '*/kernel/net/9p/*' \
			'*/kernel/drivers/virtio/*' '*/kernel/drivers/block/*' \
			'*/kernel/drivers/gpu/drm/drm*' '*/kernel/drivers/gpu/drm/virtio/*' \
			'*/kernel/drivers/gpu/drm/vgem/*' '*/kernel/drivers/gpu/drm/clients/*' \
			2>/dev/null || true
	done
	# Newer packages have /usr/lib/modules; modprobe -d wants /lib/modules.
	if [ -d "$tree/usr/lib/modules" ]; then
		mkdir -p "$tree/lib"
		mv "$tree/usr/lib/modules" "$tree/lib/modules"
	fi
}

# take_image DIR: from DIR/modules to boot, config, release and btf.
take_image()
{
	local dir=$1 release image config status=0
	release=$(basename "$(echo "$dir"/modules/lib/modules/*)")
	image=$dir/modules/boot/vmlinuz-$release config=$dir/modules/boot/config-$release
	if [ ! -e "$image" ]; then
		image=$dir/modules/lib/modules/$release/vmlinuz
		config=$dir/modules/lib/modules/$release/config
	fi
	[ -e "$image" ] || die "no kernel in the packages"
	cp "$config" "$dir/config"
	depmod -b "$dir/modules" "$release" 2>/dev/null || true
	"$here/vmlinux.py" "$image" "$dir/boot" "$dir/btf" || status=$?
	[ $status = 1 ] && die "cannot unpack $image"
	echo "$release" >"$dir/release"
}

# ---- the four kernels -------------------------------------------------------------

fetch_6.1()
{
	local dir=$1 release
	release=$(headers_release)
	[ -n "$release" ] || {
		echo "needs kernel headers (Debian package linux-headers-amd64)"
		exit 77
	}
	apt_options=(-o APT::Sandbox::User= -qq)
	download "$dir/debs" "linux-image-$release"
	unpack_image "$dir/modules" "$dir"/debs/*.deb
	take_image "$dir"
	echo "/lib/modules/$release/build" >"$dir/kdir"
}

# The newest installed headers of 6.1.
headers_release()
{
	local build
	for build in /lib/modules/6.1.*-amd64/build; do
		[ -e "$build/Makefile" ] && basename "$(dirname "$build")"
	done | sort -V | tail -n 1
}

fetch_6.12()
{
	local dir=$1 image headers common kbuild release
	private_apt bookworm-backports
	image=$(depends linux-image-amd64 linux-image-)
	headers=$(depends linux-headers-amd64 linux-headers-)
	common=$(depends "$headers" linux-headers-)
	kbuild=$(depends "$headers" linux-kbuild-)
	download "$dir/debs" "$image" "$headers" "$common" "$kbuild"
	unpack_image "$dir/modules" "$dir"/debs/linux-image-*.deb
	take_image "$dir"
	release=$(cat "$dir/release")
	for deb in "$dir"/debs/linux-{headers,kbuild}-*.deb; do
		dpkg-deb -x "$deb" "$dir/headers"
	done
	relocate "$dir/headers"
	echo "$dir/headers/usr/src/linux-headers-$release" >"$dir/kdir"
}

# relocate TREE: let headers work where they lie: they name /usr/src and /usr/lib.
relocate()
{
	local tree=$1 link target
	find "$tree" -type l | while read -r link; do
		target=$(readlink "$link")
		case $target in
		/*) ln -sfn "$tree$target" "$link" ;;
		esac
	done
	grep -lr --include=Makefile --include=.kernelvariables -e /usr/src/ -e /usr/lib/linux-kbuild \
		"$tree"/usr/src/linux-headers-*-amd64 | while read -r file; do
		sed -i -e "s|/usr/src/|$tree&|g" -e "s|/usr/lib/linux-kbuild|$tree&|g" "$file"
	done
}

fetch_sid()
{
	local dir=$1 deb release
	private_apt sid
	say "downloading the newest kernel, its headers and its compiler (about 250 MB)"
	apt-get "${apt_options[@]}" -y --download-only install linux-image-amd64 \
		linux-headers-amd64 make bash dash coreutils findutils sed grep mawk >&2 ||
		die "cannot download sid's packages"
	unpack_image "$dir/modules" "$apt_dir"/cache/archives/linux-{image,binary,modules,base}-*.deb
	take_image "$dir"
	release=$(cat "$dir/release")
	say "unpacking a root with $release's headers and compiler"
	mkdir -p "$dir/root"
	for link in bin lib lib64 sbin; do
		mkdir -p "$dir/root/usr/$link"
		ln -sfn "usr/$link" "$dir/root/$link"
	done
	for deb in "$apt_dir"/cache/archives/*.deb; do
		case ${deb##*/} in
		linux-image* | linux-binary* | linux-modules* | systemd* | udev* | dracut*) continue ;;
		esac
		# Through tar: packages with links where these have folders must not replace them.
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$dir/root" --keep-directory-symlink \
			--exclude=./usr/share/doc --exclude=./usr/share/man --exclude=./usr/share/locale \
			--exclude=./dev --no-same-owner
	done
	[ -e "$dir/root/usr/bin/sh" ] || ln -s dash "$dir/root/usr/bin/sh"
	[ -e "$dir/root/usr/bin/awk" ] || ln -s mawk "$dir/root/usr/bin/awk"
	mkdir -p "$dir/root/work" "$dir/root/tmp" "$dir/root/dev" "$dir/root/proc"
	echo "/usr/src/linux-headers-$release" >"$dir/kdir"
	rm -f "$apt_dir"/cache/archives/*.deb
}

# in_root ROOT DIR COMMAND...: run it with ROOT as root and DIR as /work there.
in_root()
{
	local user=()
	[ "$(id -u)" = 0 ] || user=(--map-root-user)
	# shellcheck disable=SC2016  # for the inner shell
	unshare --mount "${user[@]}" bash -c 'set -e
		root=$1 work=$2; shift 2
		mount --bind "$work" "$root/work"
		mount --rbind /dev "$root/dev"
		mount --rbind /proc "$root/proc"
		exec chroot "$root" /usr/bin/env -i PATH=/usr/bin:/usr/sbin LC_ALL=C "$@"' \
		in_root "$@"
}

# What a build of the debug kernel depends on.
kasan_key()
{
	dpkg-query -W -f '${Version}\n' linux-source-6.1
	sha256sum <"$here/kasan.config"
	gcc -dumpfullversion
}

fetch_kasan()
{
	local dir=$1 line
	need flex flex
	need bison bison
	need bc bc
	[ -e /usr/src/linux-source-6.1.tar.xz ] || {
		echo "needs the kernel's source (Debian package linux-source-6.1)"
		exit 77
	}
	if [ ! -e "$dir/src/Makefile" ]; then
		say "unpacking linux-source-6.1"
		mkdir -p "$dir/src"
		tar -xJf /usr/src/linux-source-6.1.tar.xz -C "$dir/src" --strip-components=1
	fi
	mkdir -p "$dir/obj"
	make -s -C "$dir/src" O="$dir/obj" KCONFIG_ALLCONFIG="$here/kasan.config" allnoconfig >&2
	grep ^CONFIG "$here/kasan.config" | while read -r line; do
		grep -qxF "$line" "$dir/obj/.config" || die "kasan.config: $line is not in effect"
	done
	say "building the debug kernel (10 to 20 minutes on two processors; log: $dir/build.log)"
	nice -n 19 make -s -C "$dir/src" O="$dir/obj" -j"$jobs" bzImage modules >"$dir/build.log" 2>&1 || {
		tail -n 20 "$dir/build.log" >&2
		die "the debug kernel does not build"
	}
	# Its ELF kernel is made without the entry for virtual machines.
	cp "$dir/obj/arch/x86/boot/bzImage" "$dir/boot"
	cp "$dir/obj/.config" "$dir/config"
	cp "$dir/obj/include/config/kernel.release" "$dir/release"
	echo "$dir/obj" >"$dir/kdir"
}

# ---- initial file system ----------------------------------------------------------

# make_initrd DIR: busybox, init, and the modules that virtio, 9p, overlay and ext4 need.
make_initrd()
{
	local dir=$1 release tree file number=10 busybox
	release=$(cat "$dir/release")
	busybox=$(command -v busybox) || true
	[ -n "$busybox" ] && readelf -lW "$busybox" | grep -q INTERP && busybox=
	[ -n "$busybox" ] || {
		echo "needs a static busybox (Debian package busybox-static)"
		exit 77
	}
	tree=$(mktemp -d "$dir/initrd.XXXXXX")
	mkdir -p "$tree"/{bin,modules,proc,sys,dev,lower,upper,newroot,share}
	cp "$busybox" "$tree/bin/busybox"
	cp "$here/init" "$tree/init"
	for module in virtio_pci virtio_blk 9pnet_virtio 9p overlay ext4; do
		[ -d "$dir/modules" ] || break
		modprobe -d "$dir/modules" -S "$release" --show-depends "$module" | sed -n 's/^insmod //p'
	done | awk '!seen[$1]++ { print $1 }' >"$tree/list"
	while read -r file; do
		number=$((number + 1))
		case $file in
		*.xz) xz -dc "$file" >"$tree/modules/$number.ko" ;;
		*.zst) zstd -qdc "$file" >"$tree/modules/$number.ko" ;;
		*) cp "$file" "$tree/modules/$number.ko" ;;
		esac
	done <"$tree/list"
	rm "$tree/list"
	(cd "$tree" && find . | cpio -o -H newc --quiet -R 0:0 | gzip -1) >"$dir/initrd.new"
	mv "$dir/initrd.new" "$dir/initrd"
	rm -r "$tree"
}

# Those that were fetched before the GPUs' modules were unpacked have none.
has_gpus()
{
	compgen -G "$1/modules/lib/modules/*/kernel/drivers/gpu/drm/virtio/*" >/dev/null
}

# stale NAME DIR: whether what lies there is not what is wanted now.
stale()
{
	[ -e "$2/complete" ] || return 0
	case $1 in
	6.1) [ "$(headers_release)" != "$(cat "$2/release")" ] || ! has_gpus "$2" ;;
	kasan) [ "$(kasan_key 2>/dev/null)" != "$(cat "$2/complete")" ] ;;
	*) false ;;
	esac
}

fetch()
{
	local name=$1 dir=$kernels/$1
	case $name in
	6.1 | 6.12 | sid | kasan) ;;
	*) die "no kernel $name: 6.1, 6.12, sid or kasan" ;;
	esac
	mkdir -p "$dir"
	exec 9>"$kernels/$name.lock"
	flock 9
	if stale "$name" "$dir"; then
		need apt-get apt
		need python3 python3
		if [ "$name" != kasan ]; then
			rm -rf "$dir"
			mkdir -p "$dir"
		fi
		rm -f "$dir/complete"
		"fetch_$name" "$dir"
		rm -rf "$dir/debs" "$dir/initrd"
		if [ "$name" = kasan ]; then kasan_key; fi >"$dir/complete"
		say "$name is $(cat "$dir/release")"
	fi
	if [ ! -e "$dir/initrd" ] || [ "$here/init" -nt "$dir/initrd" ]; then
		need cpio cpio
		need modprobe kmod
		make_initrd "$dir"
	fi
	exec 9>&-
}

# ---- modules ----------------------------------------------------------------------

# mirror FROM TO: copy what has changed, so that make builds no more than it must.
mirror()
{
	local from=$1 to=$2 file
	mkdir -p "$to"
	(cd "$from" && find . -name '*.[ch]' -o -name Kbuild) | while read -r file; do
		cmp -s "$from/$file" "$to/$file" || install -D -m 644 "$from/$file" "$to/$file"
	done
	(cd "$to" && find . -name '*.[ch]' ! -name '*.mod.c') | while read -r file; do
		[ -e "$from/$file" ] || rm "$to/$file"
	done
}

# kbuild NAME DIR: run Kbuild there. W, C and V are passed on.
kbuild()
{
	local name=$1 dir=$2 kernel=$kernels/$1 kdir status=0 ko
	local flags=(V="${V:-0}" ${W:+"W=$W"} ${C:+"C=$C"})
	kdir=$(cat "$kernel/kdir")
	if [ "$name" = sid ]; then
		in_root "$kernel/root" "$dir" make -C "$kdir" M=/work "${flags[@]}" modules || status=$?
	else
		make -C "$kdir" M="$dir" "${flags[@]}" modules || status=$?
	fi
	[ $status = 0 ] || return $status
	for ko in "$dir"/*.ko; do
		"$src/packaging/module_btf.sh" "$ko" "$kernel/btf"
	done
}

build()
{
	local name=$1 dir=$2
	fetch "$name"
	[ -e "$src/Kbuild" ] || die "there is no Kbuild here"
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	mirror "$src/kmod" "$dir/kmod"
	cmp -s "$src/Kbuild" "$dir/Kbuild" || cp "$src/Kbuild" "$dir/Kbuild"
	kbuild "$name" "$dir"
}

case ${1:-} in
fetch)
	shift
	for name; do fetch "$name"; done
	;;
build)
	[ $# = 3 ] || die "usage: build NAME DIR"
	build "$2" "$3"
	;;
module)
	[ $# = 4 ] || die "usage: module NAME SRC DIR"
	fetch "$2"
	mkdir -p "$4"
	mirror "$3" "$4"
	kbuild "$2" "$(cd "$4" && pwd)"
	;;
path)
	echo "$kernels/${2:?NAME}"
	;;
*)
	sed -n '4,7s/^# //p' "$0" >&2
	exit 2
	;;
esac
