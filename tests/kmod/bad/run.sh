#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# run.sh DIR FAILNTH.so: in the guest with the debug kernel, make every mistake of
# DIR's modules. check_kasan.sh then looks for the complaints. What comes first
# must not blind the kernel for what follows: lockdep stops at its first report
# and at the first one of KASAN, and the last mistake is the guest's end.
set -eu

dir=$1 failnth=$2
kmemleak=/sys/kernel/debug/kmemleak

inject()
{
	LD_PRELOAD=$failnth python3 -c '
import fcntl, os, sys
fcntl.ioctl(os.open("/dev/vram_bad", os.O_RDWR), 0xc700 | int(sys.argv[1]))' "$1"
}

insmod "$dir/bad_sleep.ko"
insmod "$dir/bad_leak.ko"
insmod "$dir/bad_alloc.ko"
[ -c /dev/vram_bad ]
echo 0 >/sys/kernel/debug/failslab/verbose
echo N >/sys/kernel/debug/failslab/ignore-gfp-wait
echo Y >/sys/kernel/debug/failslab/cache-filter
# One of the lost blocks may be hidden by an old pointer on a stack.
for _ in 1 2 3 4 5; do inject 0; done
# An object counts as lost when it is 5 s old and has not changed since the scan before.
sleep 6
echo scan >$kmemleak
echo scan >$kmemleak
insmod "$dir/bad_lock_order.ko"
insmod "$dir/bad_free.ko"
{ dmesg && sed 's/^/kmemleak: /' $kmemleak; } >/run/vm/dmesg
sync
inject 1
echo "still alive"
