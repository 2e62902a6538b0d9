/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * options.h: what the operator asked for.
 *
 * Everything comes from the table in options.def. A value is looked for as a flag, then as
 * SLUICE_<FLAG> in the environment (dashes become underscores), then under the name that derper's
 * container images or upstream use, then as the default; an empty variable counts as not set. Flags
 * have Go's syntax. Filled once by main before other threads start, and not changed after that.
 */
#ifndef SLUICE_DAEMON_OPTIONS_H
#define SLUICE_DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/check.h"
#include "base/log.h"

#define OPTION_TYPE_BOOL bool
#define OPTION_TYPE_INT int
#define OPTION_TYPE_TIME int64_t
#define OPTION_TYPE_TEXT char *
#define OPTION_TYPE_LEVEL enum log_level

struct options {
	/* One field a row; texts are owned and never NULL, times are in ms. */
#define OPTION(field, kind, ...) OPTION_TYPE_##kind field;
#define ENVIRONMENT(field, ...) char *field;
#include "daemon/options.def"

	/* What follows from them. */
	bool tls; /* the main listener speaks TLS; else http_port is -1 */
	bool hostname_is_ip;
	bool as_derper; /* invoked under the name derper */
};

enum options_verdict {
	OPTIONS_BAD, /* err says in one line what to do; exit with status 2 */
	OPTIONS_OK,
	OPTIONS_HELP,    /* print options_usage and exit with status 0 */
	OPTIONS_VERSION, /* print the version and exit with status 0 */
};

/*
 * Fills o from argv[1] on and from the environment. argv[0] decides whether only derper's flags
 * are known. After anything but OPTIONS_OK, o holds nothing to be freed (and may be freed).
 * With -dev, listen is ":3340" and key_file is empty: draw a throwaway key.
 */
enum options_verdict options_parse(
    struct options *o, int argc, char **argv, char *err, size_t errlen) must_use;
void options_free(struct options *o);
/* True when a program's path ends in the name derper. */
bool options_is_derper(const char *argv0);

/* The flags with their help, for --help; derper's alone when as_derper. */
void options_usage(FILE *out, bool as_derper);
/* The same as the OPTIONS and ENVIRONMENT sections of the man page, in roff (man macros). */
void options_man(FILE *out);

/* The number of workers: what was asked for, or one per CPU that we may use, 1 to 64. */
int options_workers(const struct options *o);

#endif
