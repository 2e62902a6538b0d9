/* SPDX-License-Identifier: BSD-3-Clause */
/* usage.c: the table of options as --help and as part of the man page. */
#include <stdio.h>
#include <string.h>

#include "daemon/option_table.h"
#include "daemon/options.h"

#define WIDTH 80
#define INDENT 8

/* Prints text in lines of WIDTH; *column is where the last line ended. */
static void print_wrapped(FILE *out, const char *text, int *column)
{
	while (*text != '\0') {
		int len = (int)strcspn(text, " ");

		if (*column > 0 && *column + 1 + len > WIDTH) {
			fputc('\n', out);
			*column = 0;
		}
		if (*column == 0)
			*column += fprintf(out, "%*s%.*s", INDENT, "", len, text);
		else
			*column += fprintf(out, " %.*s", len, text);
		text += len;
		text += strspn(text, " ");
	}
}

/* "default X; also SLUICE_Y or DERP_Z", or as much of it as there is. */
static void describe_sources(const struct option_row *r, char *out, size_t outlen)
{
	char own[OPTION_ENV_LEN];
	const char *also = strcmp(r->env, "-") == 0 ? "" : r->env;
	bool has_preset = r->preset[0] != '\0' && strcmp(r->preset, "false") != 0;

	option_env_name(r, own);
	snprintf(out, outlen, "%s%s%s%s%s%s", has_preset ? "default " : "",
	    has_preset ? r->preset : "", has_preset && own[0] != '\0' ? "; " : "", own,
	    own[0] != '\0' && also[0] != '\0' ? ", " : "", own[0] != '\0' ? also : "");
}

void options_usage(FILE *out, bool as_derper)
{
	const char *title = NULL;

	fputs("Flags may begin with - or --. A value follows as -flag=value or -flag value,\n"
	      "that of a true/false flag as -flag=false only. In parentheses: the default,\n"
	      "and names in the environment that count where the flag isn't given.\n",
	    out);
	for (const struct option_row *r = option_rows; r->section || r->help; r++) {
		char sources[256];
		int column = 0;

		if (r->section) {
			title = r->section;
			continue;
		}
		if (as_derper && !r->derper)
			continue;
		if (title)
			fprintf(out, "\n%s\n", title);
		title = NULL;
		if (r->flag)
			fprintf(out, "  -%s%s%s\n", r->flag, *r->placeholder ? " " : "",
			    r->placeholder);
		else
			fprintf(out, "  %s=%s\n", r->env, r->placeholder);
		print_wrapped(out, r->help, &column);
		describe_sources(r, sources, sizeof(sources));
		if (sources[0] != '\0') {
			char text[sizeof(sources) + 2];

			snprintf(text, sizeof(text), "(%s)", sources);
			print_wrapped(out, text, &column);
		}
		fputc('\n', out);
	}
}

/* Text for roff: dashes that can be copied, nothing that it takes for a request. */
static void print_roff(FILE *out, const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", out);
	for (; *text != '\0'; text++) {
		if (*text == '-' || *text == '\\')
			fputc('\\', out);
		fputc(*text == '\\' ? 'e' : *text, out);
	}
}

void options_man(FILE *out)
{
	fputs(".SH OPTIONS\n", out);
	for (const struct option_row *r = option_rows; r->section || r->help; r++) {
		char sources[256];

		if (r->section) {
			fprintf(out, ".SS %s\n", r->section);
			continue;
		}
		fputs(r->flag ? ".TP\n.BI \\-" : ".TP\n.BI ", out);
		print_roff(out, r->flag ? r->flag : r->env);
		if (!r->flag)
			fputc('=', out);
		if (*r->placeholder)
			fprintf(out, r->flag ? " \" %s\"" : " %s", r->placeholder);
		fputc('\n', out);
		print_roff(out, r->help);
		fputs(".\n", out);
		describe_sources(r, sources, sizeof(sources));
		if (sources[0] != '\0') {
			fputs("(", out);
			print_roff(out, sources);
			fputs(")\n", out);
		}
	}
}
