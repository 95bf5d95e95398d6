#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# run.sh [-b BUILD] [-f PATTERN]... [SUITE...]: run the tests of some suites and
# count them. `make check` calls this after building; tests/README.md tells what
# belongs into which suite.
#
# A test is a program or an executable script. It passes with 0, is skipped with
# 77 (its last line says why), and fails with anything else, when it outlives its
# time, or when a sanitizer has reported something in its output. A unit test
# fails, too, without Check's closing line. Each test runs in a group of its own
# under `timeout` with a token in its environment; whatever still carries that
# token afterwards is killed, so that no test leaves a daemon behind. The output
# is kept in BUILD/logs.
#
# Tests find in their environment VRAM_BUILD and VRAM_SRC (absolute), SAN,
# STRESS_SECONDS, FUZZ_SECONDS, and in TEST_TMP an empty folder of their own.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 2
build=build
patterns=()
while getopts b:f: opt; do
	case $opt in
	b) build=$OPTARG ;;
	f) patterns+=("$OPTARG") ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- style unit model conformance integration limits trace cuda stress fuzz kmod

mkdir -p "$build/logs" || exit 2
build=$(cd "$build" && pwd)
export VRAM_BUILD=$build VRAM_SRC=$PWD SAN=${SAN:-}
export STRESS_SECONDS=${STRESS_SECONDS:-5} FUZZ_SECONDS=${FUZZ_SECONDS:-10}
export CK_VERBOSITY=${CK_VERBOSITY:-normal} CK_DEFAULT_TIMEOUT=${CK_DEFAULT_TIMEOUT:-60}
# Check reports a SIGBUS itself, and some tests want one.
export ASAN_OPTIONS=${ASAN_OPTIONS:-abort_on_error=0:detect_leaks=1:detect_stack_use_after_return=1:handle_sigbus=0}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=0:second_deadlock_stack=1:handle_sigbus=0}
cpus=$(nproc 2>/dev/null || echo 1)
# A sanitizer slows a test down; so does a machine shared with others.
slowness=$([ -n "$SAN" ] && echo 4 || echo 1)
# gcc 12's ThreadSanitizer knows only address layouts of up to 28 random bits.
fixed_layout=()
if [ "$SAN" = thread ] && setarch -R true 2>/dev/null; then
	fixed_layout=(setarch -R)
fi
token_base=vram-test-$$-$RANDOM
state=$(mktemp -d "${TMPDIR:-/tmp}/vram-run.XXXXXX") || exit 2
# Tests that become another user have to get through to their folder.
chmod 711 "$state"

# reap TOKEN: kill what a test has left running.
reap()
{
	local token=$1 rounds=3 pid name found=1
	while [ $found = 1 ] && ((rounds-- > 0)); do
		found=0
		while read -r pid; do
			name=$(cat "/proc/$pid/comm" 2>/dev/null) || continue
			kill -KILL "$pid" 2>/dev/null || continue
			found=1
			echo "$token left $name ($pid) running: killed" >>"$state/reaped"
		done < <(grep -lzsx "VRAM_TEST_TOKEN=$token" /proc/[0-9]*/environ | cut -d/ -f3)
		[ $found = 0 ] || sleep 0.1
	done
}

interrupted()
{
	local file
	trap - INT TERM
	for file in "$state"/token.*; do
		[ -e "$file" ] && reap "$(cat "$file")"
	done
	rm -rf "$state"
	exit 130
}
trap interrupted INT TERM

wanted()
{
	local pattern name=${1##*/}
	name=${name%.*}
	[ ${#patterns[@]} -gt 0 ] || return 0
	for pattern in "${patterns[@]}"; do
		# shellcheck disable=SC2053  # the user's pattern is a pattern
		[[ $1 == $pattern || $name == $pattern || $name == "test_$pattern" ]] && return 0
	done
	return 1
}

# bench_line PROGRAM: the line that says with which arguments a benchmark is run.
bench_line()
{
	local source=${1##*/}
	grep -m 1 -E '^[[:space:]]*(//|\*|/\*) bench:' "tests/bench/${source//-/_}.c" 2>/dev/null
}

# The files of a suite, one a line: programs first, then executable scripts.
files_of()
{
	local suite=$1 file
	case $suite in
	style)
		printf '%s\n' tests/support/check_*.sh tests/support/check_*.py
		;;
	model)
		printf '%s\n' tests/model/run.sh
		;;
	kmod)
		# Tests that bring their own machine; the first runs the suite's programs there.
		printf '%s\n' tests/vm/check_kmod.sh tests/vm/check_drm.sh
		;;
	fuzz)
		for file in tests/fuzz/fuzz_*.c; do
			file=${file##*/fuzz_}
			[ "$file" = '*.c' ] || printf '%s\n' "$build/fuzz/${file%.c}"
		done
		;;
	bench)
		# A program without a `bench:` line is a tool that a script runs.
		for file in "$build"/tests/bench/*; do
			[ -n "$(bench_line "$file")" ] && printf '%s\n' "$file"
		done
		printf '%s\n' tests/bench/*.sh tests/bench/*.py
		;;
	*)
		for file in "$build/tests/$suite"/*; do
			# A program whose source is gone is a left-over of an older build.
			[ -f "tests/$suite/${file##*/}.c" ] && printf '%s\n' "$file"
		done
		printf '%s\n' "tests/$suite"/*.sh "tests/$suite"/*.py
		;;
	esac | while read -r file; do
		case $suite in
		fuzz) [ -x "$file" ] || [ ! -d "$build/fuzz" ] ;;
		*) [ -f "$file" ] && [ -x "$file" ] ;;
		esac && printf '%s\n' "$file"
	done
}

timeout_of()
{
	local suite=$1 file=$2 seconds source=$2
	[[ $file == "$build"/* ]] && source=tests/$suite/${file##*/}.c
	seconds=$(sed -n '1,40s/^[ \t]*\(\/\/\|\*\|\/\*\|#\)[ \t]*timeout: *\([0-9][0-9]*\).*/\2/p' \
		"$source" 2>/dev/null | head -n 1)
	if [ -z "$seconds" ]; then
		case $suite in
		unit) seconds=120 ;;
		fuzz) seconds=$((FUZZ_SECONDS + 60)) ;;
		stress) seconds=$((STRESS_SECONDS * 4 + 120)) ;;
		bench) seconds=3600 ;;
		*) seconds=300 ;;
		esac
	fi
	echo $((seconds * slowness))
}

# run_one SUITE FILE: run a test, print its result, leave a line in $state/results.
run_one()
{
	local suite=$1 file=$2 name label log rc start spent token command seconds result reason
	name=${file##*/}
	label=$suite/${name%.*}
	log=$build/logs/$suite-${name%.*}.log
	seconds=$(timeout_of "$suite" "$file")
	token=$token_base-$suite-${name%.*}
	command=("$file")
	if [ "$suite" = fuzz ]; then
		local corpus=$build/fuzz/corpus-$name
		mkdir -p "$corpus"
		command=("$file" "-max_total_time=$FUZZ_SECONDS" -timeout=10 -rss_limit_mb=1024
			-print_final_stats=1 "-artifact_prefix=$build/fuzz/$name-" "$corpus")
		[ -d "tests/fuzz/corpus/$name" ] && command+=("tests/fuzz/corpus/$name")
	fi
	if [ "$suite" = bench ] && [[ $file == "$build"/* ]]; then
		local args
		read -ra args < <(bench_line "$file" | sed 's/^.* bench:[[:space:]]*//; s/\*\/.*$//')
		command+=("${args[@]}")
	fi
	# The driver of a card is whatever the loader finds: here the one that stands in for it.
	[ "$suite" != cuda ] || command=(env "LD_LIBRARY_PATH=$build/cuda-standin" "${command[@]}")
	command=("${fixed_layout[@]}" "${command[@]}")

	echo "$token" >"$state/token.$suite.$name"
	mkdir -p "$state/tmp.$suite.$name"
	start=$EPOCHREALTIME
	# In the background, as only `wait` lets the trap for an interrupt run at once.
	if [ "$suite" = bench ]; then
		VRAM_TEST_TOKEN=$token TEST_TMP=$state/tmp.$suite.$name \
			timeout -k 10 "$seconds" "${command[@]}" </dev/null 2>"$log" \
			> >(tee -a "$build/logs/bench.jsonl") &
	else
		VRAM_TEST_TOKEN=$token TEST_TMP=$state/tmp.$suite.$name \
			timeout -k 10 "$seconds" "${command[@]}" </dev/null >"$log" 2>&1 &
	fi
	wait $!
	rc=$?
	spent=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
	reap "$token"
	rm -rf "$state/token.$suite.$name" "$state/tmp.$suite.$name"

	result=PASS reason=
	case $rc in
	0) ;;
	77) result=SKIP reason=$(grep -v '^[[:space:]]*$' "$log" | tail -n 1) ;;
	124 | 137) result=FAIL reason="no end within $seconds s" ;;
	*) result=FAIL reason="exit status $rc" ;;
	esac
	if [ $result != FAIL ] && grep -qE '(ERROR|WARNING): [A-Za-z]*Sanitizer|runtime error:' "$log"; then
		result=FAIL reason="a sanitizer's report in the log"
	fi
	if [ $result = PASS ] && [ "$suite" = unit ] && [[ $file == "$build"/* ]] &&
		! grep -qE '^[0-9]+%: Checks: [1-9]' "$log"; then
		result=FAIL reason="no closing line of Check"
	fi

	{
		[ "$suite" = fuzz ] || grep -aE '^[0-9]+%: Checks: ' "$log" | sed 's/^/        /'
		[ "$suite" != fuzz ] || sed -n 's/^stat::number_of_executed_units: */        runs: /p' "$log"
		if [ "$suite" = kmod ]; then
			sed -n -e 's/^\(PASS\|FAIL\|SKIP\)  /        &/p' -e 's/^[0-9]* passed, .*/        &/p' "$log"
		fi
		printf '%s  %-40s %6s s%s\n' $result "$label" "$spent" "${reason:+  ($reason)}"
		if [ $result = FAIL ]; then
			echo "    --- the end of $log:"
			tail -n 40 "$log" | sed 's/^/    /'
		fi
	} >"$state/out.$suite.$name"
	# One write, so that parallel tests do not mix.
	cat "$state/out.$suite.$name"
	echo "$result" >>"$state/results"
}

for suite in "$@"; do
	files=()
	while read -r file; do
		wanted "${file##*/}" && files+=("$file")
	done < <(files_of "$suite")
	[ ${#files[@]} -gt 0 ] || continue
	echo "== $suite"
	[ "$suite" != bench ] || : >"$build/logs/bench.jsonl"

	parallel=1
	case $suite in unit | cuda | fuzz) parallel=$((cpus < 2 ? 1 : 2)) ;; esac
	for file in "${files[@]}"; do
		if [ "$suite" = fuzz ] && [ ! -x "$file" ]; then
			echo "SKIP  fuzz/${file##*/}  (not built: no clang)"
			echo SKIP >>"$state/results"
			continue
		fi
		if [ $parallel -gt 1 ]; then
			while [ "$(jobs -rp | wc -l)" -ge $parallel ]; do
				wait -n || true
			done
			run_one "$suite" "$file" &
		else
			run_one "$suite" "$file"
		fi
	done
	wait
done

count()
{
	grep -cx "$1" "$state/results" 2>/dev/null || true
}
touch "$state/results"
passed=$(count PASS) failed=$(count FAIL) skipped=$(count SKIP)
[ -e "$state/reaped" ] && sed "s/^$token_base-/note: /" "$state/reaped"
rm -rf "$state"
echo "$passed passed, $failed failed, $skipped skipped"
# Nothing run is no success: a mistyped name, or a build that brought no tests.
[ "$failed" = 0 ] && [ $((passed + skipped)) -gt 0 ]
