#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# check_gpu.sh [-b BUILD] [-t SECONDS] [PART...]: everything that only a real card can show.
#
#	questions	what nobody has measured yet, as a table
#	suite		the conformance and integration tests that know of cards, on this one
#	walk		models larger than the budget, byte for byte; two users as root
#	torch		PyTorch under vramrun and through libvram-torch.so
#	cudart		a program of nvcc, with and without vramrun
#	bench		make bench BENCH=gpu
#
# Uses what is built; builds nothing. Each part passes, fails, or is skipped with a reason, and has a
# log of its own. -t: no more than so long for all parts together; what has no time left is
# skipped. The summary, in the format of docs/verified-hardware.md, is written anew after every
# part, to OUT if that is set (with the logs, at most 8 files there), else to BUILD/gpu-results, and
# is printed at the end. GPU_VRAM: MiB of the card that may be used at most; GPU_WHOLE=1: the
# card is ours alone.
#
# Exit status: 0 if nothing failed, 77 if there is no card, else 1.
set -uo pipefail

cd "$(dirname "$0")/../.." || exit 2
build=build
limit=0
while getopts b:t: opt; do
	case $opt in
	b) build=$OPTARG ;;
	t) limit=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- questions suite walk torch cudart bench
build=$(cd "$build" && pwd) || exit 2
results=${OUT:-$build/gpu-results}
logs=$build/logs/gpu
mkdir -p "$results" "$logs" || exit 2
rm -f "$logs"/*
export VRAM_BUILD=$build VRAM_SRC=$PWD
started=$SECONDS
rows=$logs/rows
: >"$rows"
rc=0

questions=$build/tests/gpu/questions
if ! [ -x "$questions" ]; then
	echo "SKIP: $questions is not built"
	exit 77
fi
facts=$("$questions" -j device)
case $? in
77)
	echo "$facts"
	exit 77
	;;
esac

# fact WHAT: the card's answer.
fact()
{
	python3 -c '
import json, sys
for line in sys.stdin:
    a = json.loads(line)
    if a["what"] == sys.argv[1]:
        print(a.get("value", a.get("text")))' "$1" <<<"$facts"
}

if [ -n "$(fact 'what this is')" ] && [ -z "${GPU_STANDIN:-}" ]; then
	echo "SKIP: the stand-in driver is no card"
	exit 77
fi

# The module says it; without /proc/driver a management tool may.
driver_version()
{
	local version
	version=$(sed -n 's/.*Module *\(for [^ ]* *\)\?\([0-9][0-9.]*\).*/\2/p' \
		/proc/driver/nvidia/version 2>/dev/null | head -n 1)
	[ -n "$version" ] || version=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader \
		2>/dev/null | head -n 1)
	echo "${version:-?}"
}

summary()
{
	local commit
	commit=$(cat COMMIT 2>/dev/null || git describe --always --dirty --abbrev=12 2>/dev/null || echo '?')
	[ -z "$(fact 'what this is')" ] || printf 'THE STAND-IN DRIVER, NO CARD: nothing below says anything about a card.\n\n'
	printf '## %s, driver %s, %s\n\n' "$(fact card)" "$(driver_version)" "$(date -u +%F)"
	printf '| | |\n|---|---|\n'
	printf '| card | %s, %s MiB, compute capability %s |\n' "$(fact card)" "$(fact memory)" \
		"$(fact 'compute capability')"
	printf '| driver | %s, made for CUDA %s |\n' "$(driver_version)" "$(fact 'driver made for CUDA')"
	printf '| kernel | %s |\n' "$(uname -r)"
	printf '| machine | %s cores, %s of memory |\n' "$(nproc)" \
		"$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
	printf '| date | %s |\n' "$(date -u '+%F %H:%M UTC')"
	printf '| commit | %s |\n\n' "$commit"
	printf '| part | result | |\n|---|---|---|\n'
	cat "$rows"
	if [ -s "$logs/questions.log" ]; then
		printf '\n### Open questions\n'
		sed 's/^## /#### /' "$logs/questions.log"
	fi
	if [ -s "$logs/bench.jsonl" ]; then
		printf '\n### Benchmarks\n\n| figure | value | peer | ratio |\n|---|---|---|---|\n'
		python3 -c '
import json, sys
for line in sys.stdin:
    r = json.loads(line)
    print("| {} | {} {} | {} {} | {} |".format(r["figure"], r["value"], r["unit"], r["peer"], r["peer_value"], r["ratio"]))' <"$logs/bench.jsonl"
	fi
}

keep()
{
	summary >"$results/summary.md"
	[ ! -s "$logs/bench.jsonl" ] || cp "$logs/bench.jsonl" "$results/"
	tar -C "$build/logs" -czf "$results/logs.tar.gz" gpu 2>/dev/null
}

# part NAME SECONDS COMMAND...: run it within its time and what is left of all time.
part()
{
	local name=$1 seconds=$2 log=$logs/$1.log left status result reason=
	shift 2
	if [ "$limit" -gt 0 ]; then
		left=$((limit - (SECONDS - started)))
		if [ $left -lt 20 ]; then
			printf '| %s | SKIP | no time left |\n' "$name" >>"$rows"
			return
		fi
		[ $left -ge "$seconds" ] || seconds=$left
	fi
	echo "== $name"
	# SIGINT first, so that a script ends what it has started.
	timeout -s INT -k 15 "$seconds" "$@" </dev/null >"$log" 2>&1
	status=$?
	case $status in
	0) result=PASS ;;
	77) result=SKIP reason=$(grep -v '^[[:space:]]*$' "$log" | tail -n 1) ;;
	124 | 137) result=FAIL reason="no end within $seconds s" ;;
	*) result=FAIL reason=$(grep -E '^FAIL' "$log" | tail -n 1) ;;
	esac
	if [ $result = FAIL ]; then
		rc=1
		reason=${reason:-exit status $status}
		tail -n 20 "$log" | sed 's/^/    /'
	fi
	case $name in
	questions | suite) reason=$(grep -v '^[[:space:]]*$' "$log" | tail -n 1) ;;
	esac
	printf '%s  %s%s\n' $result "$name" "${reason:+  ($reason)}"
	printf '| %s | %s | %s |\n' "$name" $result "${reason//|/\/}" >>"$rows"
	keep
}

# Two kinds of host memory exist only where the administrator allows them. As root we are that, for as long
# as the questions take: lend_huge_pages, take_huge_pages.
huge=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
shmem=/sys/kernel/mm/transparent_hugepage/shmem_enabled
lent_huge='' lent_shmem=''
lend_huge_pages()
{
	if [ -w $huge ]; then
		lent_huge=$(cat $huge)
		echo $((lent_huge + 260)) >$huge
	fi 2>/dev/null
	if [ -w $shmem ]; then
		lent_shmem=$(sed 's/.*\[\(.*\)\].*/\1/' $shmem)
		echo advise >$shmem
	fi 2>/dev/null
}

take_huge_pages()
{
	[ -z "$lent_huge" ] || echo "$lent_huge" >$huge
	[ -z "$lent_shmem" ] || echo "$lent_shmem" >$shmem
	lent_huge='' lent_shmem=''
}
trap take_huge_pages EXIT
trap 'exit 130' INT TERM

part_questions()
{
	local -a options=()
	[ -z "${GPU_WHOLE:-}" ] || options+=(-w)
	[ -z "${GPU_VRAM:-}" ] || options+=(-m "$GPU_VRAM")
	[ -z "${GPU_STANDIN:-}" ] || options+=(-q)
	lend_huge_pages
	part questions 300 "$questions" "${options[@]}"
	take_huge_pages
}

# Tests that run on either kind of device, as tests/cuda/test_programs.py lists them. The suite `cuda` itself stays out: it
# is about faults and limits that only the stand-in driver can have, and make check runs it.
part_suite()
{
	local -a filters=()
	local file
	while read -r file; do
		file=${file##*/}
		filters+=(-f "${file%.py}")
	done < <(sed -n 's/^    ("\([a-z]*\/test_[a-z_.]*\)".*/\1/p' tests/cuda/test_programs.py)
	if [ ${#filters[@]} = 0 ]; then
		printf '| suite | FAIL | no list of tests in tests/cuda/test_programs.py |\n' >>"$rows"
		rc=1
		return
	fi
	part suite 540 env VRAM_DEVICE=cuda tests/run.sh -b "$build" "${filters[@]}" conformance integration
	cp "$build"/logs/{conformance,integration}-*.log "$logs/" 2>/dev/null
	keep
}

part_bench()
{
	part bench 600 tests/run.sh -b "$build" -f gpu bench
	cp "$build/logs/bench.jsonl" "$logs/" 2>/dev/null
	cp "$build"/logs/bench-gpu*.log "$logs/" 2>/dev/null
	keep
}

for name; do
	case $name in
	questions) part_questions ;;
	suite) part_suite ;;
	walk) part walk 300 tests/gpu/walk.py ;;
	torch) part torch 420 tests/gpu/torch_check.py ;;
	cudart) part cudart 300 tests/gpu/cudart.py ;;
	bench) part_bench ;;
	*)
		echo "no part $name: questions suite walk torch cudart bench" >&2
		exit 2
		;;
	esac
done
keep
echo
cat "$results/summary.md"
exit $rc
