# SPDX-License-Identifier: GPL-2.0-only
#
# Read the sources of test programs and print the rules that link them, for the
# Makefile to include. A program names near its top what it links:
#
#	// links: kmod/ledger.c common/err.c tests/support/fake_loop.c libvram.a
#	// libs: -ljansson
#
# Both may be repeated and may stand inside a block comment. Which .c files
# are programs follows from the folder: test_*.c in unit/, conformance/,
# integration/ and kmod/, fuzz_*.c in fuzz/, and in stress/, bench/, kmod/ and gpu/ those that
# have a `links:` line; the rest are helpers that others name. `.c` is linked as its
# object, `libvram.a` from the build folder.

function exists(path,    line, ok) {
	ok = (getline line < path) >= 0
	close(path)
	return ok
}

function finish(    dir, name, kind, target, objdir, i, n, word, prereq) {
	if (src == "")
		return
	n = split(src, word, "/")
	dir = word[2]
	name = word[n]
	sub(/\.c$/, "", name)
	if (dir == "fuzz")
		kind = name ~ /^fuzz_/ ? "FUZZ_PROGS" : ""
	else if (dir == "stress" || dir == "bench")
		kind = !has_links ? "" : dir == "bench" ? "BENCH_PROGS" : "TEST_PROGS"
	else
		kind = name ~ /^test_/ || ((dir == "kmod" || dir == "gpu") && has_links) ? "TEST_PROGS" : ""
	if (kind == "")
		return

	objdir = "$(B)/" (dir == "fuzz" ? "fuzzobj/" : "obj/")
	if (dir == "bench")
		gsub(/_/, "-", name)
	target = dir == "fuzz" ? "$(B)/fuzz/" substr(name, 6) : "$(B)/tests/" dir "/" name

	prereq = objdir substr(src, 1, length(src) - 2) ".o"
	n = split(links, word, /[ \t,]+/)
	for (i = 1; i <= n; i++) {
		if (word[i] == "")
			continue
		if (word[i] == "libvram.a") {
			prereq = prereq " $(B)/libvram.a"
		} else if (word[i] ~ /\.c$/ && exists(word[i])) {
			prereq = prereq " " objdir substr(word[i], 1, length(word[i]) - 2) ".o"
		} else {
			printf "TEST_BROKEN += %s:%s\n", src, word[i]
			printf "$(warning %s links %s, which is not there: not built)\n", src, word[i]
			return
		}
	}
	printf "%s += %s\n%s: %s\n", kind, target, target, prereq
	if (libs != "")
		printf "%s: PROG_LIBS := %s\n", target, libs
}

FNR == 1 {
	finish()
	src = FILENAME
	links = libs = ""
	has_links = 0
}

FNR <= 80 && match($0, /^[ \t]*(\/\/|\/\*|\*)[ \t]*(links|libs):/) {
	value = substr($0, RSTART + RLENGTH)
	sub(/\*\/.*$/, "", value)
	if ($0 ~ /links:/) {
		links = links " " value
		has_links = 1
	} else {
		libs = libs " " value
	}
}

END { finish() }
