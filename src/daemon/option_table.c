/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon/option_table.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/mesh_config.h"
#include "io/addr.h"
#include "io/congestion.h"

/* --- what must hold of texts --- */

#define check_none NULL

static const char *check_listen(const char *v)
{
	static char err[128];
	char host[ADDR_HOST_LEN];
	uint16_t port;

	return addr_split(v, host, &port, err, sizeof(err)) == 0 ? NULL : err;
}

static const char *check_debug_listen(const char *v)
{
	const char *path = addr_unix_path(v);
	struct addr a;

	if (path)
		return addr_set_unix(&a, path) ? NULL : "the path must have 1 to 107 characters";
	return *v == '\0' ? NULL : check_listen(v);
}

static const char *check_hostname(const char *v)
{
	bool some = false;

	for (const char *p = v; *p != '\0'; p++) {
		if (*p == '/' || isspace((unsigned char)*p))
			return "it must be a host name or an IP address, without a scheme or a "
			       "path";
		some |= isalnum((unsigned char)*p) != 0;
	}
	return some ? NULL : "it must be a host name or an IP address";
}

/* Where nothing speaks TLS any mode that derper has will do; see conclude() in options.c. */
static const char *check_certmode(const char *v)
{
	if (strcmp(v, "manual") == 0 || strcmp(v, "letsencrypt") == 0 || strcmp(v, "gcp") == 0)
		return NULL;
	return "it must be manual (or letsencrypt or gcp, which this version can't do yet)";
}

static const char *check_tls_engine(const char *v)
{
	if (strcmp(v, "auto") == 0 || strcmp(v, "sluice") == 0 || strcmp(v, "openssl") == 0)
		return NULL;
	return "it must be auto, sluice or openssl";
}

static const char *check_queue(const char *v)
{
	return strcmp(v, "fair") == 0 || strcmp(v, "fifo") == 0 ? NULL : "it must be fair or fifo";
}

/* Whether the kernel has it is found out at the start: it may come with a module. */
static const char *check_congestion(const char *v)
{
	return *v && strlen(v) < CONGESTION_NAME_LEN &&
		       strspn(v, "abcdefghijklmnopqrstuvwxyz0123456789_-") == strlen(v)
		   ? NULL
		   : "it must be auto or a name such as cubic or bbr, as "
		     "net.ipv4.tcp_available_congestion_control has it";
}

static const char *check_home(const char *v)
{
	if (*v == '\0' || strcmp(v, "blank") == 0 || strncmp(v, "http://", 7) == 0 ||
	    strncmp(v, "https://", 8) == 0)
		return NULL;
	return "it must be empty, \"blank\", or a URL that begins with http:// or https://";
}

static const char *check_cidrs(const char *v)
{
	static char err[256];
	struct addr_cidrs c;

	return addr_cidrs_parse(&c, v, err, sizeof(err)) == 0 ? NULL : err;
}

static const char *check_mesh_with(const char *v)
{
	return mesh_check_with(v);
}

/* --- the table --- */

enum whose {
	OURS = false,
	DERPER = true,
};

const struct option_row option_rows[] = {
/* clang-format off */
#define SECTION(title) {.section = title},
#define OPTION(field, kind_, flag_, preset_, min_, max_, test, env_, whose, placeholder_, help_) \
	{.flag = flag_, .preset = preset_, .env = env_, .placeholder = placeholder_, .help = help_, \
	 .check = check_##test, .min = min_, .max = max_, .offset = offsetof(struct options, field), \
	 .kind = OPTION_##kind_, .derper = whose},
#define ENVIRONMENT(field, test, env_, placeholder_, help_) \
	{.preset = "", .env = env_, .placeholder = placeholder_, .help = help_, \
	 .check = check_##test, .offset = offsetof(struct options, field), .kind = OPTION_TEXT, \
	 .derper = true},
#include "daemon/options.def"
	{0},
    /* clang-format on */
};

_Static_assert(ARRAY_LEN(option_rows) == OPTION_ROWS + 1, "the last row ends the table");

void option_flag_env(const char *flag, char out[OPTION_ENV_LEN])
{
	snprintf(out, OPTION_ENV_LEN, "SLUICE_%s", flag);
	for (char *p = out; *p != '\0'; p++)
		*p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
}

void option_env_name(const struct option_row *r, char out[OPTION_ENV_LEN])
{
	if (r->flag && strcmp(r->env, "-") != 0)
		option_flag_env(r->flag, out);
	else
		out[0] = '\0';
}

/* --- values --- */

/* Go's strconv.ParseBool. */
bool option_parse_bool(const char *v, bool *out)
{
	static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"};
	static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False"};

	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		if (strcmp(v, yes[i]) == 0 || strcmp(v, no[i]) == 0) {
			*out = strcmp(v, yes[i]) == 0;
			return true;
		}
	}
	return false;
}

static bool parse_int(const char *v, const struct option_row *r, int *out)
{
	char *end;
	long long n;

	if (!isdigit((unsigned char)*v) && *v != '-' && *v != '+')
		return false;
	errno = 0;
	n = strtoll(v, &end, 0);
	if (end == v || *end != '\0' || errno != 0 || n < r->min || n > r->max)
		return false;
	*out = (int)n;
	return true;
}

/* Go's time.ParseDuration, to milliseconds; what is above zero stays above it. */
static bool parse_time(const char *v, const struct option_row *r, int64_t *out)
{
	static const struct {
		const char *name;
		double ms;
	} units[] = {{"ns", 1e-6}, {"us", 1e-3}, {"\u00b5s", 1e-3}, {"\u03bcs", 1e-3}, {"ms", 1},
	    {"s", 1e3}, {"m", 60e3}, {"h", 3600e3}};
	double sum = 0;
	bool negative = *v == '-';

	if (*v == '-' || *v == '+')
		v++;
	if (*v == '\0')
		return false;
	if (strcmp(v, "0") == 0)
		v++;
	while (*v != '\0') {
		char number[32];
		size_t len = strspn(v, "0123456789."), unit, i;
		char *end;

		if (len == 0 || len >= sizeof(number))
			return false;
		memcpy(number, v, len);
		number[len] = '\0';
		v += len;
		unit = strcspn(v, "0123456789.");
		for (i = 0; i < ARRAY_LEN(units); i++)
			if (strlen(units[i].name) == unit && memcmp(units[i].name, v, unit) == 0)
				break;
		if (i == ARRAY_LEN(units))
			return false;
		v += unit;
		sum += strtod(number, &end) * units[i].ms;
		if (*end != '\0')
			return false;
	}
	if (sum > (double)MAX(r->max, -r->min))
		return false;
	*out = (int64_t)sum;
	if (sum - (double)*out > 1e-9)
		++*out;
	if (negative)
		*out = -*out;
	return *out >= r->min && *out <= r->max;
}

static void describe_range(const struct option_row *r, char *out, size_t outlen)
{
	if (r->kind == OPTION_INT)
		snprintf(out, outlen, "it must be a whole number from %lld to %lld",
		    (long long)r->min, (long long)r->max);
	else
		snprintf(out, outlen,
		    "it must be a time such as 250ms, 15s or 1m30s, at least %llds and at most "
		    "%lldh",
		    (long long)r->min / 1000, (long long)r->max / 3600000);
}

void option_set_text(char **field, const char *v)
{
	char *copy = must_strdup(v);

	free(*field);
	*field = copy;
}

/* Gives a row's field its value; `where` names the flag or variable it was found in. */
bool option_set(struct options *o, const struct option_row *r, const char *where, const char *v,
    char *err, size_t errlen)
{
	void *field = (char *)o + r->offset;
	char range[128];
	const char *wrong = NULL;

	switch (r->kind) {
	case OPTION_BOOL:
		if (!option_parse_bool(v, field))
			wrong = "it must be true or false";
		break;
	case OPTION_INT:
	case OPTION_TIME:
		if (r->kind == OPTION_INT ? !parse_int(v, r, field) : !parse_time(v, r, field)) {
			describe_range(r, range, sizeof(range));
			wrong = range;
		}
		break;
	case OPTION_TEXT:
		wrong = r->check ? r->check(v) : NULL;
		option_set_text(field, v);
		break;
	case OPTION_LEVEL:
		if (!log_level_parse(v, field))
			wrong = "it must be one of error, warn, info, debug";
		break;
	}
	if (wrong)
		snprintf(err, errlen, "bad value \"%s\" for %s: %s", v, where, wrong);
	return !wrong;
}
