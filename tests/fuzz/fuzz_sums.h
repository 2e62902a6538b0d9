/* SPDX-License-Identifier: BSD-3-Clause */
/* fuzz_sums.h: what must hold on the ground, of sums above all. A part of fuzz_ground.h. */
#ifndef SLUICE_FUZZ_SUMS_H
#define SLUICE_FUZZ_SUMS_H

struct sums {
	uint64_t packets, bytes, disco, drop_packets[DROP_REASON_COUNT];
	uint64_t mesh_packets, mesh_bytes, fwded_packets, fwded_bytes;
	uint64_t drop_bytes[DROP_REASON_COUNT];
	uint64_t flows;
};

static void add_totals(struct sums *s, const struct flow_totals *o)
{
	s->packets += o->packets;
	s->bytes += o->bytes;
	s->disco += o->disco_packets;
	s->mesh_packets += o->mesh_packets;
	s->mesh_bytes += o->mesh_bytes;
	s->fwded_packets += o->fwded_packets;
	s->fwded_bytes += o->fwded_bytes;
	for (int r = 0; r < DROP_REASON_COUNT; r++) {
		s->drop_packets[r] += o->drop_packets[r];
		s->drop_bytes[r] += o->drop_bytes[r];
	}
}

static void add_mesh(struct sums *s, const struct flow *f, const struct flow_mesh *m)
{
	if (f->has_src) {
		s->mesh_packets += f->packets;
		s->mesh_bytes += f->bytes;
	}
	if (f->fwded) {
		CHECK(!f->has_src);
		s->fwded_packets += m->fwded_packets;
		s->fwded_bytes += m->fwded_bytes;
	}
}

static void sum_flows(struct sums *s, const struct flow_table *t)
{
	add_totals(s, &t->other);
	s->flows += t->used;
	CHECK(t->used <= t->cap);
	for (uint32_t i = 0; i < t->touched; i++) {
		const struct flow *f = &t->slot[i];

		if (f->conn == FLOW_NONE)
			continue;
		s->packets += f->packets;
		s->bytes += f->bytes;
		s->disco += f->disco_packets;
		add_mesh(s, f, &t->mesh[i]);
		if (f->trouble == FLOW_NONE)
			continue;
		for (int r = 0; r < DROP_REASON_COUNT; r++) {
			s->drop_packets[r] += t->trouble[f->trouble].packets[r];
			s->drop_bytes[r] += t->trouble[f->trouble].bytes[r];
		}
	}
}

/* After any turn: flows and other hold all that was received. */
static void check_flows(void)
{
	for (int i = 0; i < BED_WORKERS; i++) {
		const struct worker *w = g->b.worker[i];
		struct sums s = {0};

		sum_flows(&s, &w->flows);
		CHECK(s.mesh_packets == w->counters.v[C_FORWARDED_IN]);
		CHECK(s.mesh_bytes == w->counters.v[C_FORWARDED_IN_BYTES]);
		CHECK(s.packets == w->counters.v[C_PACKETS_RECV] + s.mesh_packets);
		CHECK(s.bytes == w->counters.v[C_BYTES_RECV] + s.mesh_bytes);
		CHECK(s.disco >= w->counters.v[C_KIND_DISCO]);
		CHECK(s.disco <= w->counters.v[C_KIND_DISCO] + s.mesh_packets);
		CHECK(s.flows == w->counters.v[C_FLOWS]);
	}
}

struct waiting {
	uint64_t packets, payload, bytes;
	uint64_t conns, links;
};

static void sum_waiting(struct waiting *sum, const struct worker *w)
{
	for (uint32_t s = 0; s < w->nconns; s++) {
		const struct conn *c = w->conn[s].conn;

		if (!c)
			continue;
		if (c->is_link)
			sum->links++;
		else
			sum->conns++;
		CHECK(!c->dead && c->control_len <= CONTROL_MAX + 8192);
		CHECK(!c->fresh[KIND_OTHER].first && !c->fresh[KIND_DISCO].first);
		if (c->queue) {
			const struct queue *q = c->queue;
			uint32_t packets = q->packets + q->disco.packets;

			CHECK(c->blocked && q->memory <= q->limits->memory);
			sum->packets += packets;
			sum->bytes += q->bytes;
			sum->payload += conn_payload(c, q->bytes, packets);
		}
	}
}

static uint64_t drops_of(const uint64_t by_reason[DROP_REASON_COUNT][KIND_COUNT])
{
	uint64_t n = 0;

	for (int r = 0; r < DROP_REASON_COUNT; r++)
		n += by_reason[r][KIND_OTHER] + by_reason[r][KIND_DISCO];
	return n;
}

/* When no mail is on its way: each packet is accounted for, each drop on a flow or in other. */
static void check_sums(void)
{
	struct counters n = bed_counters(&g->b);
	struct waiting wait = {0};
	uint64_t closed = 0;
	struct sums s = {0};

	for (int i = 0; i < BED_WORKERS; i++) {
		sum_waiting(&wait, g->b.worker[i]);
		sum_flows(&s, &g->b.worker[i]->flows);
	}
	CHECK(n.v[C_PACKETS_RECV] + n.v[C_FORWARDED_IN] ==
	      n.v[C_PACKETS_SENT] + n.v[C_FORWARDED_OUT] + drops_of(n.drop_packets) + wait.packets);
	CHECK(
	    n.v[C_BYTES_RECV] + n.v[C_FORWARDED_IN_BYTES] ==
	    n.v[C_BYTES_SENT] + n.v[C_FORWARDED_OUT_BYTES] + drops_of(n.drop_bytes) + wait.payload);
	CHECK(s.fwded_packets == n.v[C_FORWARDED_OUT]);
	CHECK(s.fwded_bytes == n.v[C_FORWARDED_OUT_BYTES]);
	CHECK(n.v[C_QUEUE_BYTES] == wait.bytes);
	CHECK(n.v[C_CONNECTIONS] == wait.conns);
	CHECK(n.v[C_MESH_LINKS] == wait.links);
	for (int r = 0; r < DROP_REASON_COUNT; r++) {
		CHECK(s.drop_packets[r] ==
		      n.drop_packets[r][KIND_OTHER] + n.drop_packets[r][KIND_DISCO]);
		CHECK(s.drop_bytes[r] == n.drop_bytes[r][KIND_OTHER] + n.drop_bytes[r][KIND_DISCO]);
	}
	for (int why = 0; why < CLOSE_REASON_COUNT; why++)
		closed += n.closed[why];
	CHECK(closed + wait.conns + wait.links == g->logins + g->links);
}

static void check_flow_part(const struct flow_part *p)
{
	uint64_t n = p->other.packets;

	for (uint32_t i = 0; i < p->n; i++) {
		CHECK(g->wild_mesh || key_index(p->row[i].src.b) >= 0);
		CHECK(p->row[i].conn_number > 0 && p->row[i].conn_number <= g->logins);
		n += p->row[i].packets;
	}
	g->rows[p->worker] = n;
}

static void check_client_part(const struct client_part *p)
{
	uint64_t here = 0;

	for (uint32_t i = 0; i < p->n; i++) {
		CHECK(p->row[i].number <= g->logins);
		here += p->row[i].number != 0;
	}
	CHECK(here <= CLIENTS);
}

/* What comes for the gate. */
static void read_part(void *arg, int from, const struct letter *l)
{
	void *const *part = (void *const *)(const void *)l->body;

	if (l->kind == LETTER_FLOWS)
		check_flow_part(*part);
	else if (l->kind == LETTER_CLIENTS)
		check_client_part(*part);
	else if (l->kind == LETTER_LINK_ENDED)
		check_link_ended((const struct link_ended_letter *)(const void *)l->body);
	relay_letter_free(l);
}

static void read_parts(void)
{
	while (mail_drain(g->b.mail, mail_gate(g->b.mail), 100, read_part, NULL))
		;
	mail_release(g->b.mail, mail_gate(g->b.mail));
}

/* A snapshot of flows at rest holds all that was received. */
static void check_snapshot(void)
{
	if (!g->asked)
		return;
	read_parts();
	ask(LETTER_ASK_FLOWS);
	ask(LETTER_ASK_CLIENTS);
	turns(3, 3);
	read_parts();
	for (int w = 0; w < BED_WORKERS; w++)
		CHECK(g->rows[w] == g->b.worker[w]->counters.v[C_PACKETS_RECV] +
					g->b.worker[w]->counters.v[C_FORWARDED_IN]);
}

/* Everybody reads and sends to the end, until nothing moves any more. */
static void settle(void)
{
	size_t moved = 1;

	for (int still = 0; still < 4;) {
		turns(3, 1);
		moved = 0;
		for (int who = 0; who < CLIENTS; who++)
			moved += receive(who, SIZE_MAX) + push_out(&g->client[who]);
		still = moved ? 0 : still + 1;
	}
	/* Reports of drops follow what they are of. */
	turns(3, 3);
	for (int who = 0; who < CLIENTS; who++)
		receive(who, SIZE_MAX);
	check_sums();
}

/* Who is still here has received all that was sent to it. */
static void check_arrivals(void)
{
	for (int who = 0; who < CLIENTS; who++) {
		const struct client *c = &g->client[who];
		const struct conn *conn = conn_of(who);

		/* Not so behind a door that was closed half. */
		if (!conn || c->ended)
			continue;
		CHECK((c->greeted || is_link(who)) && c->in_len == 0);
		CHECK(conn->totals.tx_packets == c->packets);
		CHECK(conn->totals.tx_bytes == c->bytes);
		CHECK(!conn->blocked && !conn->paused && !conn->control);
	}
}

/* All have gone: nothing is left of them. */
static void check_empty(void)
{
	for (int i = 0; i < BED_WORKERS; i++) {
		const struct worker *w = g->b.worker[i];

		CHECK(w->flows.used == 0 && w->pool.used == 0);
		CHECK(w->sightings.used == 0 && w->sightings.by_source.n == 0);
		CHECK(!w->dirty && !w->dead && !w->spent && !w->gone_pending);
		CHECK(!w->neighbour[1 - i].paused && w->neighbour[1 - i].reports.n == 0);
		CHECK(w->peers.idle == w->peers.by_hash.n);
		CHECK(w->wheel.set == 1);
		CHECK(w->region.keys == 0 && !region_waits(w));
		CHECK(!w->presence.watching && !w->presence.watchers && !w->presence.farewells);
	}
}

#endif
