/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon/options.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/cpus.h"
#include "daemon/mesh_config.h"
#include "daemon/option_table.h"
#include "io/addr.h"

#define LISTEN_OF_DEV ":3340"
#define KEY_FILE_OF_ROOT "/var/lib/derper/derper.key"
#define WORKERS_MAX 64

static const struct unsupported {
	const char *flag, *off, *env;
	enum option_kind kind;
} unsupported[] = {
#define UNSUPPORTED(flag_, kind_, off_, env_) \
	{.flag = flag_, .off = off_, .env = env_, .kind = OPTION_##kind_},
#include "daemon/options.def"
};

/* --- names --- */

static const struct option_row *find_row(const char *name, bool as_derper)
{
	for (const struct option_row *r = option_rows; r < option_rows + OPTION_ROWS; r++)
		if (r->flag && strcmp(r->flag, name) == 0 && (r->derper || !as_derper))
			return r;
	return NULL;
}

static const struct unsupported *find_unsupported(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(unsupported); i++)
		if (strcmp(unsupported[i].flag, name) == 0)
			return &unsupported[i];
	return NULL;
}

/* Edits that lead from a to b (Levenshtein), for names of flags. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[64];
	size_t n = strlen(b);

	if (n >= ARRAY_LEN(row))
		return UINT32_MAX;
	for (unsigned j = 0; j <= n; j++)
		row[j] = j;
	for (unsigned i = 1; *a != '\0'; i++, a++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			unsigned replaced = diagonal + (*a != b[j - 1]);

			diagonal = row[j];
			row[j] = MIN(replaced, MIN(row[j], row[j - 1]) + 1);
		}
	}
	return row[n];
}

static void unknown_flag(const char *name, bool as_derper, char *err, size_t errlen)
{
	const char *nearest = NULL;
	unsigned best = (unsigned)MAX(strlen(name) / 3, 1) + 1;

	if (as_derper && find_row(name, false)) {
		snprintf(err, errlen,
		    "derper has no flag -%s: it is sluice's own, call this program sluice to use "
		    "it",
		    name);
		return;
	}
	for (const struct option_row *r = option_rows; r < option_rows + OPTION_ROWS; r++) {
		unsigned d = r->flag && (r->derper || !as_derper) ? distance(name, r->flag) : best;

		if (d < best) {
			best = d;
			nearest = r->flag;
		}
	}
	if (nearest)
		snprintf(err, errlen, "there is no flag -%s: did you mean -%s?", name, nearest);
	else
		snprintf(err, errlen, "there is no flag -%s: see -help for all", name);
}

/* --- derper's flags that we can't serve yet --- */

static bool is_off(const struct unsupported *u, const char *v)
{
	size_t len = strlen(v);
	bool on;

	if (u->kind == OPTION_BOOL) {
		if (!option_parse_bool(v, &on))
			return false;
		return !u->off || on == (strcmp(u->off, "true") == 0);
	}
	if (!u->off)
		return true;
	for (const char *p = u->off;; p++) {
		size_t n = strcspn(p, " ");

		if (n == len && memcmp(p, v, n) == 0)
			return true;
		p += n;
		if (*p == '\0')
			return false;
	}
}

static bool refuse_unsupported(
    const struct unsupported *u, const char *where, const char *v, char *err, size_t errlen)
{
	if (is_off(u, v))
		return true;
	snprintf(err, errlen,
	    "%s: derper's -%s is not supported by this version of sluice yet: leave it out", where,
	    u->flag);
	return false;
}

/* --- sources --- */

struct parse {
	struct options *o;
	bool seen[OPTION_ROWS]; /* given as a flag */
	bool help;
	char *err;
	size_t errlen;
};

static bool stray(struct parse *p, const char *before, const char *arg)
{
	bool on;

	if (before && before[0] == '-' && option_parse_bool(arg, &on))
		snprintf(p->err, p->errlen, "stray argument \"%s\": write %s=%s", arg, before, arg);
	else
		snprintf(
		    p->err, p->errlen, "stray argument \"%s\": flags begin with -, see -help", arg);
	return false;
}

/* One flag, arg[0]; arg[1] may be its value (NULL at the end). *used counts what was taken. */
static bool parse_flag(struct parse *p, char **arg, int *used)
{
	char name[64], where[80];
	const char *text = arg[0] + (arg[0][1] == '-' ? 2 : 1), *value = strchr(text, '=');
	size_t len = value ? (size_t)(value - text) : strlen(text);
	const struct option_row *r;
	const struct unsupported *u = NULL;
	bool is_bool;

	*used = 1;
	if (len == 0 || len >= sizeof(name) || text[0] == '-') {
		snprintf(p->err, p->errlen, "\"%s\" is no flag: see -help", arg[0]);
		return false;
	}
	memcpy(name, text, len);
	name[len] = '\0';
	snprintf(where, sizeof(where), "-%s", name);
	if (strcmp(name, "help") == 0 || strcmp(name, "h") == 0) {
		p->help = true;
		return true;
	}
	r = find_row(name, p->o->as_derper);
	if (!r && !(u = find_unsupported(name))) {
		unknown_flag(name, p->o->as_derper, p->err, p->errlen);
		return false;
	}
	is_bool = (r ? r->kind : u->kind) == OPTION_BOOL;
	if (value) {
		value++;
	} else if (is_bool) {
		value = "true";
	} else if (arg[1]) {
		value = arg[1];
		*used = 2;
	} else {
		snprintf(p->err, p->errlen, "%s needs a value: write %s VALUE or %s=VALUE", where,
		    where, where);
		return false;
	}
	if (!r)
		return refuse_unsupported(u, where, value, p->err, p->errlen);
	p->seen[r - option_rows] = true;
	return option_set(p->o, r, where, value, p->err, p->errlen);
}

static bool parse_flags(struct parse *p, int argc, char **argv)
{
	int i = 1, used;

	while (i < argc && !p->help) {
		if (strcmp(argv[i], "--") == 0)
			return i + 1 == argc || stray(p, NULL, argv[i + 1]);
		if (argv[i][0] != '-' || argv[i][1] == '\0')
			return stray(p, i > 1 ? argv[i - 1] : NULL, argv[i]);
		if (!parse_flag(p, argv + i, &used))
			return false;
		i += used;
	}
	return true;
}

/* The first of two variables that is set and not empty. */
static const char *environment(const char *first, const char *second, char where[OPTION_ENV_LEN])
{
	const char *names[] = {first, second};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *v = names[i][0] != '\0' ? getenv(names[i]) : NULL;

		if (v && *v != '\0') {
			snprintf(where, OPTION_ENV_LEN, "%s", names[i]);
			return v;
		}
	}
	return NULL;
}

static bool parse_environment(struct parse *p)
{
	char own[OPTION_ENV_LEN], where[OPTION_ENV_LEN];
	const char *v;

	for (size_t i = 0; i < OPTION_ROWS; i++) {
		const struct option_row *r = &option_rows[i];

		if (r->section || p->seen[i])
			continue;
		option_env_name(r, own);
		v = environment(own, r->env, where);
		if (v && !option_set(p->o, r, where, v, p->err, p->errlen))
			return false;
	}
	for (size_t i = 0; i < ARRAY_LEN(unsupported); i++) {
		const struct unsupported *u = &unsupported[i];

		option_flag_env(u->flag, own);
		v = environment(own, u->env, where);
		if (v && !refuse_unsupported(u, where, v, p->err, p->errlen))
			return false;
	}
	return true;
}

static void set_presets(struct options *o)
{
	for (const struct option_row *r = option_rows; r < option_rows + OPTION_ROWS; r++) {
		char err[256];

		if (!r->section && !option_set(o, r, "the default", r->preset, err, sizeof(err)))
			check_failed(__FILE__, __LINE__, err);
	}
}

/* --- what follows from the values --- */

/* As Go's os.UserCacheDir says. */
static void preset_certdir(struct options *o)
{
	const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	char path[4096];

	if (base && *base == '/')
		snprintf(path, sizeof(path), "%s/tailscale/derper-certs", base);
	else if ((!base || *base == '\0') && home && *home != '\0')
		snprintf(path, sizeof(path), "%s/.cache/tailscale/derper-certs", home);
	else
		return;
	option_set_text(&o->certdir, path);
}

static bool conclude(struct options *o, char *err, size_t errlen)
{
	char host[ADDR_HOST_LEN], why[128];
	struct addr ip;
	uint16_t port;

	if (mesh_check_lists(o, err, errlen) < 0)
		return false;
	if (o->dev) {
		option_set_text(&o->listen, LISTEN_OF_DEV);
		option_set_text(&o->key_file, "");
	} else if (o->key_file[0] == '\0' && getuid() == 0) {
		option_set_text(&o->key_file, KEY_FILE_OF_ROOT);
	} else if (o->key_file[0] == '\0') {
		snprintf(err, errlen,
		    "-c is missing: name the file that keeps the server's private key (it is made "
		    "when it doesn't exist)");
		return false;
	}
	CHECK(addr_split(o->listen, host, &port, why, sizeof(why)) == 0);
	o->tls = port == 443 || strcmp(o->certmode, "manual") == 0;
	o->hostname_is_ip = addr_parse_ip(o->hostname, &ip);
	if (!o->tls) {
		o->http_port = -1;
		return true;
	}
	if (strcmp(o->certmode, "manual") != 0) {
		snprintf(err, errlen,
		    "-certmode %s is not supported by this version of sluice yet: use -certmode "
		    "manual "
		    "with -hostname and -certdir, or another port than 443 for plain HTTP",
		    o->certmode);
		return false;
	}
	if (o->certdir[0] == '\0')
		preset_certdir(o);
	if (o->certdir[0] == '\0') {
		snprintf(err, errlen, "-certdir is missing: name the directory of the certificate");
		return false;
	}
	return true;
}

bool options_is_derper(const char *argv0)
{
	const char *slash = argv0 ? strrchr(argv0, '/') : NULL;

	return argv0 && strcmp(slash ? slash + 1 : argv0, "derper") == 0;
}

enum options_verdict options_parse(
    struct options *o, int argc, char **argv, char *err, size_t errlen)
{
	struct parse p = {.o = o, .err = err, .errlen = errlen};
	enum options_verdict verdict = OPTIONS_OK;

	memset(o, 0, sizeof(*o));
	o->as_derper = options_is_derper(argv[0]);
	set_presets(o);
	if (!parse_flags(&p, argc, argv))
		verdict = OPTIONS_BAD;
	else if (p.help)
		verdict = OPTIONS_HELP;
	else if (o->version)
		verdict = OPTIONS_VERSION;
	else if (!parse_environment(&p) || !conclude(o, err, errlen))
		verdict = OPTIONS_BAD;
	if (verdict != OPTIONS_OK) {
		bool as_derper = o->as_derper;

		options_free(o);
		o->as_derper = as_derper;
	}
	return verdict;
}

void options_free(struct options *o)
{
	for (const struct option_row *r = option_rows; r < option_rows + OPTION_ROWS; r++)
		if (!r->section && r->kind == OPTION_TEXT)
			free(*(char **)(void *)((char *)o + r->offset));
	memset(o, 0, sizeof(*o));
}

int options_workers(const struct options *o)
{
	return MIN(o->workers > 0 ? o->workers : cpus_allowed(), WORKERS_MAX);
}
