/* SPDX-License-Identifier: BSD-3-Clause */
/* keygen.c: `sluice keygen`: a key file made ahead of the first start, and its public key. */
#include <stdio.h>
#include <string.h>

#include "daemon/keyfile.h"
#include "tool/tool.h"

static const char usage[] =
    "usage: sluice keygen -c FILE\n"
    "Makes FILE with a new private key for a relay, and prints the public key. A file that\n"
    "exists is never replaced.\n";

static int bad_usage(void)
{
	fputs(usage, stderr);
	return 2;
}

/* The flag -c, as for serve; -o because it is the output here. */
static const char *file_argument(int argc, char **argv)
{
	static const char *const names[] = {"-c", "--c", "-o", "--o"};

	for (size_t i = 0; argc > 1 && i < ARRAY_LEN(names); i++) {
		size_t len = strlen(names[i]);

		if (argc == 3 && strcmp(argv[1], names[i]) == 0)
			return argv[2];
		if (argc == 2 && strncmp(argv[1], names[i], len) == 0 && argv[1][len] == '=')
			return argv[1] + len + 1;
	}
	return NULL;
}

int keygen_main(int argc, char **argv)
{
	const char *path = file_argument(argc, argv);
	char err[512], text[KEY_TEXT_LEN];
	struct login_keys k;

	if (argc == 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "-help") == 0 ||
			     strcmp(argv[1], "--help") == 0)) {
		fputs(usage, stdout);
		return 0;
	}
	if (!path || *path == '\0')
		return bad_usage();
	if (keyfile_create(path, &k, err, sizeof(err)) != 0) {
		fprintf(stderr, "sluice keygen: %s\n", err);
		return 1;
	}
	key_text(&k.public, text);
	login_keys_wipe(&k);
	puts(text);
	return 0;
}
