/* SPDX-License-Identifier: BSD-3-Clause */
/* test_web_flows.h: workers' parts of flow snapshots, and pages made of them. */
#ifndef SLUICE_TEST_WEB_FLOWS_H
#define SLUICE_TEST_WEB_FLOWS_H

#include "test_web.h"

#include "flow/snapshot.h"

#define FLOWS "/debug/flows"

static inline struct key make_key(uint32_t n)
{
	struct key k;

	memset(k.b, 0x11, sizeof(k.b));
	k.b[0] = (uint8_t)(n >> 24);
	k.b[1] = (uint8_t)(n >> 16);
	k.b[2] = (uint8_t)(n >> 8);
	k.b[3] = (uint8_t)n;
	return k;
}

static inline struct flow_part *part_new(int worker, uint32_t cap)
{
	struct flow_part *p = flow_part_new(worker, cap);

	assert_non_null(p);
	return p;
}

static inline struct flow_row *add_row(
    struct flow_part *p, uint32_t slot, uint32_t gen, uint64_t bytes)
{
	struct flow_row *r = &p->row[p->n++];

	assert_true(p->n <= p->cap);
	*r = (struct flow_row){
	    .conn_number = slot + 100,
	    .src = make_key(slot << 8),
	    .dst = make_key(gen << 16 | 0xff),
	    .packets = bytes / 10,
	    .bytes = bytes,
	    .first_ds = 10,
	    .last_ds = 5995,
	    .slot = slot,
	    .gen = gen,
	};
	return r;
}

static inline void send_part(struct flow_part *p)
{
	site_ops(site).flows(site, p);
}

static inline void send_empty(void)
{
	for (int w = 0; w < WORKERS; w++)
		send_part(part_new(w, 0));
}

static inline void pass(uint64_t ms)
{
	fake_now += ms;
	site_ops(site).tick(site, fake_now);
}

static inline struct fetch *ask_page(const char *target)
{
	return fetch_from("127.0.0.1", LISTEN_PUBLIC, target);
}

static inline const struct gather *gathered(void)
{
	return &site->flows;
}

/* First snapshot, a second, the second one: two flows of worker 0, one of worker 1. */
static inline void first_parts(void)
{
	struct flow_part *p = part_new(0, 4);

	add_row(p, 0, 1, 1000);
	add_row(p, 3, 7, 5000);
	send_part(p);
	p = part_new(1, 4);
	add_row(p, 0, 1, 100);
	send_part(p);
}

static inline void second_parts(void)
{
	struct flow_part *p = part_new(0, 4);
	struct flow_row *r;

	add_row(p, 0, 1, 3000);
	r = add_row(p, 3, 8, 400); /* another flow in the slot of the one before */
	r->drop_packets[DROP_QUEUE_HEAD] = 2;
	delays_note(&r->delays, delay_bucket(40), 3, 120);
	r->drop_bytes[DROP_QUEUE_HEAD] = 20;
	r->drop_packets[DROP_UNKNOWN_DEST] = 1;
	r->drop_bytes[DROP_UNKNOWN_DEST] = 10;
	r->disco_packets = 3;
	r->disco_bytes = 30;
	p->other = (struct flow_totals){.flows = 2, .packets = 500, .bytes = 5000};
	send_part(p);
	p = part_new(1, 4);
	r = add_row(p, 0, 1, 100); /* idle */
	r->recv_from = make_key(0xabcdef00);
	r->fwded_to = make_key(0x12345600);
	r->fwded_packets = 4;
	r->fwded_bytes = 40;
	p->other = (struct flow_totals){.flows = 1,
	    .packets = 7,
	    .bytes = 70,
	    .mesh_packets = 5,
	    .mesh_bytes = 50,
	    .fwded_packets = 2,
	    .fwded_bytes = 20};
	p->other.drop_packets[DROP_DUP_CLIENT] = 3;
	p->other.drop_bytes[DROP_DUP_CLIENT] = 33;
	send_part(p);
}

/* The page made of these. */
static inline struct fetch *flows_page_of(const char *target)
{
	struct fetch *f = ask_page(target);

	if (f->reply.waiting) {
		first_parts();
		pass(1000);
		second_parts();
		pump_ready();
	}
	fetch_split(f);
	return f;
}

static inline void many_parts(uint64_t bytes)
{
	for (int w = 0; w < WORKERS; w++) {
		struct flow_part *p = part_new(w, 3000);

		for (uint32_t i = 0; i < 3000; i++) {
			struct flow_row *r = add_row(p, i * 3, i, bytes + i);

			for (int d = 0; d < DROP_REASON_COUNT && i % 5 == 0; d++) {
				r->drop_packets[d] = UINT32_MAX;
				r->drop_bytes[d] = UINT32_MAX * 100ull;
			}
			r->recv_from = r->fwded_to = r->src;
		}
		p->other = (struct flow_totals){.flows = 9, .packets = 123, .bytes = 4567};
		send_part(p);
	}
}

static inline struct fetch *many_page(const char *request)
{
	struct fetch *f = ask_page(request);

	if (f->reply.waiting) {
		many_parts(1000);
		pass(1000);
		many_parts(2000);
		pump_ready();
	}
	return f;
}

#endif
