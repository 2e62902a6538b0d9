/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What logged-in clients send, as a small program: two workers, six connections of four keys, turn
 * by turn, on a clock of its own. Whatever clients do, in any order:
 *
 *   - what the flows and "other" hold is what was received; what was received was sent, dropped or
 *     waits; drops are booked on flows and counters alike;
 *   - what arrives are whole frames, from keys that are there, for who gets them, in order;
 *   - every connection ends for one counted reason, and gives everything back.
 *
 * The first byte sets limits, then steps follow: a byte of what (low three bits) and who, and
 * operands; see step().
 */
#include "fuzz.h"

#include <errno.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/fake_clock.h"
#include "../unit/relay_bed.h"

#define KEYS 4     /* two of each worker */
#define KEYS_ALL 8 /* and four that never log in */
#define CLIENTS 6  /* the last two are second connections of keys 0 and 2 */
#define KIND_MAX 2
#define CONNS_MAX 64 /* logins of one input */
/* Bytes that a client has still to send, and that all clients send in one input. */
#define PENDING_MAX (256u << 10)
#define BUDGET (2u << 20)
/* In front of the packets made here: first as disco packets begin, or not. */
#define MARK_LEN 23
#define FILLER_LEN (64u << 10)

struct client {
	int fd;      /* -1: not here */
	uint32_t id; /* of this connection */
	uint64_t number;
	bool greeted, ended;
	uint8_t *out; /* not sent yet */
	size_t out_len;
	uint8_t in[FRAME_MAX]; /* of a frame that is not whole yet */
	size_t in_len;
	uint64_t packets, bytes;                /* received */
	uint32_t last_seq[CONNS_MAX][KIND_MAX]; /* by the sending connection */
};

struct ground {
	struct bed b;
	struct key key[KEYS_ALL];
	struct client client[CLIENTS];
	bool wild[KEYS]; /* sent bytes of the input: may say anything */
	uint32_t logins, seq, scattered;
	bool asked;                 /* for snapshots */
	uint64_t rows[BED_WORKERS]; /* packets in the last one of flows, other's too */
	size_t sent, piece;
	int sndbuf;
};

static struct ground *g;

/* ---- Chance that is none --------------------------------------------------------------------- */

static uint64_t chance;

static uint32_t no_chance(void)
{
	chance = chance * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(chance >> 32);
}

static void no_chance_buf(void *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)p)[i] = (uint8_t)no_chance();
}

static const char *no_chance_name(void)
{
	return "none";
}

static void no_chance_begin(void)
{
	static struct randombytes_implementation none = {
	    .implementation_name = no_chance_name,
	    .random = no_chance,
	    .buf = no_chance_buf,
	};

	chance = 1;
	CHECK(randombytes_set_implementation(&none) == 0);
	CHECK(sodium_init() >= 0);
}

/* ---- Keys and connections -------------------------------------------------------------------- */

static int key_of_client(int who)
{
	return who < KEYS ? who : (who - KEYS) * 2;
}

/* Keys of one letter each, so that inputs can name them: two of either worker, then any. */
static void make_keys(void)
{
	int of_worker[BED_WORKERS] = {0};
	int others = KEYS;

	for (int letter = 'A'; letter <= 'Z'; letter++) {
		struct key k;
		int w;

		memset(k.b, letter, KEY_LEN);
		w = key_owner(key_hash(&k), BED_WORKERS);
		if (of_worker[w] < 2)
			g->key[w * 2 + of_worker[w]++] = k;
		else if (others < KEYS_ALL)
			g->key[others++] = k;
	}
	CHECK(of_worker[0] == 2 && of_worker[1] == 2 && others == KEYS_ALL);
}

static void login(int who, const uint8_t *early, uint32_t early_len)
{
	struct client *c = &g->client[who];
	struct bed_client bc;

	if (c->fd >= 0 || g->logins == CONNS_MAX)
		return;
	free(c->out);
	memset(c, 0, offsetof(struct client, in));
	memset(c->last_seq, 0, sizeof(c->last_seq));
	c->in_len = 0;
	c->packets = c->bytes = 0;
	bc = bed_login(&g->b, g->key[key_of_client(who)], early, early_len);
	c->fd = bc.fd;
	c->id = g->logins++;
	c->number = g->b.logins;
	c->out = must_alloc(PENDING_MAX);
	if (early_len)
		g->wild[key_of_client(who)] = true;
}

/* The relay's end of a connection, NULL when it has ended. */
static struct conn *conn_of(const struct client *c)
{
	for (int i = 0; i < BED_WORKERS; i++) {
		const struct worker *w = g->b.worker[i];

		for (uint32_t s = 0; s < w->nconns; s++)
			if (w->conn[s].conn && w->conn[s].conn->number == c->number)
				return w->conn[s].conn;
	}
	return NULL;
}

static void leave(int who)
{
	struct client *c = &g->client[who];

	if (c->fd < 0)
		return;
	close(c->fd);
	c->fd = -1;
}

/* ---- What arrives ---------------------------------------------------------------------------- */

static int key_index(const uint8_t *k)
{
	for (int i = 0; i < KEYS; i++)
		if (memcmp(k, g->key[i].b, KEY_LEN) == 0)
			return i;
	return -1;
}

/* What a packet holds from byte `at` on. */
static const uint8_t *filling(uint32_t seq, size_t at)
{
	static uint8_t pattern[PACKET_MAX + 512];

	if (pattern[1] == 0)
		for (size_t i = 0; i < sizeof(pattern); i++)
			pattern[i] = (uint8_t)(i % 251 + i / 251);
	return pattern + (seq * 31 & 255) + at;
}

/* A packet from a client that only sends what is made here: for us, whole, behind those before. */
static void check_packet(int who, int from, const uint8_t *p, size_t len)
{
	struct client *c = &g->client[who];
	uint32_t id, seq;
	bool disco = packet_is_disco(p, len);

	if (g->wild[from] || len < MARK_LEN)
		return;
	CHECK(memcmp(p + 6, "fuzzmark", 8) == 0);
	id = be32_get(p + 14);
	seq = be32_get(p + 18);
	CHECK(id < g->logins && seq <= g->seq);
	CHECK(p[22] == key_of_client(who));
	CHECK(seq > c->last_seq[id][disco]);
	c->last_seq[id][disco] = seq;
	CHECK(memcmp(p + MARK_LEN, filling(seq, MARK_LEN), len - MARK_LEN) == 0);
}

static void check_frame(int who, const uint8_t *p, uint32_t len)
{
	struct client *c = &g->client[who];
	const uint8_t *payload = p + FRAME_HEADER_LEN;
	int from;

	CHECK(c->greeted == (p[0] != FRAME_SERVER_INFO));
	switch (p[0]) {
	case FRAME_SERVER_INFO:
		CHECK(len == 3 && memcmp(payload, "hi!", 3) == 0);
		c->greeted = true;
		break;
	case FRAME_RECV_PACKET:
		CHECK(len >= KEY_LEN && len <= KEY_LEN + PACKET_MAX);
		from = key_index(payload);
		CHECK(from >= 0);
		check_packet(who, from, payload + KEY_LEN, len - KEY_LEN);
		c->packets++;
		c->bytes += len - KEY_LEN;
		break;
	case FRAME_KEEP_ALIVE:
		CHECK(len == 0);
		break;
	case FRAME_PONG:
		CHECK(len == PING_LEN);
		break;
	case FRAME_PEER_GONE:
		CHECK(len == PEER_GONE_LEN && payload[KEY_LEN] <= PEER_GONE_NOT_HERE);
		break;
	default:
		CHECK(!"a frame that is none of the server's");
	}
}

/* Takes whole frames off what has come. */
static void take_frames(int who)
{
	struct client *c = &g->client[who];
	size_t at = 0;

	while (c->in_len - at >= FRAME_HEADER_LEN) {
		uint32_t len = frame_payload_len(c->in + at);

		CHECK(len <= KEY_LEN + PACKET_MAX);
		if (c->in_len - at - FRAME_HEADER_LEN < len)
			break;
		check_frame(who, c->in + at, len);
		at += FRAME_HEADER_LEN + len;
	}
	c->in_len -= at;
	memmove(c->in, c->in + at, c->in_len);
}

/* Up to max bytes; returns how many came. */
static size_t receive(int who, size_t max)
{
	struct client *c = &g->client[who];
	size_t all = 0;

	while (c->fd >= 0 && !c->ended && all < max) {
		ssize_t n =
		    recv(c->fd, c->in + c->in_len, MIN(sizeof(c->in) - c->in_len, max - all), 0);

		if (n <= 0) {
			CHECK(n == 0 || errno == EAGAIN || errno == ECONNRESET);
			c->ended = n == 0 || errno == ECONNRESET;
			break;
		}
		c->in_len += (size_t)n;
		all += (size_t)n;
		take_frames(who);
	}
	return all;
}

/* ---- What is sent ---------------------------------------------------------------------------- */

static void check_flows(void);

static void turns(int which, int n)
{
	while (n-- > 0)
		for (int w = 0; w < BED_WORKERS; w++)
			if (which & 1 << w)
				worker_turn(g->b.worker[w], false);
	check_flows();
}

/* What the socket takes of what is to be sent, in pieces with a turn behind each. */
static size_t push_out(struct client *c)
{
	size_t at = 0;

	while (c->fd >= 0 && at < c->out_len) {
		size_t want = g->piece ? MIN(g->piece, c->out_len - at) : c->out_len - at;
		ssize_t n = send(c->fd, c->out + at, want, MSG_NOSIGNAL);

		if (n <= 0) {
			if (errno != EAGAIN)
				c->out_len = at;
			break;
		}
		at += (size_t)n;
		/* No more than so many pieces, as each costs a turn. */
		if (g->piece && at < 64 * g->piece)
			turns(3, 1);
	}
	if (c->fd < 0)
		return 0;
	c->out_len -= at;
	memmove(c->out, c->out + at, c->out_len);
	return at;
}

static uint8_t *room_to_send(struct client *c, size_t len)
{
	if (c->fd < 0 || c->out_len + len > PENDING_MAX || g->sent + len > BUDGET)
		return NULL;
	g->sent += len;
	c->out_len += len;
	return c->out + c->out_len - len;
}

static void send_raw(int who, const uint8_t *p, size_t len)
{
	uint8_t *to = room_to_send(&g->client[who], len);

	if (!to || len == 0)
		return;
	g->wild[key_of_client(who)] = true;
	memcpy(to, p, len);
	push_out(&g->client[who]);
}

/* what: whom it is for (low three bits), how long it is, whether it is disco. */
static void send_packet(int who, uint8_t what)
{
	static const uint32_t sizes[16] = {
	    0, 1, 22, 23, 61, 62, 63, 100, 1400, 4096, 9000, 16347, 32768, 49115, 65535, 65536};
	uint32_t len = sizes[what >> 3 & 15], seq = g->seq + 1;
	uint8_t mark[MARK_LEN] = "data..fuzzmark";
	struct client *c = &g->client[who];
	uint8_t *p = room_to_send(c, FRAME_PACKET_HEAD + len);

	if (!p)
		return;
	g->seq = seq;
	frame_put_header(p, FRAME_SEND_PACKET, KEY_LEN + len);
	memcpy(p + FRAME_HEADER_LEN, g->key[what & 7].b, KEY_LEN);
	p += FRAME_PACKET_HEAD;
	if (what & 0x80)
		memcpy(mark, DISCO_MAGIC, DISCO_MAGIC_LEN);
	be32_put(mark + 14, c->id);
	be32_put(mark + 18, seq);
	mark[22] = what & 7;
	memcpy(p, mark, MIN(len, MARK_LEN));
	if (len > MARK_LEN)
		memcpy(p + MARK_LEN, filling(seq, MARK_LEN), len - MARK_LEN);
}

/* As if that worker had no CPU left: its ring is full to where no run of packets fits, or to where
 * no letter does. */
static void jam(int from, bool whole)
{
	int to = 1 - from;
	struct not_here_letter *n;

	for (uint32_t len = FILLER_LEN; len >= (whole ? sizeof(*n) : FILLER_LEN); len /= 2) {
		while ((n = mail_reserve(g->b.mail, from, to, LETTER_NOT_HERE, len, whole))) {
			*n = (struct not_here_letter){.to = {.slot = UINT32_MAX}};
			mail_commit(g->b.mail, from, to);
		}
	}
}

/* Packets to keys that nobody has, each to another. */
static void scatter(int who, int n)
{
	for (; n > 0; n--) {
		uint8_t *p = room_to_send(&g->client[who], FRAME_PACKET_HEAD + DISCO_LEN_MIN);

		if (!p)
			return;
		frame_put_header(p, FRAME_SEND_PACKET, KEY_LEN + DISCO_LEN_MIN);
		memset(p + FRAME_HEADER_LEN, 0, KEY_LEN + DISCO_LEN_MIN);
		be32_put(p + FRAME_HEADER_LEN, ++g->scattered);
		if (n & 1)
			memcpy(p + FRAME_PACKET_HEAD, DISCO_MAGIC, DISCO_MAGIC_LEN);
	}
	push_out(&g->client[who]);
}

static void ask(enum letter_kind what)
{
	int gate = mail_gate(g->b.mail);

	for (int w = 0; w < BED_WORKERS; w++) {
		CHECK(mail_reserve(g->b.mail, gate, w, what, 0, true));
		mail_commit(g->b.mail, gate, w);
	}
	mail_publish(g->b.mail, gate);
	g->asked = true;
}

/* ---- What must hold -------------------------------------------------------------------------- */

struct sums {
	uint64_t packets, bytes, disco, drop_packets[DROP_REASON_COUNT];
	uint64_t drop_bytes[DROP_REASON_COUNT];
	uint64_t flows;
};

static void add_totals(struct sums *s, const struct flow_totals *o)
{
	s->packets += o->packets;
	s->bytes += o->bytes;
	s->disco += o->disco_packets;
	for (int r = 0; r < DROP_REASON_COUNT; r++) {
		s->drop_packets[r] += o->drop_packets[r];
		s->drop_bytes[r] += o->drop_bytes[r];
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
		if (f->drops == FLOW_NONE)
			continue;
		for (int r = 0; r < DROP_REASON_COUNT; r++) {
			s->drop_packets[r] += t->drops[f->drops].packets[r];
			s->drop_bytes[r] += t->drops[f->drops].bytes[r];
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
		CHECK(s.packets == w->counters.v[C_PACKETS_RECV]);
		CHECK(s.bytes == w->counters.v[C_BYTES_RECV]);
		CHECK(s.disco == w->counters.v[C_KIND_DISCO]);
		CHECK(s.flows == w->counters.v[C_FLOWS]);
	}
}

struct waiting {
	uint64_t packets, payload, bytes;
	uint64_t conns;
};

static void sum_waiting(struct waiting *sum, const struct worker *w)
{
	for (uint32_t s = 0; s < w->nconns; s++) {
		const struct conn *c = w->conn[s].conn;

		if (!c)
			continue;
		sum->conns++;
		CHECK(!c->dead && c->control_len <= CONTROL_MAX + 8192);
		for (int kind = 0; kind < KIND_COUNT; kind++) {
			const struct waitq *q = &c->wait[kind];

			CHECK(!c->fresh[kind].first);
			CHECK(c->blocked || q->packets == 0);
			CHECK(q->bytes <= WAIT_BYTES_MAX + FRAME_MAX);
			sum->packets += q->packets;
			sum->bytes += q->bytes;
			sum->payload += frames_payload(q->bytes, q->packets);
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
	CHECK(n.v[C_PACKETS_RECV] == n.v[C_PACKETS_SENT] + drops_of(n.drop_packets) + wait.packets);
	CHECK(n.v[C_BYTES_RECV] == n.v[C_BYTES_SENT] + drops_of(n.drop_bytes) + wait.payload);
	CHECK(n.v[C_QUEUE_BYTES] == wait.bytes);
	CHECK(n.v[C_CONNECTIONS] == wait.conns);
	for (int r = 0; r < DROP_REASON_COUNT; r++) {
		CHECK(s.drop_packets[r] ==
		      n.drop_packets[r][KIND_OTHER] + n.drop_packets[r][KIND_DISCO]);
		CHECK(s.drop_bytes[r] == n.drop_bytes[r][KIND_OTHER] + n.drop_bytes[r][KIND_DISCO]);
	}
	for (int why = 0; why < CLOSE_REASON_COUNT; why++)
		closed += n.closed[why];
	CHECK(closed + wait.conns == g->logins);
}

static void check_flow_part(const struct flow_part *p)
{
	uint64_t n = p->other.packets;

	for (uint32_t i = 0; i < p->n; i++) {
		CHECK(key_index(p->row[i].src.b) >= 0);
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
	const void *part = *(void *const *)(const void *)l->body;

	if (l->kind == LETTER_FLOWS)
		check_flow_part(part);
	else if (l->kind == LETTER_CLIENTS)
		check_client_part(part);
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
		CHECK(g->rows[w] == g->b.worker[w]->counters.v[C_PACKETS_RECV]);
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
		const struct conn *conn = c->fd < 0 ? NULL : conn_of(c);

		/* Not so behind a door that was closed half. */
		if (!conn || c->ended)
			continue;
		CHECK(c->greeted && c->in_len == 0);
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
	}
}

/* ---- The program ----------------------------------------------------------------------------- */

struct input {
	const uint8_t *p;
	size_t len;
};

static uint8_t take(struct input *in)
{
	if (in->len == 0)
		return 0;
	in->len--;
	return *in->p++;
}

static struct input take_bytes(struct input *in, size_t n)
{
	struct input part = {in->p, MIN(n, in->len)};

	in->p += part.len;
	in->len -= part.len;
	return part;
}

static void rare_step(int who, uint8_t what)
{
	struct client *c = &g->client[who];

	switch (what & 7) {
	case 0: /* how what is sent is cut from now on */
		g->piece = what >> 3;
		break;
	case 1:
		jam(what >> 3 & 1, what >> 4 & 1);
		break;
	case 2:
		if (c->fd >= 0)
			shutdown(c->fd, SHUT_WR);
		break;
	case 3:
		/* It takes no more bytes, and does not end by itself. */
		if (c->fd >= 0) {
			shutdown(c->fd, SHUT_RD);
			c->ended = true;
		}
		break;
	case 4:
		scatter(who, what >> 3);
		break;
	case 5:
		ask(what >> 3 & 1 ? LETTER_ASK_CLIENTS : LETTER_ASK_FLOWS);
		break;
	default:
		break;
	}
}

static void step(struct input *in)
{
	uint8_t op = take(in);
	int who = (op >> 3) % CLIENTS;
	uint8_t arg = take(in);
	struct input part;

	switch (op & 7) {
	case 0: /* bytes of the input */
		part = take_bytes(in, arg);
		send_raw(who, part.p, part.len);
		break;
	case 1: /* a packet */
		send_packet(who, arg);
		push_out(&g->client[who]);
		break;
	case 2: /* turns of the first, the second or both */
		turns(arg & 3 ? arg & 3 : 3, 1 + (arg >> 2 & 3));
		break;
	case 3: /* so much is read; 0: all */
		receive(who, arg ? arg * 64u : SIZE_MAX);
		break;
	case 4: /* it goes, or comes, with bytes that came along */
		if (g->client[who].fd >= 0) {
			leave(who);
		} else {
			part = take_bytes(in, arg);
			login(who, part.p, (uint32_t)part.len);
		}
		break;
	case 5: /* many packets */
		for (int n = arg & 63, what = take(in); n > 0; n--)
			send_packet(who, (uint8_t)what);
		push_out(&g->client[who]);
		break;
	case 6:
		fake_clock_ms += (uint64_t)arg * arg;
		break;
	case 7:
		rare_step(who, arg);
		break;
	}
}

static void begin(uint8_t limits)
{
	if (!g) {
		no_chance_begin();
		g = must_calloc(1, sizeof(*g));
	}
	chance = 1;
	fake_clock_ms = 1000000;
	bed_init(&g->b, FLOW_LIMIT_MIN);
	make_keys();
	memset(g->wild, 0, sizeof(g->wild));
	g->logins = g->seq = g->scattered = 0;
	g->asked = false;
	g->sent = g->piece = 0;
	if (limits & 1)
		g->b.config.queue_packets = 4;
	if (limits & 2)
		for (int w = 0; w < BED_WORKERS; w++)
			g->b.worker[w]->pool.limit = 160u << 10;
	for (int who = 0; who < CLIENTS; who++)
		g->client[who].fd = -1;
	for (int who = 0; who < KEYS; who++) {
		int small = 4096;
		struct conn *c;

		login(who, NULL, 0);
		c = conn_of(&g->client[who]);
		/* A socket that takes little: packets wait for it sooner. */
		if (limits & 4 << (who & 1))
			setsockopt(c->watch.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	}
}

static void end(void)
{
	for (int who = 0; who < CLIENTS; who++)
		leave(who);
	turns(3, 4);
	check_sums();
	check_empty();
	bed_fini(&g->b);
	for (int who = 0; who < CLIENTS; who++) {
		free(g->client[who].out);
		g->client[who].out = NULL;
	}
	/* Whoever drives this has a clock to look at. */
	fake_clock_ms = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	begin(take(&in));
	for (int steps = 0; in.len > 0 && steps < 400; steps++)
		step(&in);
	g->piece = 0;
	settle();
	check_arrivals();
	check_snapshot();
	end();
	return 0;
}
