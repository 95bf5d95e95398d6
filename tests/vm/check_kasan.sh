#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# check_kasan.sh [PATTERN]...: the tests of the module under the debug kernel,
# which sees bad accesses, lock orders, leaks, sleeping in atomic sections. Three guests, one after
# the other:
#
#   controls  modules with one such mistake each (tests/kmod/bad): every mistake must be
#             seen, or the rest proves nothing
#   suite     tests/kmod
#   failing   tests/kmod with every allocation of every call failing
#             once (failnth.c)
#
# PATTERN selects programs by name. KASAN_PARTS="controls suite failing" selects parts.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.." || exit 2
build=${VRAM_BUILD:-$PWD/build}
parts=${KASAN_PARTS:-controls suite failing}
failnth=$build/tests/failnth.so
failed=0
mkdir -p "$build/logs"

"$here/kernels.sh" fetch kasan || exit

build_module()
{
	"$here/kernels.sh" "$@" >"$build/logs/kmod-build-kasan.log" 2>&1 || {
		tail -n 30 "$build/logs/kmod-build-kasan.log"
		exit 1
	}
}

# guest NAME OPTION...: start it and take down how it ended.
guest()
{
	local name=$1 status=0
	shift
	echo "== $name"
	# Memory that is given out holds no pointers of its last owner then, which hide leaks. Allocations
	# that are made to fail are those of kmalloc(), not those of the debugging code itself.
	"$here/run.sh" --kernel kasan --name "kasan-$name" --memory 3072 \
		--append 'init_on_alloc=1 slub_debug=A,kmalloc-*' "$@" || status=$?
	if [ $status = 0 ]; then
		echo "PASS  kasan/$name"
	else
		echo "FAIL  kasan/$name  (exit status $status)"
		failed=$((failed + 1))
	fi
}

programs=()
for file in "$build"/tests/kmod/*; do
	name=${file##*/}
	{ [ -x "$file" ] && [ -e "tests/${file#"$build"/tests/}.c" ]; } || continue
	if [ $# -gt 0 ]; then
		wanted=
		for pattern; do
			# shellcheck disable=SC2053  # the user's pattern is a pattern
			[[ $name == $pattern || $name == "test_$pattern" ]] && wanted=1
		done
		[ -n "$wanted" ] || continue
	fi
	programs+=("$file")
done
[ ${#programs[@]} -gt 0 ] || {
	echo "there are no tests to run"
	exit 1
}

for part in $parts; do
	case $part in
	controls)
		build_module module kasan tests/kmod/bad "$build/kmod-bad"
		guest controls --timeout 900 --memory 1024 \
			--expect-splat 'sleeping function called from invalid context' \
			--expect-splat 'kmemleak: unreferenced object.*size 128' \
			--expect-splat 'kmemleak: unreferenced object.*size 192' \
			--expect-splat 'possible circular locking dependency' \
			--expect-splat 'KASAN: use-after-free in .*bad_free' \
			--expect-splat 'NULL pointer dereference|KASAN: null-ptr-deref' \
			-- tests/kmod/bad/run.sh "$build/kmod-bad" "$failnth"
		;;
	suite)
		build_module build kasan "$build/kmod-kasan"
		guest suite --module "$build/kmod-kasan/vram.ko" --timeout "${VM_TIMEOUT:-5400}" \
			--out "$build/logs/kasan-suite" --env "VRAM_BUILD=$build" \
			-- tests/kmod/run.sh -s 10 "${programs[@]}"
		;;
	failing)
		build_module build kasan "$build/kmod-kasan"
		guest failing --module "$build/kmod-kasan/vram.ko" --timeout "${VM_TIMEOUT:-5400}" \
			--out "$build/logs/kasan-failing" --env "VRAM_BUILD=$build" \
			-- tests/kmod/run.sh -s 10 -p "$failnth" "${programs[@]}"
		;;
	*)
		echo "no part $part: controls, suite, failing"
		exit 2
		;;
	esac
done
[ $failed = 0 ]
