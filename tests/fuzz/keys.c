/* SPDX-License-Identifier: ISC */
/*
 * verify.c: compares the parsers of signatures and of secret files with simple
 * ones, written another way.  The input is used as either.
 */
#include <sys/mman.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <stdbool.h>

#include "tests/fuzz/expect.h"
#include "tests/fuzz/refused.h"
#include "util.h"
#include "verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
check_signature(const char *text)
{
	uint8_t signature[DIGEST_SIZE];
	char digits[3] = "";
	bool right = strlen(text) == DIGEST_HEX;
	size_t i;

	for (i = 0; right && i < DIGEST_HEX; i++)
		right = isxdigit((unsigned char)text[i]) != 0;
	expect((signature_parse(signature, text) == 0) == right);
	for (i = 0; right && i < DIGEST_SIZE; i++) {
		memcpy(digits, text + 2 * i, 2);
		expect(signature[i] == strtoul(digits, NULL, 16));
	}
}

static void
sign_body(uint8_t digest[DIGEST_SIZE], const char *key, size_t len)
{
	struct keys one = { 0 };

	expect(keys_add(&one, key, len) == NULL);
	keys_sign(&one, digest, (const uint8_t *)"body", 4);
}

/* Splits TEXT into the lines that are keys: at most KEYS_MAX + 1 of them. */
static unsigned int
split_lines(char *text, char *key[KEYS_MAX + 1])
{
	unsigned int n = 0;
	char *line;

	while ((line = strsep(&text, "\n")) != NULL && n <= KEYS_MAX) {
		if (*line != '\0' && line[strlen(line) - 1] == '\r')
			line[strlen(line) - 1] = '\0';
		if (*line != '\0')
			key[n++] = line;
	}
	return n;
}

static void
check_file(char *text, size_t size)
{
	uint8_t digest[DIGEST_SIZE];
	char path[32], *key[KEYS_MAX + 1];
	struct keys keys = { 0 };
	unsigned int n, i, first;
	bool meant = true;
	int fd = memfd_create("keys", 0);
	bool taken;

	expect(fd != -1 && write_all(fd, text, size) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	taken = keys_read_file(&keys, path) == NULL;
	close(fd);
	if (memchr(text, '\0', size) != NULL) {
		expect(!taken);
		return;
	}
	n = split_lines(text, key);
	for (i = 0; i < n; i++)
		meant = meant && !key_is_refused(key[i]);
	expect(taken == (n > 0 && n <= KEYS_MAX && size <= 65536 && meant));
	for (i = 0; taken && i < n; i++) {
		sign_body(digest, key[i], strlen(key[i]));
		for (first = 0; strcmp(key[first], key[i]) != 0; first++)
			;
		expect(keys.n == n && keys_verify(&keys, digest,
		    (const uint8_t *)"body", 4) == first + 1);
		digest[i]++;
		expect(keys_verify(&keys, digest, (const uint8_t *)"body",
		    4) == 0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	memcpy(text, data, size);
	text[size] = '\0';
	check_signature(text);
	check_file(text, size);
	free(text);
	return 0;
}
