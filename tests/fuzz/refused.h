/* SPDX-License-Identifier: ISC */
/* The rules of verify.c for keys, written another way. */
#ifndef REFUSED_H
#define REFUSED_H

#include <stdbool.h>
#include <string.h>

/* Whether KEY is refused, as it can't be meant as a key. */
static inline bool
key_is_refused(const char *key)
{
	static const char word[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	    "abcdefghijklmnopqrstuvwxyz0123456789_";
	size_t n = strlen(key), name = strspn(key, word);

	if (strncmp(key, "\xef\xbb\xbf", 3) == 0)
		return true;
	if (n > 2 && strcspn(key + 1, "\r\n") < n - 2)
		return true;
	if (key[strspn(key, " \t")] == '\0')
		return true;
	if (key[0] == '#' && strpbrk(key, " \t") != NULL)
		return true;
	return strncmp(key, "PROTOCOL_HOOK_", 14) == 0 && key[name] == '=' &&
	    key[name + strspn(key + name, "=")] != '\0';
}

#endif
