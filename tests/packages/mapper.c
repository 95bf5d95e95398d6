// SPDX-License-Identifier: GPL-2.0-only
/* A program that knows nothing of vram: it maps a file and adds up its bytes. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

int main(int argc, char *argv[])
{
	int fd = argc > 1 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
	const unsigned char *bytes;
	unsigned long long sum = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return 1;
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED)
		return 1;
	for (off_t i = 0; i < st.st_size; i++)
		sum += (unsigned long long)bytes[i] * (unsigned long long)(i % 251 + 1);
	printf("%llu\n", sum);
	return 0;
}
