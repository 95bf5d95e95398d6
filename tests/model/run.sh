#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# timeout: 240
#
# Check the model of the residency slot with spin: the protocol itself must hold, and every
# deliberately broken variant of it must be caught, for the reason named here. A variant that
# slips through fails this test: then the model proves less than it says.
#
# MODEL_FULL=1 adds the larger searches (more memory, minutes): three clients, more events.
set -uo pipefail

for tool in spin gcc; do
	if ! command -v "$tool" >/dev/null; then
		echo "no $tool installed: the residency model is not checked"
		exit 77
	fi
done

model=$(cd "$(dirname "$0")" && pwd)/residency.pml
dir=$(mktemp -d "${TEST_TMP:-${TMPDIR:-/tmp}}/model.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
failed=0

# build OPTIMISE KIND DEFINE...: make ./pan. The generated code is spin's, so are its warnings.
build()
{
	local optimise=$1 kind=$2
	local flags=(-w "$optimise" -DCOLLAPSE -DMEMLIM=6000)
	shift 2
	rm -f pan pan.*
	if [ "$kind" = live ]; then
		flags+=(-DNFAIR=4)
		set -- -DLIVENESS "$@"
	else
		flags+=(-DSAFETY)
	fi
	spin -a "$@" "$model" >spin.log 2>&1 && gcc "${flags[@]}" -o pan pan.c >>spin.log 2>&1 && return 0
	cat spin.log
	return 1
}

# search KIND: run it to the end or to the first error; the report is in pan.log.
search()
{
	local options=(-m1000000 -w22)
	[ "$1" = live ] && options+=(-a -f)
	./pan "${options[@]}" >pan.log 2>&1
}

# holds NAME KIND DEFINE...: the protocol as it is, searched completely.
holds()
{
	local name=$1 kind=$2
	shift 2
	if build -O2 "$kind" "$@" && search "$kind" && grep -q 'errors: 0' pan.log &&
		! grep -qiE 'not completed|too small|reached -DMEMLIM' pan.log; then
		echo "holds   $name: $(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.log) states"
		return
	fi
	echo "FAILED  $name"
	head -n 30 pan.log
	[ -e residency.pml.trail ] && ./pan -r 2>/dev/null | tail -n 60
	failed=1
}

# caught MUTANT KIND REASON DEFINE...: one mistake, to be found.
caught()
{
	local name=$1 kind=$2 reason=$3
	shift 3
	if build -O0 "$kind" "-DMUTANT=M_$name" "$@" && search "$kind"; then :; fi
	if grep -qE "^pan:1: .*($reason)" pan.log; then
		echo "caught  $name: $(sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p' pan.log)"
		return
	fi
	echo "MISSED  $name: expected $reason"
	head -n 30 pan.log
	failed=1
}

holds 'safety' safe -DEVENTS=3
holds 'marks' safe -DMARKS -DEVENTS=2 -DTIMEOUTS=0
holds 'liveness' live -DEVENTS=1 -DROUNDS=1
if [ -n "${MODEL_FULL:-}" ]; then
	holds 'safety, 4 events' safe -DEVENTS=4
	holds 'marks, 3 events' safe -DMARKS -DEVENTS=3
	holds 'safety, 3 clients' safe -DCLIENTS=3 -DROUNDS=1 -DEVENTS=1
	holds 'liveness, 2 rounds' live -DEVENTS=1 -DROUNDS=2
fi

in_use='assertion violated .*(using|whole|served)'
stuck='invalid end state'
caught LOOK_BEFORE_PIN safe "$in_use" -DEVENTS=2
caught PINS_BEFORE_STATE safe "$in_use" -DEVENTS=2
caught ACQUIRED_FIRST safe "$in_use|$stuck" -DEVENTS=2
caught UNPIN_TO_WAIT safe "$in_use" -DEVENTS=2
caught NO_WAKE_ON_BACKOFF safe "$stuck" -DEVENTS=2
caught NO_WAKE_ON_FAIL safe "$stuck" -DEVENTS=2
caught WAKE_LOOK_FIRST safe "$stuck" -DEVENTS=2
caught NO_COMPARE safe "$stuck" -DEVENTS=2
caught FORGET_REQUEST safe "$stuck" -DEVENTS=2
caught CANCEL_BLINDLY safe "$stuck" -DEVENTS=2
caught SHARED_RELEASE safe 'assertion violated .*released' -DEVENTS=2
caught COUNT_BEFORE_MARK safe 'assertion violated .*(silent|mark_uses)' -DMARKS -DEVENTS=2
caught MARK_DROPPED safe 'assertion violated .*(silent|mark_uses)' -DMARKS -DEVENTS=2
caught CLAIM_ONCE safe 'assertion violated .*got_mark' -DMARKS -DEVENTS=2
caught NO_EARLY_LOOK live 'acceptance cycle' -DEVENTS=1 -DROUNDS=1

if [ $failed = 0 ]; then
	echo "residency model: every property holds, every mistake is caught"
fi
exit $failed
