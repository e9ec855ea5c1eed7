/* SPDX-License-Identifier: ISC */
/*
 * sign and verify: the signature of a body, as Protocol makes it.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../config.h"
#include "../util.h"
#include "../verify.h"
#include "command.h"
#include "service.h"

/*
 * Reads the file PATH; standard input if that is NULL or "-".  The caller frees
 * the body.  NULL if it can't be read, and why was printed.
 */
static uint8_t *
read_body_file(const char *path, size_t *len)
{
	int fd = STDIN_FILENO;
	uint8_t *body;

	if (path == NULL || strcmp(path, "-") == 0)
		path = "standard input";
	else if ((fd = open(path, O_RDONLY | O_CLOEXEC)) == -1) {
		warn("%s", path);
		return NULL;
	}
	if ((body = read_all(fd, BODY_MAX, len)) == NULL)
		warn("%s", path);
	if (fd != STDIN_FILENO)
		close(fd);
	return body;
}

/* Whether there is a key; if not, prints why. */
static bool
require_key(const struct config *cfg, const struct service *service)
{
	if (cfg->key_error[0] == '\0')
		return true;
	if (service->secret_file != NULL)
		warnx("%s: %s", service->secret_file, cfg->key_error);
	else
		warnx("%s", cfg->key_error);
	return false;
}

int
sign_main(struct config *cfg, const struct arguments *a)
{
	uint8_t signature[DIGEST_SIZE], *body;
	char hex[DIGEST_HEX + 1];
	size_t len;

	if (!require_key(cfg, a->service))
		return 1;
	if ((body = read_body_file(a->operand[0], &len)) == NULL)
		return 1;
	keys_sign(&cfg->keys, signature, body, len);
	free(body);
	hex_format(hex, signature);
	puts(hex);
	return 0;
}

int
verify_main(struct config *cfg, const struct arguments *a)
{
	uint8_t signature[DIGEST_SIZE], *body;
	unsigned int key;
	size_t len;

	if (!require_key(cfg, a->service))
		return 1;
	if (signature_parse(signature, a->operand[0]) == -1) {
		warnx("the signature is not 64 hex digits");
		return 1;
	}
	if ((body = read_body_file(a->operand[1], &len)) == NULL)
		return 1;
	key = keys_verify(&cfg->keys, signature, body, len);
	free(body);
	if (key == 0)
		warnx("none of the keys made this signature");
	return key == 0;
}
