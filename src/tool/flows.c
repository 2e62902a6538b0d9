/* SPDX-License-Identifier: BSD-3-Clause */
/* flows.c: `sluice flows`: the flows of several nodes in one table. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool/flows_merge.h"
#include "tool/flows_source.h"
#include "tool/tool.h"

static const char usage[] =
    "usage: sluice flows [--region] [-json] [-limit N] [-k] SOURCE...\n"
    "Puts the flows of one or several nodes into one table. A SOURCE is\n"
    "  https://derp1.example.com   a node (http, too); without a path, /debug/flows is asked for\n"
    "  unix:/run/sluice/debug      a node's socket of -debug-listen\n"
    "  FILE, or - for stdin        what a node answered to /debug/flows?format=json&limit=0\n"
    "\n"
    "  -region   the region as a whole: a packet is counted once, at the node where it enters\n"
    "  -json     JSON instead of a table\n"
    "  -limit N  the first N flows only, 0 for all (the default); sums are over all\n"
    "  -k        do not verify certificates\n";

#define REGION_HEAD "%-10s %-10s %-10s %-23s %12s %12s %12s %10s %10s\n"
#define REGION_BODY                                                                    \
	"%-10s %-10s %-10s %-23s %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %10" PRIu64 \
	" %10" PRIu64 "\n"
#define NODES_HEAD "%-10s %-10s %-10s %-10s %-10s %12s %12s %12s %10s %10s\n"
#define NODES_BODY                                                                           \
	"%-10s %-10s %-10s %-10s %-10s %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %10" PRIu64 \
	" %10" PRIu64 "\n"

/* How many deliverers a line of the table has room for. */
#define DELIVERERS_SHOWN 3
#define DELIVERERS_LEN (DELIVERERS_SHOWN * KEY_SHORT_LEN + 8)
/* One that has less than this part of a flow's packets is left out of the table: packets that are
 * on their way when a snapshot is taken look as if the node of entry had kept them. */
#define DELIVERER_PART 100

struct flows_options {
	bool region, json, insecure;
	uint64_t limit;
	const char *source[FLOWS_NODES_MAX];
	int nsources;
};

static bool is_flag(const char *arg, const char *name)
{
	if (*arg++ != '-')
		return false;
	return strcmp(*arg == '-' ? arg + 1 : arg, name) == 0;
}

static bool parse_limit(const char *text, uint64_t *limit)
{
	size_t len = strlen(text);

	if (len == 0 || len > 9 || strspn(text, "0123456789") != len)
		return false;
	*limit = strtoul(text, NULL, 10);
	return true;
}

static int bad(const char *what, const char *which)
{
	fprintf(stderr, "sluice flows: %s%s\n%s", what, which, usage);
	return 2;
}

/* One flag, perhaps with its value: how many arguments it took, -1 when it is wrong. */
static int parse_flag(struct flows_options *o, char **argv)
{
	const char *limit = NULL;
	int n = 1;

	if (is_flag(argv[0], "region"))
		o->region = true;
	else if (is_flag(argv[0], "json"))
		o->json = true;
	else if (is_flag(argv[0], "k"))
		o->insecure = true;
	else if (is_flag(argv[0], "limit") && argv[1])
		limit = argv[1], n = 2;
	else if (strncmp(argv[0], "-limit=", 7) == 0 || strncmp(argv[0], "--limit=", 8) == 0)
		limit = strchr(argv[0], '=') + 1;
	else
		return -1;
	return !limit || parse_limit(limit, &o->limit) ? n : -1;
}

/* 0, or an exit status behind the message. */
static int parse(struct flows_options *o, int argc, char **argv)
{
	bool flags = true;

	for (int i = 1; i < argc;) {
		int n = 1;

		if (flags && strcmp(argv[i], "--") == 0) {
			flags = false;
		} else if (flags && argv[i][0] == '-' && argv[i][1] != '\0') {
			n = parse_flag(o, argv + i);
			if (n < 0)
				return bad("a flag that is wrong or unknown: ", argv[i]);
		} else {
			if (o->nsources == FLOWS_NODES_MAX)
				return bad("too many sources, at ", argv[i]);
			o->source[o->nsources++] = argv[i];
		}
		i += n;
	}
	return o->nsources ? 0 : bad("no source is given", "");
}

static int read_all(struct flows_region *r, const struct flows_options *o)
{
	char err[FLOWS_ERR_LEN], name[512];

	for (int i = 0; i < o->nsources; i++) {
		json_t *doc = flows_source_read(o->source[i], o->insecure, err);
		bool ok = doc && flows_region_add(r, doc, err);

		json_decref(doc);
		flows_source_name(o->source[i], name, sizeof(name));
		if (!ok) {
			fprintf(stderr, "sluice flows: %s: %s\n", name, err);
			return 1;
		}
		if (r->node[i].rows < r->node[i].flows)
			fprintf(stderr,
			    "sluice flows: %s: has %" PRIu64 " of the node's %" PRIu64
			    " flows: ask for limit=0 and no keys\n",
			    name, r->node[i].rows, r->node[i].flows);
	}
	return 0;
}

static size_t shown(const struct flows_options *o, size_t n)
{
	return o->limit && o->limit < n ? (size_t)o->limit : n;
}

static void deliverers(
    const struct flows_region *r, const struct flows_merged *m, char out[DELIVERERS_LEN])
{
	const struct flows_delivery *d = &r->delivery[m->delivery];
	uint64_t sum = 0;
	size_t n = 0;

	for (uint32_t i = 0; i < m->ndeliveries; i++)
		sum += d[i].packets;
	out[0] = '\0';
	for (uint32_t i = 0; i < m->ndeliveries && d[i].packets > sum / DELIVERER_PART; i++) {
		char key[KEY_SHORT_LEN];

		if (i == DELIVERERS_SHOWN) {
			memcpy(out + n, ",..", 4);
			return;
		}
		key_short(&d[i].node, key);
		n += (size_t)snprintf(out + n, DELIVERERS_LEN - n, "%s%s", i ? "," : "", key);
	}
	if (n == 0)
		memcpy(out, "-", 2);
}

static void region_table(const struct flows_region *r, const struct flows_options *o)
{
	printf("number flows: %zu\n" REGION_HEAD, r->nmerged, "src", "dst", "entered at",
	    "delivered by", "bytes", "packets", "bps", "pps", "dropped");
	for (size_t i = 0; i < shown(o, r->nmerged); i++) {
		const struct flows_merged *m = &r->merged[i];
		char src[KEY_SHORT_LEN], dst[KEY_SHORT_LEN], in[KEY_SHORT_LEN];
		char out[DELIVERERS_LEN];

		key_short(&m->src, src);
		key_short(&m->dst, dst);
		key_short(&m->entered, in);
		deliverers(r, m, out);
		printf(REGION_BODY, src, dst, in, out, m->sum.bytes, m->sum.packets, m->bytes_per_s,
		    m->packets_per_s, m->sum.dropped_packets);
	}
}

static void nodes_table(const struct flows_region *r, const struct flows_options *o)
{
	printf("number flows: %zu\n" NODES_HEAD, r->nrows, "node", "src", "dst", "recv from",
	    "fwded to", "bytes", "packets", "bps", "pps", "dropped");
	for (size_t i = 0; i < shown(o, r->nrows); i++) {
		const struct flows_row *row = &r->row[i];
		char node[KEY_SHORT_LEN], src[KEY_SHORT_LEN], dst[KEY_SHORT_LEN];
		char from[KEY_SHORT_LEN], to[KEY_SHORT_LEN];

		key_short(&r->node[row->node].server, node);
		key_short(&row->src, src);
		key_short(&row->dst, dst);
		key_short(&row->recv_from, from);
		key_short(&row->fwded_to, to);
		printf(NODES_BODY, node, src, dst, from, to, row->sum.bytes, row->sum.packets,
		    row->bytes_per_s, row->packets_per_s, row->sum.dropped_packets);
	}
}

static void put_sum_line(const char *name, const struct flows_sum *s)
{
	printf("%s: %" PRIu64 " packets, %" PRIu64 " bytes; dropped %" PRIu64 " packets, %" PRIu64
	       " bytes\n",
	    name, s->packets, s->bytes, s->dropped_packets, s->dropped_bytes);
}

static void put_text(const struct flows_region *r, const struct flows_options *o)
{
	for (int i = 0; i < r->nnodes; i++) {
		const struct flows_node *n = &r->node[i];
		char key[KEY_SHORT_LEN], name[64];

		key_short(&n->server, key);
		snprintf(name, sizeof(name), "node %s at %s", key, n->time);
		put_sum_line(name, o->region ? &n->entered : &n->all);
	}
	if (o->region) {
		put_sum_line("region", &r->total);
		put_sum_line("of it in no flow any more", &r->other);
		for (int i = 0; i < r->nmissing; i++) {
			char key[KEY_TEXT_LEN];

			key_text(&r->missing[i], key);
			printf("not among the sources, so what enters there is not counted: %s\n",
			    key);
		}
		region_table(r, o);
	} else {
		nodes_table(r, o);
	}
}

static json_int_t number(uint64_t n)
{
	return (json_int_t)n;
}

static void print_json(const char *before, json_t *object)
{
	CHECK(object);
	fputs(before, stdout);
	/* What fails to be written is seen at the end. */
	(void)json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
	json_decref(object);
}

static json_t *sum_json(const struct flows_sum *s)
{
	return json_pack("{sI sI sI sI}", "packets", number(s->packets), "bytes", number(s->bytes),
	    "dropped_packets", number(s->dropped_packets), "dropped_bytes",
	    number(s->dropped_bytes));
}

/* As on the pages: "" for none. */
static const char *text_of(const struct key *k, char out[KEY_TEXT_LEN])
{
	if (key_is_zero(k))
		out[0] = '\0';
	else
		key_text(k, out);
	return out;
}

static json_t *merged_json(const struct flows_region *r, const struct flows_merged *m)
{
	char src[KEY_TEXT_LEN], dst[KEY_TEXT_LEN], in[KEY_TEXT_LEN], out[KEY_TEXT_LEN];
	json_t *delivered = json_array(), *o = sum_json(&m->sum);

	for (uint32_t i = 0; i < m->ndeliveries; i++) {
		const struct flows_delivery *d = &r->delivery[m->delivery + i];

		json_array_append_new(
		    delivered, json_pack("{ss sI}", "server", text_of(&d->node, out), "packets",
				   number(d->packets)));
	}
	json_object_update_new(
	    o, json_pack("{ss ss ss so sI sI}", "src", text_of(&m->src, src), "dst",
		   text_of(&m->dst, dst), "entered_at", text_of(&m->entered, in), "delivered_by",
		   delivered, "bytes_per_s", number(m->bytes_per_s), "packets_per_s",
		   number(m->packets_per_s)));
	return o;
}

static json_t *row_json(const struct flows_region *r, const struct flows_row *row)
{
	char node[KEY_TEXT_LEN], src[KEY_TEXT_LEN], dst[KEY_TEXT_LEN];
	char from[KEY_TEXT_LEN], to[KEY_TEXT_LEN];
	json_t *o = sum_json(&row->sum);

	json_object_update_new(
	    o, json_pack("{ss ss ss ss ss sI sI sI}", "node",
		   text_of(&r->node[row->node].server, node), "src", text_of(&row->src, src), "dst",
		   text_of(&row->dst, dst), "recv_from", text_of(&row->recv_from, from), "fwded_to",
		   text_of(&row->fwded_to, to), "fwded_packets", number(row->fwded_packets),
		   "bytes_per_s", number(row->bytes_per_s), "packets_per_s",
		   number(row->packets_per_s)));
	return o;
}

static json_t *node_json(const struct flows_node *n)
{
	char key[KEY_TEXT_LEN];

	return json_pack("{ss ss sf sI sI so so so}", "server", text_of(&n->server, key), "time",
	    n->time, "interval_s", n->interval_s, "flows", number(n->flows), "rows",
	    number(n->rows), "all", sum_json(&n->all), "entered", sum_json(&n->entered), "other",
	    sum_json(&n->other));
}

static void put_json(const struct flows_region *r, const struct flows_options *o)
{
	size_t n = shown(o, o->region ? r->nmerged : r->nrows);
	char key[KEY_TEXT_LEN];

	printf("{\"flows\":[");
	for (size_t i = 0; i < n; i++)
		print_json(i ? ",\n" : "\n",
		    o->region ? merged_json(r, &r->merged[i]) : row_json(r, &r->row[i]));
	print_json("],\n\"totals\":", sum_json(&r->total));
	print_json(",\n\"other\":", sum_json(&r->other));
	printf(",\n\"nodes\":[");
	for (int i = 0; i < r->nnodes; i++)
		print_json(i ? ",\n" : "\n", node_json(&r->node[i]));
	printf("],\n\"missing_nodes\":[");
	for (int i = 0; i < r->nmissing; i++)
		printf("%s\"%s\"", i ? "," : "", text_of(&r->missing[i], key));
	printf("]}\n");
}

int flows_main(int argc, char **argv)
{
	struct flows_options o = {0};
	struct flows_region r;
	int status;

	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (is_flag(argv[i], "h") || is_flag(argv[i], "help")) {
			fputs(usage, stdout);
			return 0;
		}
	}
	status = parse(&o, argc, argv);
	if (status)
		return status;
	flows_region_init(&r);
	status = read_all(&r, &o);
	if (status == 0) {
		flows_region_merge(&r);
		if (o.json)
			put_json(&r, &o);
		else
			put_text(&r, &o);
		if (fflush(stdout) != 0 || ferror(stdout)) {
			fputs("sluice flows: the output could not be written\n", stderr);
			status = 1;
		}
	}
	flows_region_fini(&r);
	return status;
}
