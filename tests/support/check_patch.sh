#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The module's sources by the kernel's own rules: checkpatch.pl, which Debian ships
# in linux-source-6.1 only. `make check-kasan` unpacks that; else CHECKPATCH names one.
#
# Not for a module outside the kernel's tree, and for sources that are built in user
# space, too:
#   LINUX_VERSION_CODE, CONSTANT_COMPARISON   compat.h tells kernels apart
#   PREFER_DEFINED_ATTRIBUTE_MACRO            the kernel's own macros are not there
set -u

cd "$(dirname "$0")/../.." || exit 2
checkpatch=${CHECKPATCH:-${VRAM_KERNELS:-build/kernels}/kasan/src/scripts/checkpatch.pl}
if [ ! -e "$checkpatch" ] || ! command -v perl >/dev/null; then
	echo "no checkpatch.pl: make check-kasan brings it"
	exit 77
fi

check()
{
	perl "$checkpatch" --no-tree --no-summary --terse --show-types --max-line-length=100 \
		--ignore LINUX_VERSION_CODE,CONSTANT_COMPARISON,PREFER_DEFINED_ATTRIBUTE_MACRO -f "$@"
}

# It must see a violation, or its silence says nothing.
planted=$(mktemp --suffix .c) || exit 2
trap 'rm -f "$planted"' EXIT
printf '// SPDX-License-Identifier: GPL-2.0-only\nint f(int a)\n{\n\tif(a) {\n\t\treturn 1;\n\t}\n\treturn 0;\n}\n' >"$planted"
if check "$planted" >/dev/null; then
	echo "checkpatch.pl does not see a planted violation"
	exit 1
fi
check kmod/*.[ch] kmod/uapi/*.h tests/kmod/bad/*.c && echo "checkpatch: no violations"
