/* SPDX-License-Identifier: LGPL-2.1-only OR MIT */
/*
 * Byte counts as people write and read them.
 *
 * Units are binary: K is 1024 bytes, then M, G, T; lower case and the forms "GiB" and "GB"
 * mean the same. A fraction needs a unit ("1.5G"); what is left below one byte is dropped.
 * "max" is SIZE_UNLIMITED. No sign, no white space, no exponent, nothing behind the unit.
 */
#ifndef VRAM_COMMON_SIZE_H
#define VRAM_COMMON_SIZE_H

#include <stddef.h>
#include <stdint.h>

#define SIZE_UNLIMITED UINT64_MAX

/* Room for any text that the format functions write, the terminating zero included. */
#define SIZE_TEXT_MAX 24

/*
 * Parses "16G", "512M", "1.5G", "4096", "64KiB", "max".
 * Return: 0, -EINVAL for what is not a size, -ERANGE for one that does not fit.
 */
int size_parse(const char *text, uint64_t *out_bytes);

/* Parses a rate: a size followed by "/s", or "max". Return: as size_parse(). */
int size_parse_rate(const char *text, uint64_t *out_bytes_per_s);

/*
 * For people: the largest unit that leaves at least 1, rounded to one decimal ("1.5G",
 * "16G", "100B", "max"). Return: buf.
 */
const char *size_format(char buf[SIZE_TEXT_MAX], uint64_t bytes);

/*
 * For files that are read back: the largest unit that divides exactly ("1536M", "4097");
 * size_parse() gives the same number again. Return: buf.
 */
const char *size_format_exact(char buf[SIZE_TEXT_MAX], uint64_t bytes);

/* As size_format(), with "/s" behind it, or "max". Return: buf. */
const char *size_format_rate(char buf[SIZE_TEXT_MAX], uint64_t bytes_per_s);

#endif
