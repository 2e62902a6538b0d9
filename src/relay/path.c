/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/path.h"

#include <stdlib.h>

#include "base/clock.h"
#include "io/tcpinfo.h"
#include "relay/batch.h"
#include "relay/worker.h"

/* Who was sent no more than this, ever, needs no care. */
#define QUIET_BYTES (64u << 10)
/* Nor does who is near, unless the socket refuses bytes; that is looked at anew by and by. */
#define NEAR_MS 1000
/* The models get a sample at most so often. */
#define SAMPLE_EVERY_US 10000
/* What the kernel may hold unsent, in time and in bytes. */
#define LOWAT_MS 5
#define LOWAT_MIN (6u << 10)
#define LOWAT_MAX (128u << 10)
/* CoDel's constants (RFC 8289 section 4). The interval is at least two round trips of the path: the
 * sender inside the tunnel notices a drop after one, and what waits here besides. */
#define TARGET_MS 5
#define INTERVAL_MS 100
/* While TCP finds out what a long path takes, a burst waits for some round trips. */
#define AGE_ROUND_TRIPS 4
#define AGE_MAX_MS 1500
/* What a drop takes from the sender in the tunnel is back soon where round trips are short. Where
 * they are longer than this it takes seconds, which a queue has to bridge: by half of what is more.
 */
#define SHORT_MS 50
/* On a lossy path packets come in bursts, behind each one that was repeated. */
#define LOSSY_TARGET_PART 5
/* After a retransmission time-out without a packet, which is no less than this, the kernel begins
 * with so many segments again. What was known of the path still holds for longer (RFC 7661 section
 * 4.4). */
#define PAUSE_MS 200
#define INITIAL_SEGMENTS 10
#define KNOWN_US 300000000ull

/* ---- What follows from a sample -------------------------------------------------------------- */

/* Segments that arrived, as bytes. */
static void note_delivered(struct path *p, const struct tcp_info *info)
{
	uint32_t more = info->tcpi_delivered - (uint32_t)p->delivered_segments;

	p->delivered_segments += more;
	p->delivered += (uint64_t)more * info->tcpi_snd_mss;
}

static void set_lowat(struct conn *c, const struct tcp_info *info)
{
	struct path *p = c->path;
	uint64_t window_rate_now =
	    (uint64_t)info->tcpi_snd_cwnd * info->tcpi_snd_mss * 1000000 / MAX(info->tcpi_rtt, 1u);
	uint64_t rate = MAX(window_rate(&p->window), window_rate_now);
	uint32_t lowat =
	    (uint32_t)MIN(MAX(rate * LOWAT_MS / 1000, (uint64_t)LOWAT_MIN), (uint64_t)LOWAT_MAX);

	if (lowat <= p->lowat + p->lowat / 4 && lowat >= p->lowat - p->lowat / 4)
		return;
	if (setsockopt(c->watch.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat)) == 0)
		p->lowat = lowat;
}

/* Where the operator left that to us. True: it has changed. */
static bool use_congestion(struct conn *c, bool lossy)
{
	struct path *p = c->path;

	if (!c->worker->config->congestion_changes || lossy == p->as_lossy ||
	    congestion_set(c->watch.fd, lossy ? CONGESTION_LOSSY : CONGESTION_CLEAN) != 0)
		return false;
	p->as_lossy = lossy;
	return true;
}

/* After a pause cubic begins with ten segments, whatever the path took before; BBR goes on at the
 * path's rate, spread over a round trip. So a connection has BBR from there until something was
 * under way for a round trip. */
static void resume(struct conn *c)
{
	struct path *p = c->path;
	struct tcp_info info;
	uint64_t now_us;

	if (!c->worker->config->congestion_changes || p->rtt_least_us < PATH_NEAR_US)
		return;
	now_us = clock_ns() / 1000;
	if (now_us - p->sampled_us > KNOWN_US)
		return;
	if (!p->as_lossy) {
		if (!tcp_info_get(c->watch.fd, &info) || info.tcpi_unacked > 0 ||
		    info.tcpi_last_data_sent <= info.tcpi_rto / 1000 ||
		    info.tcpi_snd_cwnd <= INITIAL_SEGMENTS || !use_congestion(c, true))
			return;
		count(&c->worker->counters, C_PATHS_RESUMED, 1);
	}
	p->resumed_us = now_us;
}

/* The congestion control follows the path's character. */
static void choose_congestion(struct conn *c, const struct tcp_info *info)
{
	struct path *p = c->path;
	bool lossy;

	if (!p->starved && p->sampled_us - p->resumed_us > info->tcpi_rtt)
		p->resumed_us = 0;
	losses_sample(&p->losses,
	    &(struct losses_sample){
		.now_us = p->sampled_us,
		.rtt_us = info->tcpi_rtt,
		.low_us = p->window.base_us + p->window.margin_us + p->window.base_us / 8,
		.retransmitted = info->tcpi_total_retrans,
		.in_flight = info->tcpi_unacked,
		.delivered = p->delivered_segments,
	    });
	lossy = p->losses.lossy;
	if (use_congestion(c, lossy || p->resumed_us))
		count(&c->worker->counters, lossy ? C_PATHS_LOSSY : C_PATHS_CLEAN, 1);
}

static void set_law(struct conn *c)
{
	struct path *p = c->path;
	uint32_t base_ms = p->window.base_us / 1000;
	/* The base may have others' queue in it. */
	uint32_t least_ms = MIN(p->window.base_us, p->rtt_least_us) / 1000;

	p->age_ms = MIN(AGE_ROUND_TRIPS * least_ms, (uint32_t)AGE_MAX_MS);
	p->interval_ms = MAX(2 * base_ms, (uint32_t)INTERVAL_MS);
	p->target_ms = MAX(base_ms > SHORT_MS ? (base_ms - SHORT_MS) / 2 : 0, (uint32_t)TARGET_MS);
	if (p->losses.lossy)
		p->target_ms = MAX(base_ms / LOSSY_TARGET_PART, p->target_ms);
	if (!window_may_drop(&p->window))
		p->target_ms = UINT32_MAX;
	path_rule(c);
}

static void learn(struct conn *c, const struct tcp_info *info)
{
	struct path *p = c->path;
	uint64_t now_us = clock_ns() / 1000;

	if (now_us - p->sampled_us < SAMPLE_EVERY_US)
		return;
	p->sampled_us = now_us;
	p->rtt_least_us = info->tcpi_min_rtt;
	note_delivered(p, info);
	window_sample(&p->window, &(struct window_sample){
				      .now_us = now_us,
				      .delivered = p->delivered,
				      .rtt_us = info->tcpi_rtt,
				      .least_us = info->tcpi_min_rtt,
				      .jitter_us = info->tcpi_rttvar,
				      .busy = !p->starved,
				  });
	choose_congestion(c, info);
	p->starved = false;
	set_lowat(c, info);
	set_law(c);
}

/* ---- How much the socket is given ------------------------------------------------------------ */

static bool path_begin(struct conn *c)
{
	if (c->path)
		return true;
	c->path = calloc(1, sizeof(*c->path));
	if (!c->path)
		return false;
	c->path->conn = c;
	c->path->starved = true;
	c->path->sent_ms = c->worker->now_ms;
	c->path->window.bytes = UINT64_MAX;
	return true;
}

/* Bytes in flight and unsent. What has arrived behind a hole is not in flight, nor what was lost.
 */
static uint64_t bytes_held(const struct tcp_info *info)
{
	uint32_t out = info->tcpi_unacked + info->tcpi_retrans;
	uint32_t gone = MIN(info->tcpi_sacked + info->tcpi_lost, out);

	return (uint64_t)(out - gone) * info->tcpi_snd_mss + info->tcpi_notsent_bytes;
}

static void next_look(struct path *p, uint64_t now_ms, uint64_t held)
{
	uint32_t gap = held < p->had ? HELD_POLL_MS : p->look_gap_ms * 2;

	p->look_gap_ms = MIN(MAX(gap, HELD_POLL_MS), HELD_POLL_MAX_MS);
	/* Many at the same time. */
	p->look_ms = (now_ms + p->look_gap_ms + HELD_POLL_MS - 1) / HELD_POLL_MS * HELD_POLL_MS;
	p->had = held;
}

/* Asks the kernel how the path is and what it holds. */
static void look(struct conn *c)
{
	struct path *p = c->path;
	struct tcp_info info;
	uint64_t held;
	uint32_t lowat;

	p->room = BATCH_BYTES;
	p->full = false;
	/* No TCP socket, as in tests. */
	if (!tcp_info_get(c->watch.fd, &info))
		return;
	learn(c, &info);
	if (!c->blocked && p->rtt_least_us < PATH_NEAR_US) {
		p->near_until_ms = c->worker->now_ms + NEAR_MS;
		return;
	}
	held = bytes_held(&info);
	p->room = 0;
	p->full = held >= p->window.bytes;
	if (p->full) {
		next_look(p, c->worker->now_ms, held);
		return;
	}
	p->had = UINT64_MAX;
	/* Where the kernel doesn't let us set it, it does not tell when there is less either. */
	lowat = p->lowat ? p->lowat : UINT32_MAX;
	/* The kernel fills the segment at the end of its queue, up to 64 KiB, whatever its limit:
	 * we keep to that ourselves. */
	if (info.tcpi_notsent_bytes < lowat)
		p->room = MIN(lowat - info.tcpi_notsent_bytes, p->window.bytes - held);
}

size_t path_room(struct conn *c)
{
	struct path *p = c->path;

	if (likely(!p || p->near_until_ms > c->worker->now_ms))
		return BATCH_BYTES;
	if (c->worker->now_ms - p->sent_ms > PAUSE_MS)
		resume(c);
	if (p->room == 0)
		look(c);
	return MIN(p->room, BATCH_BYTES);
}

void path_sent(struct conn *c, size_t bytes)
{
	if (c->path) {
		c->path->room -= MIN(bytes, c->path->room);
		c->path->sent_ms = c->worker->now_ms;
	} else if (c->totals.tx_bytes > QUIET_BYTES) {
		(void)!path_begin(c);
	}
}

void path_starved(struct conn *c)
{
	if (c->path)
		c->path->starved = true;
}

void path_refused(struct conn *c)
{
	if (!path_begin(c))
		return;
	c->path->near_until_ms = 0;
	c->path->room = 0;
}

/* ---- Those that have enough ------------------------------------------------------------------ */

static void join_held(struct path *p)
{
	struct worker *w = p->conn->worker;

	w->held_ms = w->held ? MIN(w->held_ms, p->look_ms) : p->look_ms;
	p->next_held = w->held;
	if (p->next_held)
		p->next_held->held_at = &p->next_held;
	p->held_at = &w->held;
	w->held = p;
}

static void leave_held(struct path *p)
{
	if (!p->held_at)
		return;
	*p->held_at = p->next_held;
	if (p->next_held)
		p->next_held->held_at = p->held_at;
	p->held_at = NULL;
}

bool path_hold(struct conn *c)
{
	struct path *p = c->path;

	if (!p || !p->full)
		return false;
	/* It may be in line already, for another time. */
	leave_held(p);
	join_held(p);
	return true;
}

void path_run_held(struct worker *w)
{
	struct path *p, *all = w->held;

	if (!all || w->now_ms < w->held_ms)
		return;
	w->held = NULL;
	all->held_at = &all;
	while ((p = all)) {
		leave_held(p);
		if (p->look_ms > w->now_ms || (path_room(p->conn) == 0 && p->full))
			join_held(p);
		else
			stall_unblock(p->conn);
	}
}

void path_free(struct conn *c)
{
	if (c->path)
		leave_held(c->path);
	free(c->path);
	c->path = NULL;
}

/* ---- The queue, and what is seen of it ------------------------------------------------------- */

void path_rule(struct conn *c)
{
	struct queue *q = c->queue;
	const struct path *p = c->path;

	if (!q || !p || !p->interval_ms)
		return;
	q->age_ms = MAX(q->limits->age_ms, p->age_ms);
	q->target_ms = p->target_ms;
	q->interval_ms = p->interval_ms;
	q->path_full = p->window.held && p->rtt_least_us >= PATH_NEAR_US;
}

void path_waited(struct conn *c, const struct queue_packet *p, uint32_t ms)
{
	struct worker *w = c->worker;
	uint32_t bucket = delay_bucket(ms);

	worker_waited(w, p->flow, p->flow_worker, bucket, ms);
	counters_observe(&w->counters, H_QUEUE_DELAY, ms, 1);
	if (c->path)
		delays_note(&c->path->delays, bucket, 1, ms);
}

void path_dropped(struct conn *c, enum drop_reason why)
{
	if (c->path)
		c->path->dropped[why]++;
}

void path_look(const struct conn *c, struct path_view *v)
{
	struct tcp_info info;

	*v = (struct path_view){0};
	if (!tcp_info_get(c->watch.fd, &info))
		return;
	v->known = true;
	congestion_get(c->watch.fd, v->congestion);
	v->rtt_us = info.tcpi_rtt;
	v->rtt_least_us = info.tcpi_min_rtt;
	v->retransmits = info.tcpi_total_retrans;
	v->delivery_rate = info.tcpi_delivery_rate;
	v->cwnd = info.tcpi_snd_cwnd * info.tcpi_snd_mss;
	v->unsent = info.tcpi_notsent_bytes;
	if (c->path) {
		v->lowat = c->path->lowat;
		v->window = c->path->window.bytes == UINT64_MAX ? 0 : c->path->window.bytes;
	}
}
