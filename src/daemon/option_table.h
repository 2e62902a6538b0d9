/* SPDX-License-Identifier: BSD-3-Clause */
/* option_table.h: options.def as an array, for those who read (options.c) and print it (usage.c).
 */
#ifndef SLUICE_DAEMON_OPTION_TABLE_H
#define SLUICE_DAEMON_OPTION_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/options.h"

enum option_kind {
	OPTION_BOOL,
	OPTION_INT,
	OPTION_TIME,
	OPTION_TEXT,
	OPTION_LEVEL,
};

struct option_row {
	const char *section; /* a title, and nothing else is set */
	const char *flag;    /* NULL: in the environment only */
	const char *preset;  /* the default, as text */
	const char *env;     /* another name in the environment or "" */
	const char *placeholder;
	const char *help;
	/* Says what is wrong with a text; NULL when nothing is. */
	const char *(*check)(const char *value);
	int64_t min, max;
	size_t offset; /* of the field in struct options */
	enum option_kind kind;
	bool derper; /* derper has it too */
};

enum {
#define SECTION(title) OPTION_SECTION_AT(__LINE__),
#define OPTION_SECTION_AT(line) OPTION_SECTION_PASTE(line)
#define OPTION_SECTION_PASTE(line) OPTION_ROW_section_##line
#define OPTION(field, ...) OPTION_ROW_##field,
#define ENVIRONMENT(field, ...) OPTION_ROW_##field,
#include "daemon/options.def"
	OPTION_ROWS,
};

/* Behind the rows comes one that has neither section nor help. */
extern const struct option_row option_rows[OPTION_ROWS + 1];

#define OPTION_ENV_LEN 64
/* SLUICE_<FLAG>, in capitals and with underscores. */
void option_flag_env(const char *flag, char out[OPTION_ENV_LEN]);
/* A row's name of that kind; empty when it has none. */
void option_env_name(const struct option_row *r, char out[OPTION_ENV_LEN]);

/* Gives a row's field its value, checked. False with a line in err, in which `where` names the flag
 * or variable that v was found in. */
bool option_set(struct options *o, const struct option_row *r, const char *where, const char *v,
    char *err, size_t errlen) must_use;
/* Replaces a TEXT by a copy of v. */
void option_set_text(char **field, const char *v);
/* Go's strconv.ParseBool. */
bool option_parse_bool(const char *v, bool *out) must_use;

#endif
