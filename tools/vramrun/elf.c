// SPDX-License-Identifier: GPL-2.0-only
#include "tools/vramrun/elf.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/cleanup.h"

/* Scripts whose interpreter is a script, and so on: the kernel goes no further either. */
#define SCRIPT_DEPTH 4

static const char *say(char *text, size_t size, const char *what)
{
	snprintf(text, size, "%s", what);
	return text;
}

/* The class and machine that this program, and so the shim, was built for. */
static bool same_machine(const Elf64_Ehdr *ehdr)
{
	_cleanup_close_ int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	Elf64_Ehdr self;

	if (fd < 0 || pread(fd, &self, sizeof(self), 0) != (ssize_t)sizeof(self))
		return true;
	return ehdr->e_ident[EI_CLASS] == self.e_ident[EI_CLASS] &&
	       ehdr->e_ident[EI_DATA] == self.e_ident[EI_DATA] && ehdr->e_machine == self.e_machine;
}

/* The dynamic linker that the program asks for. Return: false if it asks for none. */
static bool find_interpreter(int fd, const Elf64_Ehdr *ehdr, char *path, size_t size)
{
	for (unsigned int i = 0; i < ehdr->e_phnum; i++) {
		off_t at = (off_t)(ehdr->e_phoff + (uint64_t)i * ehdr->e_phentsize);
		Elf64_Phdr phdr;

		if (pread(fd, &phdr, sizeof(phdr), at) != (ssize_t)sizeof(phdr))
			return false;
		if (phdr.p_type != PT_INTERP)
			continue;
		if (phdr.p_filesz == 0 || phdr.p_filesz > size ||
		    pread(fd, path, phdr.p_filesz, (off_t)phdr.p_offset) != (ssize_t)phdr.p_filesz)
			return false;
		path[phdr.p_filesz - 1] = '\0';
		return true;
	}
	return false;
}

/* The dynamic linker drops LD_PRELOAD for programs that gain rights by being run. */
static bool gains_rights(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return false;
	if ((st.st_mode & S_ISUID) && st.st_uid != geteuid())
		return true;
	if ((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP) && st.st_gid != getegid())
		return true;
	return geteuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0;
}

/* "#! /bin/sh -e": the path in it. Return: false if there is none. */
static bool script_interpreter(const char *head, size_t n, char *path, size_t size)
{
	size_t begin = 2, end;

	while (begin < n && (head[begin] == ' ' || head[begin] == '\t'))
		begin++;
	end = begin;
	while (end < n && !strchr(" \t\n", head[end]) && head[end])
		end++;
	if (end == begin || end == n || end - begin >= size)
		return false;
	memcpy(path, head + begin, end - begin);
	path[end - begin] = '\0';
	return true;
}

static const char *why_not(const char *path, bool *out_harmful, char *text, size_t size, int depth)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	union {
		Elf64_Ehdr ehdr;
		char bytes[256];
	} head;
	char interpreter[256];
	ssize_t n;

	if (fd < 0)
		return NULL;
	n = pread(fd, &head, sizeof(head), 0);
	if (n > 2 && !memcmp(head.bytes, "#!", 2)) {
		if (depth == 0 ||
		    !script_interpreter(head.bytes, (size_t)n, interpreter, sizeof(interpreter)))
			return NULL;
		return why_not(interpreter, out_harmful, text, size, depth - 1);
	}
	if (n < (ssize_t)sizeof(head.ehdr) || memcmp(head.ehdr.e_ident, ELFMAG, SELFMAG))
		return NULL;
	if (!same_machine(&head.ehdr))
		return say(text, size, "it is built for another architecture than vramrun");
	if (!find_interpreter(fd, &head.ehdr, interpreter, sizeof(interpreter)))
		return say(text, size,
			   "it is statically linked, and nothing can be loaded into it; use a "
			   "dynamically linked build");
	if (strstr(interpreter, "ld-musl")) {
		*out_harmful = true;
		return say(text, size, "it runs on another C library (musl) than the shim");
	}
	if (gains_rights(fd))
		return say(
			text, size,
			"it is set-user-ID, set-group-ID or has file capabilities, and the dynamic "
			"linker lets nothing be loaded into it");
	return NULL;
}

const char *elf_why_not(const char *path, bool *out_harmful, char *text, size_t size)
{
	*out_harmful = false;
	return why_not(path, out_harmful, text, size, SCRIPT_DEPTH);
}
