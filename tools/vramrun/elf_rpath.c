// SPDX-License-Identifier: GPL-2.0-only
/* Where a program tells the dynamic linker to look before it looks where the environment says. */
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tools/vramrun/elf.h"

#define DYNAMIC_MAX 1024

/* Where in the file the bytes of this address are. Return: false: nowhere. */
static bool find_offset(int fd, const Elf64_Ehdr *ehdr, uint64_t address, uint64_t *out)
{
	for (unsigned int i = 0; i < ehdr->e_phnum; i++) {
		off_t at = (off_t)(ehdr->e_phoff + (uint64_t)i * ehdr->e_phentsize);
		Elf64_Phdr phdr;

		if (pread(fd, &phdr, sizeof(phdr), at) != (ssize_t)sizeof(phdr))
			return false;
		if (phdr.p_type != PT_LOAD || address < phdr.p_vaddr ||
		    address - phdr.p_vaddr >= phdr.p_filesz)
			continue;
		*out = phdr.p_offset + (address - phdr.p_vaddr);
		return true;
	}
	return false;
}

/* The program's DT_RPATH. Return: false if it has none that counts. */
static bool read_rpath(int fd, const Elf64_Ehdr *ehdr, char *out, size_t size)
{
	uint64_t strings = 0, at = 0, offset;
	bool has_rpath = false;
	Elf64_Phdr phdr;
	ssize_t n;

	for (unsigned int i = 0; i < ehdr->e_phnum; i++) {
		off_t place = (off_t)(ehdr->e_phoff + (uint64_t)i * ehdr->e_phentsize);

		if (pread(fd, &phdr, sizeof(phdr), place) != (ssize_t)sizeof(phdr))
			return false;
		if (phdr.p_type == PT_DYNAMIC)
			break;
	}
	if (phdr.p_type != PT_DYNAMIC)
		return false;
	for (unsigned int i = 0; i < DYNAMIC_MAX && i < phdr.p_filesz / sizeof(Elf64_Dyn); i++) {
		Elf64_Dyn dyn;

		if (pread(fd, &dyn, sizeof(dyn), (off_t)(phdr.p_offset + i * sizeof(dyn))) !=
			    (ssize_t)sizeof(dyn) ||
		    dyn.d_tag == DT_NULL)
			break;
		if (dyn.d_tag == DT_RUNPATH)
			return false;
		if (dyn.d_tag == DT_STRTAB)
			strings = dyn.d_un.d_ptr;
		if (dyn.d_tag == DT_RPATH) {
			at = dyn.d_un.d_val;
			has_rpath = true;
		}
	}
	if (!has_rpath || !find_offset(fd, ehdr, strings + at, &offset))
		return false;
	n = pread(fd, out, size - 1, (off_t)offset);
	if (n <= 0)
		return false;
	out[n] = '\0';
	return strlen(out) < size - 1;
}

/* $ORIGIN at the beginning is where the program is; elsewhere nobody writes it. */
static void expand(const char *path, const char *entry, size_t len, char *out, size_t size)
{
	static const char *const origins[] = { "$ORIGIN", "${ORIGIN}" };
	char real[PATH_MAX];
	char *slash;

	for (size_t i = 0; i < sizeof(origins) / sizeof(origins[0]); i++) {
		size_t n = strlen(origins[i]);

		if (len < n || strncmp(entry, origins[i], n) != 0 || !realpath(path, real))
			continue;
		slash = strrchr(real, '/');
		*slash = '\0';
		snprintf(out, size, "%s%.*s/libcuda.so.1", real, (int)(len - n), entry + n);
		return;
	}
	snprintf(out, size, "%.*s/libcuda.so.1", (int)len, entry);
}

const char *elf_escapes(const char *path, char *text, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char rpath[4096], driver[PATH_MAX + 64];
	const char *entry = rpath;
	Elf64_Ehdr ehdr;

	if (fd < 0 || pread(fd, &ehdr, sizeof(ehdr), 0) != (ssize_t)sizeof(ehdr) ||
	    memcmp(ehdr.e_ident, ELFMAG, SELFMAG) != 0 || ehdr.e_ident[EI_CLASS] != ELFCLASS64 ||
	    !read_rpath(fd, &ehdr, rpath, sizeof(rpath)))
		return NULL;
	while (*entry) {
		size_t len = strcspn(entry, ":");

		expand(path, entry, len, driver, sizeof(driver));
		if (len && access(driver, R_OK) == 0) {
			snprintf(
				text, size,
				"it names %.300s itself (DT_RPATH), where the environment has no say",
				driver);
			return text;
		}
		entry += len + (entry[len] == ':');
	}
	return NULL;
}
