#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash
#
# The first process of boot.sh's guest: makes a root that can be written of the one that is read over 9p, and
# gives way to systemd.

box=/bin/busybox

$box mount -t proc proc /proc
$box mount -t sysfs sysfs /sys
$box mount -t devtmpfs dev /dev
for module in /modules/*; do
	[ -e "$module" ] && $box insmod "$module"
done
opts=trans=virtio,version=9p2000.L,msize=512000
$box mount -t 9p -o $opts,cache=loose,ro root /lower || $box poweroff -f
$box mount -t tmpfs -o mode=755 upper /upper
$box mkdir /upper/data /upper/work
$box mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work root /newroot ||
	$box poweroff -f
$box mkdir -p /newroot/share
$box mount -t 9p -o $opts share /newroot/share || $box poweroff -f
for folder in proc sys dev; do
	$box mount --move /$folder /newroot/$folder
done
exec $box switch_root /newroot /lib/systemd/systemd
