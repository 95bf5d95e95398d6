/* SPDX-License-Identifier: GPL-2.0-only */
/* Descriptors and reports between the processes of a test. Return: 0 or -errno, a descriptor where one is asked. */
#ifndef VRAM_TESTS_KMOD_PASSING_H
#define VRAM_TESTS_KMOD_PASSING_H

int passing_pair(int out_pair[2]);
int passing_send(int socket, int fd);
int passing_receive(int socket);

#endif
