/* SPDX-License-Identifier: BSD-3-Clause */
#include "web/varz.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "web/meshpage.h"

static void put_family(struct http_out *o, const char *name, const char *type, const char *help)
{
	http_putf(o, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_value(struct http_out *o, const char *name, const char *labels, uint64_t value)
{
	if (labels)
		http_putf(o, "%s{%s} %" PRIu64 "\n", name, labels, value);
	else
		http_putf(o, "%s %" PRIu64 "\n", name, value);
}

static void put_single(
    struct http_out *o, const char *name, const char *type, const char *help, uint64_t value)
{
	put_family(o, name, type, help);
	put_value(o, name, NULL, value);
}

static void put_counters(struct http_out *o, const struct counters *sum)
{
	static const struct {
		const char *type, *name, *labels, *help;
	} table[COUNTER_COUNT] = {
#define X(id, type, name, labels, help) [id] = {type, name, labels, help},
	    COUNTERS(X)
#undef X
	};

	for (int i = 0; i < COUNTER_COUNT; i++) {
		uint64_t value = sum->v[i];

		if (i == 0 || strcmp(table[i].name, table[i - 1].name) != 0)
			put_family(o, table[i].name, table[i].type, table[i].help);
		/* What one thread took away may be seen before what another one added. */
		if (strcmp(table[i].type, "gauge") == 0 && (int64_t)value < 0)
			value = 0;
		put_value(o, table[i].name, table[i].labels, value);
	}
}

static void put_drops(struct http_out *o, const char *name, const char *help,
    const uint64_t value[DROP_REASON_COUNT][KIND_COUNT])
{
	put_family(o, name, "counter", help);
	for (int r = 0; r < DROP_REASON_COUNT; r++)
		for (int k = 0; k < KIND_COUNT; k++)
			http_putf(o, "%s{reason=\"%s\",kind=\"%s\"} %" PRIu64 "\n", name,
			    drop_reason_label[r], packet_kind_label[k], value[r][k]);
}

static void put_histogram(
    struct http_out *o, const struct histogram_info *h, const struct histogram_counts *counts)
{
	uint64_t n = 0;

	put_family(o, h->name, "histogram", h->help);
	for (uint32_t b = 0; b < h->n; b++) {
		n += counts->bucket[b];
		http_putf(o, "%s_bucket{le=\"%u\"} %" PRIu64 "\n", h->name, h->bound[b], n);
	}
	n += counts->bucket[h->n];
	http_putf(o, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", h->name, n);
	http_putf(
	    o, "%s_sum %" PRIu64 "\n%s_count %" PRIu64 "\n", h->name, counts->sum, h->name, n);
}

static void put_closed(struct http_out *o, const struct counters *sum)
{
	put_family(o, "sluice_conns_closed_total", "counter", "Connections that ended, by reason");
	for (int r = 0; r < CLOSE_REASON_COUNT; r++)
		http_putf(o, "sluice_conns_closed_total{reason=\"%s\"} %" PRIu64 "\n",
		    close_reason_label[r], sum->closed[r]);
}

static void put_stun(struct http_out *o, const struct stun_stats *s)
{
	put_family(
	    o, "stun_requests", "counter", "STUN datagrams and reads, by what became of them");
#define X(name, help) \
	put_value(o, "stun_requests", "disposition=\"" #name "\"", tally_read(&s->name));
	STUN_DISPOSITIONS(X)
#undef X
	put_family(o, "stun_addrfamily", "counter", "STUN requests, by the client's address");
#define X(name, help) put_value(o, "stun_addrfamily", "family=\"" #name "\"", tally_read(&s->name));
	STUN_FAMILIES(X)
#undef X
	put_single(o, "stun_no_local_addr", "counter",
	    "STUN requests answered without knowing which address was asked",
	    tally_read(&s->no_local_addr));
}

static void put_queue_delay(struct http_out *o, const struct site_config *c)
{
	uint64_t sum = 0;

	for (int i = 0; i < c->nqueue_delay; i++)
		sum += tally_read(c->queue_delay_us[i]);
	put_family(o, "derp_average_queue_duration_ms", "gauge",
	    "Moving average of how long packets wait to be sent, mean over the workers");
	http_putf(o, "derp_average_queue_duration_ms %.3f\n",
	    c->nqueue_delay ? (double)sum / c->nqueue_delay / 1000.0 : 0.0);
}

/* 0: not known, as in a sandbox without /proc. */
static uint64_t resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long long pages = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%*u %llu", &pages) != 1)
		pages = 0;
	fclose(f);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* 0: not known. */
static uint64_t open_files(void)
{
	struct stat st;
	uint64_t n = 0;
	DIR *d;

	/* Linux 6.2 says it at once; before, a relay with many clients has to list them all. */
	if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
		return (uint64_t)st.st_size;
	d = opendir("/proc/self/fd");
	if (!d)
		return 0;
	for (const struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n - 1; /* the directory's own */
}

/* A label's value, as the format has it escaped. */
static void put_label(struct http_out *o, const char *name, const char *value)
{
	http_putf(o, "%s=\"", name);
	for (; *value; value++) {
		if (*value == '\n')
			http_putf(o, "\\n");
		else
			http_putf(o, *value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
	}
	http_putf(o, "\"");
}

static void put_process(
    struct http_out *o, const struct site_config *c, uint64_t start_wall_ms, uint64_t now_ms)
{
	uint64_t files = open_files(), resident = resident_bytes();

	if (files)
		put_single(
		    o, "derp_current_file_descriptors", "gauge", "Open file descriptors", files);
	if (resident)
		put_single(
		    o, "process_resident_memory_bytes", "gauge", "Resident memory", resident);
	put_single(o, "process_start_unix_time", "gauge", "When the process began, Unix time",
	    start_wall_ms / 1000);
	put_single(o, "uptime_sec", "counter", "Seconds since the process began",
	    (now_ms - c->start_ms) / 1000);
	put_family(o, "version", "gauge", "What is running");
	http_putf(o, "version{");
	put_label(o, "version", c->version);
	http_putf(o, ",");
	put_label(o, "binary", "sluice");
	http_putf(o, "} 1\n");
}

/* A link to the server itself, by its own name in -mesh-with, is no link: nothing to alert of. */
static bool link_counts(const struct mesh_link *l)
{
	return l->state != MESH_SELF;
}

/* A sample's name and labels, up to the value. */
static void put_link(
    struct http_out *o, const struct mesh *m, int link, const char *name, const char *direction)
{
	char label[MESH_NAME_LEN];

	mesh_name(m, link, label);
	http_putf(o, "%s{", name);
	put_label(o, "link", label);
	if (direction)
		http_putf(o, ",direction=\"%s\"", direction);
	http_putf(o, "} ");
}

enum link_metric { LINK_UP, LINK_PEERS, LINK_DIALS };

static uint64_t link_value(const struct site_config *c, int link, enum link_metric what)
{
	const struct mesh_link *l = &c->mesh->link[link];

	switch (what) {
	case LINK_UP:
		return l->state == MESH_UP;
	case LINK_PEERS:
		return mesh_peers(c->mesh, c->workers, link);
	case LINK_DIALS:
		return l->dials;
	}
	return 0;
}

static void put_links(struct http_out *o, const struct site_config *c, enum link_metric what,
    const char *name, const char *type, const char *help)
{
	put_family(o, name, type, help);
	for (int i = 0; i < c->mesh->n; i++) {
		if (!link_counts(&c->mesh->link[i]))
			continue;
		put_link(o, c->mesh, i, name, NULL);
		http_putf(o, "%" PRIu64 "\n", link_value(c, i, what));
	}
}

static void put_link_traffic(struct http_out *o, const struct mesh *m, bool bytes)
{
	const char *name = bytes ? "sluice_mesh_link_bytes" : "sluice_mesh_link_packets";

	put_family(o, name, "counter",
	    bytes ? "Payload bytes of packets that a mesh link carried"
		  : "Packets that a mesh link carried: out to that node, in from it");
	for (int i = 0; i < m->n; i++) {
		const struct mesh_traffic *t = &m->link[i].traffic;

		if (!link_counts(&m->link[i]))
			continue;
		put_link(o, m, i, name, "out");
		http_putf(o, "%" PRIu64 "\n", tally_read(bytes ? &t->tx_bytes : &t->tx_packets));
		put_link(o, m, i, name, "in");
		http_putf(o, "%" PRIu64 "\n", tally_read(bytes ? &t->rx_bytes : &t->rx_packets));
	}
}

static void put_link_rtt(struct http_out *o, const struct mesh *m)
{
	put_family(o, "sluice_mesh_link_rtt_seconds", "gauge", "Round-trip time of the last ping");
	for (int i = 0; i < m->n; i++) {
		uint64_t us = tally_read(&m->link[i].traffic.rtt_us);

		if (us == 0 || !link_counts(&m->link[i]))
			continue;
		put_link(o, m, i, "sluice_mesh_link_rtt_seconds", NULL);
		http_putf(o, "%.6f\n", (double)us / 1e6);
	}
}

static void put_mesh(struct http_out *o, const struct site_config *c)
{
	bool any = false;

	for (int i = 0; i < c->mesh->n; i++)
		any |= link_counts(&c->mesh->link[i]);
	if (!any)
		return;
	put_links(o, c, LINK_UP, "sluice_mesh_link_up", "gauge",
	    "Whether the link to another node of the region is up");
	put_links(o, c, LINK_PEERS, "sluice_mesh_link_peers", "gauge",
	    "Keys that the other node says it reaches");
	put_link_traffic(o, c->mesh, false);
	put_link_traffic(o, c->mesh, true);
	put_link_rtt(o, c->mesh);
	put_links(o, c, LINK_DIALS, "sluice_mesh_link_dials", "counter",
	    "Attempts to connect to the other node");
}

void varz_put(
    struct http_out *o, const struct site_config *c, uint64_t start_wall_ms, uint64_t now_ms)
{
	struct counters sum = {0};

	for (int i = 0; i < c->ncounters; i++)
		counters_add(&sum, c->counters[i]);
	put_counters(o, &sum);
	put_drops(o, "derp_packets_dropped", "Packets that were not delivered", sum.drop_packets);
	put_drops(o, "derp_bytes_dropped", "Payload bytes of packets that were not delivered",
	    sum.drop_bytes);
	put_queue_delay(o, c);
	for (int h = 0; h < HISTOGRAM_COUNT; h++)
		put_histogram(o, &histogram_info[h], &sum.histogram[h]);
	put_closed(o, &sum);
	if (c->mesh)
		put_mesh(o, c);
	if (c->stun)
		put_stun(o, c->stun);
	put_process(o, c, start_wall_ms, now_ms);
}
