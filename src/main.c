/* SPDX-License-Identifier: BSD-3-Clause */
/* main.c: which subcommand; what each does is elsewhere. */
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "base/log.h"
#include "daemon/options.h"
#include "daemon/serve.h"
#include "io/wipe.h"
#include "tool/tool.h"

static const struct subcommand {
	const char *name;
	const char *help; /* empty: hidden */
	int (*run)(int argc, char **argv);
} subcommands[] = {
#define X(name, help) {#name, help, name##_main},
    SUBCOMMANDS(X)
#undef X
};

static int print_version(void)
{
	puts("sluice " SLUICE_VERSION);
	return 0;
}

int version_main(int argc, char **argv)
{
	return print_version();
}

int help_main(int argc, char **argv)
{
	puts("sluice " SLUICE_VERSION ", a DERP relay\n\nusage: sluice [SUBCOMMAND] [FLAGS]\n");
	for (size_t i = 0; i < ARRAY_LEN(subcommands); i++)
		if (*subcommands[i].help)
			printf("  %-8s %s\n", subcommands[i].name, subcommands[i].help);
	puts("\n`sluice SUBCOMMAND -help` tells its flags. Under the name derper, the program "
	     "takes\n"
	     "derper's flags and nothing else.");
	return 0;
}

/* For the man page's build. */
int options_main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--man") == 0)
		options_man(stdout);
	else
		options_usage(stdout, false);
	return 0;
}

/* A value that is quoted in a message must not make two lines of it. */
static void print_error(const char *name, char *text)
{
	for (char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	fprintf(stderr, "%s: %s\n", name, text);
}

int serve_main(int argc, char **argv)
{
	const char *name = options_is_derper(argv[0]) ? "derper" : "sluice";
	struct options o;
	char err[512];
	int status = 2;

	wipe_init();
	switch (options_parse(&o, argc, argv, err, sizeof(err))) {
	case OPTIONS_BAD:
		print_error(name, err);
		break;
	case OPTIONS_HELP:
		if (!o.as_derper)
			help_main(0, NULL);
		printf("%sFlags of %s:\n", o.as_derper ? "" : "\n",
		    o.as_derper ? "derper" : "sluice serve");
		options_usage(stdout, o.as_derper);
		status = 0;
		break;
	case OPTIONS_VERSION:
		status = print_version();
		break;
	case OPTIONS_OK:
		log_set_level(o.log_level);
		status = serve_run(&o);
		options_free(&o);
		break;
	}
	return status;
}

int main(int argc, char **argv)
{
	if (sodium_init() < 0) {
		fputs("sluice: libsodium finds no source of random numbers\n", stderr);
		return 1;
	}
	if (argc < 2 || argv[1][0] == '-' || options_is_derper(argv[0]))
		return serve_main(argc, argv);
	for (size_t i = 0; i < ARRAY_LEN(subcommands); i++)
		if (strcmp(argv[1], subcommands[i].name) == 0)
			return subcommands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "sluice: there is no subcommand \"%s\": see sluice help\n", argv[1]);
	return 2;
}
