/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz_ground.h: where logged-in clients do what an input says: two workers, turn by turn, on a
 * clock of their own, and what must hold whatever they do. For fuzz_frames.c and fuzz_mesh.c, each
 * of which says how many CLIENTS there are, and who.
 *
 * The far ends of mesh links are clients here too: they are greeted by nobody, and get
 * ForwardPacket.
 */
#ifndef SLUICE_FUZZ_GROUND_H
#define SLUICE_FUZZ_GROUND_H

#include "fuzz.h"

#include <errno.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/fake_clock.h"
#include "../unit/relay_bed.h"
#include "relay/link.h"

#define KEYS 4 /* two of each worker */
/* And one of each that never logs in, and one of each that is another server's. */
#define KEYS_ALL 8
#define KEY_SERVER 6
#define KIND_MAX 2
#define CONNS_MAX 64 /* logins of one input */
/* Bytes that a client has still to send, and that all clients send in one input. */
#define PENDING_MAX (256u << 10)
#define BUDGET (2u << 20)
/* In front of the packets made here: first as disco packets begin, or not. */
#define MARK_LEN 25
#define FILLER_LEN (64u << 10)
#define MANY_LETTERS 1100

struct client {
	int fd;      /* -1: not here */
	uint32_t id; /* of this connection */
	uint64_t number;
	bool greeted, ended;
	bool rubbish; /* sent bytes of the input: what it has said is not known */
	/* a mesh peer: who is there, as it was told; a link: as it told */
	bool present[KEYS_ALL];
	uint8_t *out; /* not sent yet */
	size_t out_len;
	uint8_t in[FRAME_MAX]; /* of a frame that is not whole yet */
	size_t in_len;
	uint64_t packets, bytes; /* received */
	/* by the sending connection and the destination */
	uint32_t last_seq[CONNS_MAX][KEYS_ALL][KIND_MAX];
};

/* The target's. */
static int key_of_client(int who);
static bool is_mesh_peer(int who);
static void check_link_ended(const struct link_ended_letter *l);

struct ground {
	struct bed b;
	struct key key[KEYS_ALL];
	struct client client[CLIENTS];
	bool wild[KEYS_ALL];   /* sent bytes of the input: may say anything */
	bool wild_mesh;        /* so did a mesh peer: anything may be said in any name */
	bool joined[KEYS_ALL]; /* has been here */
	bool silent;           /* links don't answer pings */
	uint32_t logins, links, seq, scattered;
	bool asked;                 /* for snapshots */
	uint64_t rows[BED_WORKERS]; /* packets in the last one of flows, other's too */
	size_t sent, piece;
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

/* Of a mesh of this many links, the last clients are the far ends. */
static bool is_link(int who)
{
	return who >= CLIENTS - (g->b.mesh ? g->b.mesh->n : 0);
}

static int link_of(int who)
{
	return who - (CLIENTS - g->b.mesh->n);
}

/* Keys of one letter each, so that inputs can name them: four of either worker. */
static void make_keys(void)
{
	static const int place[] = {0, 1, KEY_SERVER, KEYS};
	int of_worker[BED_WORKERS] = {0};

	for (int letter = 'A'; letter <= 'Z'; letter++) {
		struct key k;
		int w, n;

		memset(k.b, letter, KEY_LEN);
		w = key_owner(key_hash(&k), BED_WORKERS);
		n = of_worker[w]++;
		if (n < 2)
			g->key[w * 2 + n] = k;
		else if (n < 4)
			g->key[place[n] + w] = k;
	}
	CHECK(of_worker[0] >= 4 && of_worker[1] >= 4);
}

/* A place for a new connection; false when there were enough. */
static bool come(int who)
{
	struct client *c = &g->client[who];

	if (c->fd >= 0 || g->logins + g->links == CONNS_MAX)
		return false;
	free(c->out);
	memset(c, 0, offsetof(struct client, in));
	memset(c->last_seq, 0, sizeof(c->last_seq));
	c->in_len = 0;
	c->packets = c->bytes = 0;
	c->out = must_alloc(PENDING_MAX);
	return true;
}

static void login(int who, const uint8_t *early, uint32_t early_len)
{
	struct client *c = &g->client[who];
	struct admit facts = {.mesh_peer = is_mesh_peer(who)};

	if (!come(who))
		return;
	facts.info.key = g->key[key_of_client(who)];
	g->joined[key_of_client(who)] = true;
	c->id = g->logins++;
	if (early_len) {
		c->rubbish = g->wild[key_of_client(who)] = true;
		g->wild_mesh |= facts.mesh_peer;
	}
	c->fd = bed_login_as(&g->b, facts, early, early_len).fd;
	c->number = g->b.logins;
}

/* The relay's end of a connection, NULL when it has ended. */
static struct conn *conn_of(int who)
{
	const struct client *c = &g->client[who];

	if (c->fd < 0)
		return NULL;
	for (int i = 0; i < BED_WORKERS; i++) {
		const struct worker *w = g->b.worker[i];

		if (is_link(who) && w->region.link[link_of(who)].conn)
			return w->region.link[link_of(who)].conn;
		for (uint32_t s = 0; s < w->nconns && !is_link(who); s++)
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
	for (int i = 0; i < KEYS_ALL; i++)
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

/* A packet that was made here: whole, from whom and for whom it says, behind those before it. */
static void check_packet(int who, int from, int to, const uint8_t *p, size_t len)
{
	struct client *c = &g->client[who];
	uint32_t id, seq;
	bool disco = packet_is_disco(p, len);

	if (len < MARK_LEN)
		return;
	CHECK(memcmp(p + 6, "fuzzmark", 8) == 0);
	id = be32_get(p + 14);
	seq = be32_get(p + 18);
	CHECK(id < g->logins && seq <= g->seq);
	CHECK(p[22] == to && (p[23] & 0x7f) == from);
	/* What a mesh peer forwarded goes no further. */
	CHECK(!is_link(who) || p[23] < 0x80);
	CHECK(seq > c->last_seq[id][to][disco]);
	c->last_seq[id][to][disco] = seq;
	CHECK(memcmp(p + MARK_LEN, filling(seq, MARK_LEN), len - MARK_LEN) == 0);
}

/* From whoever has a key and was here, or is somewhere else, as a mesh peer said. */
static void check_received(int who, const uint8_t *payload, uint32_t len)
{
	struct client *c = &g->client[who];
	int from = key_index(payload);

	CHECK(len >= KEY_LEN && len <= KEY_LEN + PACKET_MAX);
	c->packets++;
	c->bytes += len - KEY_LEN;
	if (g->wild_mesh)
		return;
	CHECK(from >= 0 && (g->b.mesh || g->joined[from]));
	if (!g->wild[from])
		check_packet(who, from, key_of_client(who), payload + KEY_LEN, len - KEY_LEN);
}

/* Only from who was here itself. */
static void check_forwarded(int who, const uint8_t *payload, uint32_t len)
{
	struct client *c = &g->client[who];
	int from = key_index(payload), to = key_index(payload + KEY_LEN);

	CHECK(len >= 2 * KEY_LEN && len <= 2 * KEY_LEN + PACKET_MAX);
	c->packets++;
	c->bytes += len - 2 * KEY_LEN;
	CHECK(from >= 0 && g->joined[from]);
	CHECK(to >= 0 || c->rubbish);
	if (!g->wild[from])
		check_packet(who, from, to, payload + 2 * KEY_LEN, len - 2 * KEY_LEN);
}

static uint8_t *room_to_send(struct client *c, size_t len);

static void check_ping(int who, const uint8_t *payload, uint32_t len)
{
	uint8_t *to;

	CHECK(is_link(who) && len == PING_LEN);
	if (g->silent || !(to = room_to_send(&g->client[who], FRAME_HEADER_LEN + PING_LEN)))
		return;
	frame_put_header(to, FRAME_PONG, PING_LEN);
	memcpy(to + FRAME_HEADER_LEN, payload, PING_LEN);
}

/* Who comes and goes. */
static void check_presence(int who, uint8_t type, const uint8_t *payload, uint32_t len)
{
	int key = key_index(payload);

	CHECK(!is_link(who));
	if (type == FRAME_PEER_PRESENT)
		CHECK(is_mesh_peer(who) && len == PEER_PRESENT_LEN && key >= 0 && g->joined[key]);
	else
		CHECK(len == PEER_GONE_LEN && payload[KEY_LEN] <= PEER_GONE_NOT_HERE);
	if (key >= 0)
		g->client[who].present[key] = type == FRAME_PEER_PRESENT;
}

static void check_frame(int who, const uint8_t *p, uint32_t len)
{
	struct client *c = &g->client[who];
	const uint8_t *payload = p + FRAME_HEADER_LEN;

	CHECK(is_link(who) || c->greeted == (p[0] != FRAME_SERVER_INFO));
	switch (p[0]) {
	case FRAME_SERVER_INFO:
		CHECK(!is_link(who) && len == 3 && memcmp(payload, "hi!", 3) == 0);
		c->greeted = true;
		break;
	case FRAME_RECV_PACKET:
		CHECK(!is_link(who));
		check_received(who, payload, len);
		break;
	case FRAME_FORWARD_PACKET:
		CHECK(is_link(who));
		check_forwarded(who, payload, len);
		break;
	case FRAME_KEEP_ALIVE:
		CHECK(!is_link(who) && len == 0);
		break;
	case FRAME_PING:
		check_ping(who, payload, len);
		break;
	case FRAME_PONG:
		CHECK(len == PING_LEN);
		break;
	case FRAME_PEER_PRESENT:
	case FRAME_PEER_GONE:
		check_presence(who, p[0], payload, len);
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

		CHECK(len <= FRAME_MAX - FRAME_HEADER_LEN);
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
	g->client[who].rubbish = true;
	if (!is_link(who))
		g->wild[key_of_client(who)] = true;
	g->wild_mesh |= is_mesh_peer(who);
	memcpy(to, p, len);
	push_out(&g->client[who]);
}

/* what: whom it is for (low three bits), how long it is, whether it is disco. src: who sent it; of
 * a mesh peer another one than itself: it forwards. */
static void send_packet(int who, uint8_t what, int src)
{
	static const uint32_t sizes[16] = {
	    0, 1, 22, 23, 61, 62, 63, 100, 1400, 4096, 9000, 16347, 32768, 49115, 65535, 65536};
	uint32_t len = sizes[what >> 3 & 15], seq = g->seq + 1;
	uint8_t mark[MARK_LEN] = "data..fuzzmark";
	struct client *c = &g->client[who];
	bool forward = is_mesh_peer(who) && src != key_of_client(who);
	uint32_t head = forward ? FRAME_FORWARD_HEAD : FRAME_PACKET_HEAD;
	uint8_t *p = room_to_send(c, head + len);

	if (!p)
		return;
	g->seq = seq;
	frame_put_header(
	    p, forward ? FRAME_FORWARD_PACKET : FRAME_SEND_PACKET, head - FRAME_HEADER_LEN + len);
	memcpy(p + FRAME_HEADER_LEN, g->key[src].b, KEY_LEN);
	memcpy(p + head - KEY_LEN, g->key[what & 7].b, KEY_LEN);
	p += head;
	if (what & 0x80)
		memcpy(mark, DISCO_MAGIC, DISCO_MAGIC_LEN);
	be32_put(mark + 14, c->id);
	be32_put(mark + 18, seq);
	mark[22] = what & 7;
	mark[23] = (uint8_t)(src | (forward ? 0x80 : 0));
	memcpy(p, mark, MIN(len, MARK_LEN));
	if (len > MARK_LEN)
		memcpy(p + MARK_LEN, filling(seq, MARK_LEN), len - MARK_LEN);
}

/* A letter that means nothing; false when the ring is full. */
static bool put_filler(int from, int to, uint32_t kind, uint32_t len, bool control)
{
	/* Long enough for either kind, as far as it is read. */
	struct conn_ref *l = mail_reserve(g->b.mail, from, to, kind, len, control);

	if (!l)
		return false;
	*l = (struct conn_ref){.slot = UINT32_MAX};
	mail_commit(g->b.mail, from, to);
	return true;
}

enum jam { JAM_RUNS, JAM_ALL, JAM_MANY };

/* As if that worker had no CPU left: its ring is full to where no run of packets fits, or to where
 * no letter does; or holds more letters than it takes in a turn. */
static void jam(int from, enum jam how)
{
	int to = 1 - from;
	uint32_t len = FILLER_LEN;

	for (int n = 0; how == JAM_MANY && n < MANY_LETTERS; n++)
		put_filler(from, to, LETTER_WATCH_ACK, sizeof(struct watch_letter), false);
	if (how == JAM_MANY)
		return;
	for (; len >= (how == JAM_ALL ? sizeof(struct not_here_letter) : FILLER_LEN); len /= 2)
		while (put_filler(from, to, LETTER_NOT_HERE, len, how == JAM_ALL))
			;
	while (how == JAM_ALL &&
	       put_filler(from, to, LETTER_WATCH_ACK, sizeof(struct watch_letter), true))
		;
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

/* What must hold of all this. */
#include "fuzz_sums.h"

/* ---- The beginning and the end --------------------------------------------------------------- */

/* The ground with nobody on it. */
static void ground_begin(uint8_t limits, int links)
{
	if (!g) {
		no_chance_begin();
		g = must_calloc(1, sizeof(*g));
	}
	chance = 1;
	fake_clock_ms = 1000000;
	bed_init(&g->b, FLOW_LIMIT_MIN);
	if (links)
		bed_mesh(&g->b, links);
	make_keys();
	memset(g->wild, 0, sizeof(g->wild));
	memset(g->joined, 0, sizeof(g->joined));
	g->logins = g->links = g->seq = g->scattered = 0;
	g->asked = g->wild_mesh = g->silent = false;
	g->sent = g->piece = 0;
	if (limits & 1)
		g->b.config.queue_packets = 4;
	if (limits & 2)
		for (int w = 0; w < BED_WORKERS; w++)
			g->b.worker[w]->pool.limit = 160u << 10;
	for (int who = 0; who < CLIENTS; who++)
		g->client[who].fd = -1;
}

/* A socket that takes little: packets wait for it sooner. */
static void make_small(int who)
{
	int small = 4096;
	struct conn *c = conn_of(who);

	if (c)
		setsockopt(c->watch.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
}

static void ground_end(void)
{
	for (int who = 0; who < CLIENTS; who++)
		leave(who);
	turns(3, 4);
	read_parts();
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

/* What happens between them. */
#include "fuzz_steps.h"

#endif
