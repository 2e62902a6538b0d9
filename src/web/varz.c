/* SPDX-License-Identifier: BSD-3-Clause */
#include "web/varz.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static void put_write_frames(struct http_out *o, const struct counters *sum)
{
	static const uint32_t bounds[] = WRITE_FRAMES_BOUNDS;
	const char *name = "derp_buffered_write_frames";
	uint64_t n = 0;

	put_family(o, name, "histogram", "Frames that went out in one send");
	for (size_t b = 0; b < ARRAY_LEN(bounds); b++) {
		n += sum->write_frames[b];
		http_putf(o, "%s_bucket{le=\"%u\"} %" PRIu64 "\n", name, bounds[b], n);
	}
	n += sum->write_frames[WRITE_FRAMES_BUCKETS - 1];
	http_putf(o, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, n);
	http_putf(
	    o, "%s_sum %" PRIu64 "\n%s_count %" PRIu64 "\n", name, sum->write_frames_sum, name, n);
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
	put_write_frames(o, &sum);
	put_closed(o, &sum);
	if (c->stun)
		put_stun(o, c->stun);
	put_process(o, c, start_wall_ms, now_ms);
}
