#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 1500
#
# check_kmod.sh [--kernel NAME] [--smoke | --suite NAME] [PATTERN]...: build vram.ko for a kernel, boot that kernel,
# and run there every test of the module and every test that a
# carrier of the ledger must pass. `make check-kmod` and, as the suite kmod,
# `make check` call this, after the programs are built.
#
# PATTERN selects programs by name. With --suite, only that folder of tests is run, all of
# it. With --smoke, and for other kernels than 6.1, only those
# of tests/kmod are run: what differs between kernels.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.." || exit 2
build=${VRAM_BUILD:-$PWD/build}
kernel=${KERNEL:-6.1} smoke='' suite=''
while [ $# -gt 0 ]; do
	case $1 in
	--kernel) kernel=$2 && shift ;;
	--smoke) smoke=1 ;;
	--suite) suite=$2 && shift ;;
	-*) exit 2 ;;
	*) break ;;
	esac
	shift
done
patterns=("$@")
[ "$kernel" = 6.1 ] || smoke=1

mkdir -p "$build/logs"
log=$build/logs/kmod-build-$kernel.log
echo "building vram.ko for $kernel (log: $log)"
"$here/kernels.sh" fetch "$kernel" || exit
sparse=
case $kernel in 6.1 | 6.12) command -v sparse >/dev/null && sparse=2 ;; esac
C=$sparse W=1 "$here/kernels.sh" build "$kernel" "$build/kmod-$kernel" >"$log" 2>&1 || {
	status=$?
	tail -n 30 "$log"
	exit $status
}
if grep -E '(warning|error):' "$log"; then
	echo "vram.ko builds with warnings (W=1${sparse:+, sparse})"
	exit 1
fi

programs=()
add()
{
	local file name pattern
	for file; do
		name=${file##*/}
		# A program whose source is gone is a left-over of an older build.
		case $file in
		"$build"/*) [ -e "tests/${file#"$build"/tests/}.c" ] || continue ;;
		esac
		[ -x "$file" ] || continue
		[ ${#patterns[@]} -gt 0 ] || programs+=("$file")
		for pattern in "${patterns[@]}"; do
			# shellcheck disable=SC2053  # the user's pattern is a pattern
			[[ ${name%.*} == $pattern || ${name%.*} == "test_$pattern" ]] && programs+=("$file")
		done
	done
}
if [ -n "$suite" ]; then
	add "$build/tests/$suite"/* "tests/$suite"/*.sh "tests/$suite"/*.py
else
	add "$build"/tests/kmod/*
fi
if [ -z "$smoke$suite" ]; then
	add "$build"/tests/unit/test_{ledger,pressure,residency,table_kmod}* "$build"/tests/conformance/* \
		tests/conformance/*.sh tests/conformance/*.py
	# Of the limits what is quick; `make check-limits` runs all of them.
	add "$build"/tests/limits/test_max
	# Likewise of tracing, and `make check-trace`.
	add tests/trace/test_module.sh
fi
[ ${#programs[@]} -gt 0 ] || {
	echo "there are no tests to run"
	exit 1
}

exec "$here/run.sh" --kernel "$kernel" --name "kmod${suite:+-$suite}-$kernel" --module "$build/kmod-$kernel/vram.ko" \
	--memory 2048 --disk 4096 --timeout "${VM_TIMEOUT:-1200}" --out "$build/logs/kmod${suite:+-$suite}-$kernel" \
	--env "VRAM_BUILD=$build" -- tests/kmod/run.sh -s 3 "${programs[@]}"
