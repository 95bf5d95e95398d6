#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# common/cuda_abi.h, and what the stand-in driver exports beyond it, agree with NVIDIA's cuda.h: with those of two
# CUDA versions from PyPI, and with every one that is installed here. The comparison is tests/support/cuda/abi_compare.c,
# at compile time. Differences that are planted in a copy of our header must be found first.
set -uo pipefail

cd "${VRAM_SRC:-$(dirname "$0")/../..}" || exit 2
build=${VRAM_BUILD:-build}
scratch=$(mktemp -d "${TEST_TMP:-${TMPDIR:-/tmp}}/cuda-abi.XXXXXX") || exit 2
trap 'rm -rf "$scratch"' EXIT
cc=${CC:-gcc}

# forms HEADERS OUR_TOP: whether the version that we ask for brings the symbol that we mean. Two forms of a function
# may have one prototype, so types do not tell: the Nth version that cudaTypedefs.h knows is the symbol with _vN.
forms()
{
	printf '%s\n' '#include <common/cuda_abi.h>' '#define STANDIN_LISTS_ONLY' '#include "tests/cuda-standin/api.h"' \
		'#define FORM(field, base, symbol, version, need, prototype) @ base symbol version @' \
		'#define FIRST(base, version, newer, prototype, arguments) @ base base version @' \
		'CUDA_ABI_ENTRIES(FORM) STANDIN_ENTRIES(FORM) STANDIN_FIRST(FIRST)' |
		"$cc" -E -P ${2:+-I"$2"} -I. -x c - | tr '@' '\n' | awk -v typedefs="$1/cudaTypedefs.h" '
			BEGIN {
				while ((getline line < typedefs) > 0)
					while (match(line, /PFN_cu[A-Za-z0-9]+_v[0-9]+\)/)) {
						name = substr(line, RSTART + 4, RLENGTH - 5)
						line = substr(line, RSTART + RLENGTH)
						at = match(name, /_v[0-9]+$/)
						versions[substr(name, 1, at - 1)] = \
							versions[substr(name, 1, at - 1)] " " substr(name, at + 2)
					}
			}
			NF == 3 && $1 ~ /^cu/ {
				rank = 1
				n = split(versions[$1], v, " ")
				for (i = 1; i <= n; i++)
					rank += v[i] + 0 < $3 + 0
				wanted = $1 (rank > 1 ? "_v" rank : "")
				if (wanted != $2) {
					print $1 " of version " $3 " is " wanted ", not " $2
					bad = 1
				}
				seen++
			}
			END { exit bad || !seen }'
}

# compare HEADERS [OUR_TOP]: whether our header agrees with the cuda.h in that folder.
compare()
{
	"$cc" -std=gnu11 -Wall -Wextra -Werror -fsyntax-only ${2:+-I"$2"} -I. -isystem "$1" \
		tests/support/cuda/abi_compare.c && forms "$1" "${2-}"
}

fetched=1
VRAM_BUILD=$build tests/support/fetch_cuda_headers.sh >"$scratch/fetch.log" 2>&1 || fetched=0
found=()
for header in "$build"/cuda-headers/*/cuda.h "${CUDA_HOME:-/usr/local/cuda}"/include/cuda.h /usr/local/cuda-*/include/cuda.h \
	/usr/include/cuda.h; do
	# Both headers are needed, and the types of 12.4 at least.
	if [ -f "$header" ] && [ -f "${header%cuda.h}cudaTypedefs.h" ] &&
		[ "$(awk '$1 == "#define" && $2 == "CUDA_VERSION" { print $3 }' "$header")" -ge 12040 ]; then
		found+=("${header%/cuda.h}")
	fi
done
if [ ${#found[@]} = 0 ]; then
	tail -n 3 "$scratch/fetch.log"
	echo "no cuda.h: none is installed, and none could be fetched from PyPI"
	exit 77
fi

planted=0
while IFS='|' read -r change; do
	mkdir -p "$scratch/ours/common"
	sed "$change" common/cuda_abi.h >"$scratch/ours/common/cuda_abi.h"
	if cmp -s common/cuda_abi.h "$scratch/ours/common/cuda_abi.h"; then
		echo "FAIL: '$change' changes nothing: plant another"
		exit 1
	fi
	if compare "${found[0]}" "$scratch/ours" >/dev/null 2>&1; then
		echo "FAIL: planted and not found: $change"
		exit 1
	fi
	planted=$((planted + 1))
done <<'CHANGES'
s/ERROR_MAP_FAILED, 205/ERROR_MAP_FAILED, 204/
s/STREAM_NON_BLOCKING, 1/STREAM_NON_BLOCKING, 2/
s/unsigned short usage/unsigned char usage/
s/size_t \*out_free/unsigned int *out_free/
s/cuDevicePrimaryCtxRelease_v2/cuDevicePrimaryCtxRetain/
s/cuStreamWriteValue64_v2, 11070/cuStreamWriteValue64_v2, 9000/
s/typedef unsigned long long cuda_ptr/typedef unsigned int cuda_ptr/
CHANGES
echo "$planted planted differences found"

failed=0
for headers in "${found[@]}"; do
	version=$(awk '$1 == "#define" && $2 == "CUDA_VERSION" { print $3 }' "$headers/cuda.h")
	if compare "$headers"; then
		echo "CUDA $((version / 1000)).$((version % 1000 / 10)): equal ($headers)"
	else
		echo "FAIL: CUDA $((version / 1000)).$((version % 1000 / 10)) differs ($headers)"
		failed=1
	fi
done
if [ $fetched = 0 ]; then
	tail -n 3 "$scratch/fetch.log"
	echo "note: the headers from PyPI could not be fetched"
fi
exit $failed
