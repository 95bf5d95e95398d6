#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# module_btf.sh MODULE.ko BASE: give a module type information over a kernel's
# (/sys/kernel/btf/vmlinux, or what vmlinux.py has cut out), if pahole and the
# base are there and the module was built with debug information and has none
# yet. Debian's headers of 6.1 come without the base, so Kbuild cannot do it.
# Where something is missing the module is simply left without.
set -eu

ko=$1 base=$2

[ -s "$base" ] && command -v pahole >/dev/null || exit 0
sections=$(readelf -SW "$ko")
case $sections in *' .BTF '*) exit 0 ;; esac
case $sections in *' .debug_info '*) ;; *) exit 0 ;; esac

cp "$ko" "$ko.btf"
if LLVM_OBJCOPY=objcopy pahole -J --skip_encoding_btf_enum64 --btf_base "$base" "$ko.btf" 2>/dev/null; then
	mv "$ko.btf" "$ko"
else
	rm "$ko.btf"
fi
