#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# run.sh [-s FACTOR] [-p PRELOAD] PROGRAM...: in a machine of one's own, as root: load vram.ko (VRAM_KO),
# run tests over it, unload it, load it once more. Counts like tests/run.sh, whose
# rules hold for the programs, too.
#
# A test leaves the module as it found it: no reference to it may be left after each
# program. FACTOR stretches every time limit. PRELOAD is put before each program of
# tests/kmod (tests/vm/failnth.c).
set -uo pipefail

factor=1 preload=''
while getopts s:p: opt; do
	case $opt in
	s) factor=$OPTARG ;;
	p) preload=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
src=$(cd "$(dirname "$0")/../.." && pwd)

[ -n "${VRAM_GUEST:-}" ] || {
	echo "loads and unloads modules: run by tests/vm/check_kmod.sh in a guest"
	exit 77
}
export CK_VERBOSITY=${CK_VERBOSITY:-normal}
export CK_DEFAULT_TIMEOUT=60 CK_TIMEOUT_MULTIPLIER=$factor
export VRAM_ARBITER=kmod VRAM_TEST_DISK=$TEST_TMP VRAM_SRC=$src
passed=0 failed=0 skipped=0

# result PASS|FAIL|SKIP NAME [REASON]
result()
{
	case $1 in
	PASS) passed=$((passed + 1)) ;;
	FAIL) failed=$((failed + 1)) ;;
	SKIP) skipped=$((skipped + 1)) ;;
	esac
	printf '%s  %-40s %6s s%s\n' "$1" "$2" "${spent:-0.0}" "${3:+  ($3)}"
	spent=
}

finish()
{
	echo "$passed passed, $failed failed, $skipped skipped"
	[ $failed = 0 ] && [ $passed -gt 0 ]
	exit
}

references()
{
	cat /sys/module/vram/refcnt 2>/dev/null
}

# idle: wait a while until nobody holds the module.
idle()
{
	local rounds=$((30 * factor))
	while [ "$(references)" != 0 ] && ((rounds-- > 0)); do
		sleep 0.1
	done
	[ "$(references)" = 0 ]
}

# What the shipped files make of the group and the node: here runs no udevd.
node_as_shipped()
{
	local rule=$src/packaging/60-vram.rules group mode
	group=$(sed -n 's/^KERNEL=="vram".*GROUP="\([^"]*\)".*/\1/p' "$rule")
	mode=$(sed -n 's/^KERNEL=="vram".*MODE="\([^"]*\)".*/\1/p' "$rule")
	[ -n "$group" ] && [ -n "$mode" ] || return 1
	grep -q "^$group:" /etc/group || echo "$group:x:990:" >>/etc/group
	chgrp "$group" /dev/vram && chmod "$mode" /dev/vram
}

load()
{
	local name=$1 message
	spent=$EPOCHREALTIME
	message=$(insmod "$VRAM_KO" 2>&1)
	spent=$(awk -v a="$spent" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
	if [ -n "$message" ] || [ ! -c /dev/vram ]; then
		result FAIL "$name" "${message:-no /dev/vram}"
		return 1
	fi
	node_as_shipped || {
		result FAIL "$name" "packaging/60-vram.rules names no group or mode"
		return 1
	}
	result PASS "$name"
}

unload()
{
	local name=$1 message
	idle || {
		result FAIL "$name" "$(references) references are left"
		return 1
	}
	message=$(rmmod vram 2>&1)
	if [ -n "$message" ] || [ -e /dev/vram ] || [ -d /sys/module/vram ]; then
		result FAIL "$name" "${message:-something is left}"
		return 1
	fi
	result PASS "$name"
}

# inject: let allocations and copies fail for who asks (/proc/PID/fail-nth), without a line in the log.
# Which caches count the kernel's command line says (check_kasan.sh).
inject()
{
	local attribute
	for attribute in failslab fail_page_alloc; do
		echo 0 >/sys/kernel/debug/$attribute/verbose || return 1
	done
	echo N >/sys/kernel/debug/failslab/ignore-gfp-wait
	echo N >/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait
	echo 0 >/sys/kernel/debug/fail_page_alloc/min-order
	echo Y >/sys/kernel/debug/failslab/cache-filter
}

# leaks: whether kmemleak has found memory that nothing points at. It calls that lost which is 5 s old
# and has not changed since the scan before.
leaks()
{
	local file=/sys/kernel/debug/kmemleak
	sleep 6
	{ echo scan && echo scan; } >$file 2>/dev/null || return 2
	[ -s $file ]
}

timeout_of()
{
	local seconds
	seconds=$(sed -n '1,40s/^[ \t]*\(\/\/\|\*\|\/\*\|#\)[ \t]*timeout: *\([0-9][0-9]*\).*/\2/p' \
		"$1" 2>/dev/null | head -n 1)
	echo $((${seconds:-300} * factor))
}

# run_program FILE
run_program()
{
	local file=$1 name suite label log rc before=''
	name=${file##*/}
	suite=$(basename "$(dirname "$file")")
	label=$suite/${name%.*}
	log=/run/vm/out/$suite-${name%.*}.log
	[ "$suite" = kmod ] && before=$preload
	mkdir -p "$TEST_TMP/$suite-$name"
	spent=$EPOCHREALTIME
	TEST_TMP=$TEST_TMP/$suite-$name LD_PRELOAD=$before timeout -k 10 \
		"$(timeout_of "$src/tests/$suite/${name%.*}.${name##*.}")" "$file" \
		</dev/null >"$log" 2>&1
	rc=$?
	spent=$(awk -v a="$spent" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
	rm -rf "${TEST_TMP:?}/$suite-$name"
	grep -aE '^[0-9]+%: Checks: |^failnth: ' "$log" | sed 's/^/        /'
	case $rc in
	0)
		if ! idle; then
			result FAIL "$label" "leaves $(references) references to the module"
		elif [ "$suite" != stress ] && ! grep -qE '^[0-9]+%: Checks: [1-9]' "$log" &&
			readelf -sW "$file" 2>/dev/null | grep -q srunner_run; then
			result FAIL "$label" "no closing line of Check"
		else
			result PASS "$label"
		fi
		return
		;;
	77)
		result SKIP "$label" "$(grep -v '^[[:space:]]*$' "$log" | tail -n 1)"
		return
		;;
	124 | 137) result FAIL "$label" "no end in time" ;;
	*) result FAIL "$label" "exit status $rc" ;;
	esac
	tail -n 40 "$log" | sed 's/^/    /'
}

mkdir -p /run/vm/out
echo "== $(uname -r), $VRAM_KO"
kmemleak=/sys/kernel/debug/kmemleak
if [ -e $kmemleak ]; then
	leaks
	echo clear >$kmemleak
fi
load load || finish
if [ -n "$preload" ] && ! inject; then
	result FAIL inject "this kernel does not let allocations fail"
	finish
fi

for file; do
	run_program "$file"
done

# In use it stays, whoever asks.
exec 7<>/dev/vram
if rmmod vram 2>/dev/null; then
	result FAIL "rmmod-in-use" "it went although a session was open"
	finish
fi
if [ "$(references)" = 0 ]; then
	result FAIL "rmmod-in-use" "an open session holds no reference"
else
	result PASS "rmmod-in-use"
fi
exec 7>&-

if [ -e $kmemleak ]; then
	# Here the backtraces still have names.
	leaks && sed -n 1,200p $kmemleak
fi
# A module that comes back must not find its own traces.
unload rmmod-idle && load load-again && unload rmmod-again
if [ -e $kmemleak ]; then
	leaks
	case $? in
	0) result FAIL kmemleak "something is lost" && cat $kmemleak ;;
	1) result PASS kmemleak ;;
	*) result FAIL kmemleak "it has given up" ;;
	esac
fi
finish
