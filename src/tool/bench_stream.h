/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench_stream.h: packets that prove what became of them.
 *
 * A stream is everything that one client sends another. Its packets carry stream, sequence number,
 * time and a check over these, and behind that bytes of a random pattern chosen by the sequence
 * number, so that a packet that is lost, repeated, overtaken, changed, cut or delivered to the
 * wrong one is noticed and counted, at the price of copying and comparing its bytes once.
 *
 * A gap in the sequence counts as lost at once (and frees its place in the window, so that a
 * dropping server doesn't stall the load); should the packet come after all, the loss is taken
 * back and it counts as reordered, or, when the time-out had given it up, as late. Losses at the
 * end of a burst show only by time-out.
 */
#ifndef SLUICE_TOOL_BENCH_STREAM_H
#define SLUICE_TOOL_BENCH_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/key.h"
#include "wire/frame.h"
#include "tool/bench_hist.h"

/* The part of a packet in front of the pattern, and so the smallest packet. */
#define BENCH_HEAD_LEN 32

/* Name, and what it counts. All of them count the whole run, warm-up and end included. */
#define BENCH_COUNTERS(X)                                         \
	X(sent, "packets sent")                                   \
	X(received, "packets that came as they should")           \
	X(lost, "packets that never came")                        \
	X(reordered, "packets overtaken by a later one")          \
	X(late, "packets that came after they had been given up") \
	X(duplicated, "packets that came twice")                  \
	X(corrupt, "packets changed, cut, or never sent")         \
	X(misdelivered, "packets from or to the wrong one")       \
	X(timeouts, "windows in which nothing moved for a second")

struct bench_counters {
#define X(name, help) uint64_t name;
	BENCH_COUNTERS(X)
#undef X
};

struct bench_stream {
	uint32_t from; /* index of the client that sends */
	uint32_t to;
	uint64_t sent;        /* sequence number of the next to send */
	uint64_t next;        /* of the next to come */
	uint64_t top;         /* behind the highest that came */
	uint64_t outstanding; /* neither come nor given up */
	uint64_t moved_ns;    /* when something came, or the first was sent */
	uint64_t *seen;       /* a bit for each of the last sequence numbers below next */
	struct key src;
	uint8_t head[FRAME_PACKET_HEAD]; /* SendPacket's header and the destination */
};

/* All streams of a run. */
struct bench_traffic {
	struct bench_stream *stream;
	uint32_t n;
	uint32_t size;      /* of a packet, bytes */
	uint64_t seen_mask; /* sequence numbers remembered a stream, less one */
	uint64_t outstanding;
	uint64_t nonce;
	struct bench_counters count;
	struct bench_hist latency;
	uint64_t *seen;
	uint8_t *pattern;
};

/* `remember`: how far back duplicates and late packets are told apart, a power of two >= 64. */
void bench_traffic_init(
    struct bench_traffic *t, uint32_t streams, uint32_t size, uint32_t remember, uint64_t seed);
void bench_traffic_fini(struct bench_traffic *t);
void bench_stream_init(struct bench_traffic *t, uint32_t id, uint32_t from, const struct key *src,
    uint32_t to, const struct key *dst);

static inline size_t bench_frame_len(const struct bench_traffic *t)
{
	return FRAME_PACKET_HEAD + t->size;
}
/* Writes the stream's next packet as a SendPacket frame of bench_frame_len bytes. */
void bench_stream_put(
    struct bench_traffic *t, struct bench_stream *s, uint64_t now_ns, uint8_t *out);
/* A packet came to client `to`: counts it. Its stream when it is a good one, else NULL; *took is
 * then the time since it was sent. */
struct bench_stream *bench_traffic_take(struct bench_traffic *t, uint32_t to, const uint8_t *src,
    const uint8_t *p, size_t len, uint64_t now_ns, uint64_t *took);
/* Gives up what has not come; returns how many. */
uint64_t bench_stream_give_up(struct bench_traffic *t, struct bench_stream *s);

/* A cheap generator for choices and patterns (splitmix64). */
static inline uint64_t bench_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

#endif
