/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a region's nodes and clients do to each other, as a small program: as fuzz_frames.c, but
 * some clients are mesh peers, who watch, forward and close, and two links lead to nodes whose
 * server is the input. Whatever they do, in any order, in addition to what the ground sees to:
 *
 *   - what came from clients and mesh peers was sent, forwarded, dropped or waits; flows know what
 *     was forwarded, either way; what was forwarded to us goes to no other node;
 *   - every worker knows which links are up, and by which of them each key is reached;
 *   - who watches knows who is connected;
 *   - gauges tell the truth, and nothing is left of what has gone.
 *
 * The first byte sets limits, then steps follow: a byte of what (low three bits) and who, and
 * operands; see any_step() and step().
 */
#define CLIENTS 12 /* see key_of_client */
#define LINKS 2    /* the last of them */

#include "fuzz_ground.h"

/* What the gate knows of a link. */
static struct far_end {
	int server; /* 0 or 1 */
	bool up;    /* handed over; no end was told yet */
} far_end[LINKS];

/* Ordinary ones, two second connections, mesh peers: two, a second connection, one that has the key
 * of an ordinary client; links. */
static int key_of_client(int who)
{
	static const int key[CLIENTS - LINKS] = {
	    0, 1, 2, 3, 0, 2, KEY_SERVER, KEY_SERVER + 1, KEY_SERVER, 1};

	return is_link(who) ? KEY_SERVER + far_end[link_of(who)].server : key[who];
}

static bool is_mesh_peer(int who)
{
	return who >= KEYS + 2 && !is_link(who);
}

/* ---- Links ----------------------------------------------------------------------------------- */

/* The connection of a link, NULL while it is down. */
static struct conn *link_conn(int link)
{
	struct conn *c = NULL;

	for (int w = 0; w < BED_WORKERS; w++) {
		struct conn *here = g->b.worker[w]->region.link[link].conn;

		CHECK(!c || !here);
		c = here ? here : c;
	}
	return c;
}

static void check_link_ended(const struct link_ended_letter *l)
{
	if (l->link == MESH_LINK_NONE)
		return; /* filler */
	CHECK(l->link < LINKS && l->why < CLOSE_REASON_COUNT);
	if (l->epoch != g->b.mesh->link[l->link].epoch)
		return;
	CHECK(far_end[l->link].up && !link_conn(l->link));
	far_end[l->link].up = false;
}

/* It is dialled, with success: after its end was told, or (more than the gate does) while the
 * connection before it is still there; then it is the same server. */
static void link_come(int who, int server, const uint8_t *early, uint32_t early_len)
{
	struct far_end *f = &far_end[link_of(who)];
	struct client *c = &g->client[who];
	int before = c->fd;
	struct admit facts = {.is_link = true, .link = (uint8_t)link_of(who)};

	read_parts();
	c->fd = -1;
	if (!come(who)) {
		c->fd = before;
		return;
	}
	if (!f->up)
		f->server = server;
	f->up = true;
	facts.info.key = g->key[KEY_SERVER + f->server];
	facts.epoch = ++g->b.mesh->link[facts.link].epoch;
	g->links++;
	c->rubbish = early_len > 0;
	c->fd = bed_admit(&g->b, &facts, early, early_len).fd;
	if (before >= 0)
		close(before);
}

static void say_frame(int who, enum frame_type type, const uint8_t *payload, uint32_t len)
{
	uint8_t *to = room_to_send(&g->client[who], FRAME_HEADER_LEN + len);

	if (!to)
		return;
	frame_put_header(to, type, len);
	if (len)
		memcpy(to + FRAME_HEADER_LEN, payload, len);
	if (type == FRAME_PEER_PRESENT || type == FRAME_PEER_GONE)
		g->client[who].present[key_index(payload)] = type == FRAME_PEER_PRESENT;
}

/* Of one key, in one of the lengths that there are. */
static void say_presence(int who, int key, bool present, bool other_len)
{
	uint8_t p[PEER_PRESENT_LEN + 9] = {0};

	memcpy(p, g->key[key].b, KEY_LEN);
	if (present)
		say_frame(who, FRAME_PEER_PRESENT, p, other_len ? sizeof(p) : PEER_PRESENT_LEN);
	else
		say_frame(who, FRAME_PEER_GONE, p, other_len ? KEY_LEN : PEER_GONE_LEN);
}

static void say_much(int who, uint8_t what, int n)
{
	for (int i = 0; i < n; i++)
		say_presence(who, (what + i * 5) & 7, ((what >> 3) + i / 8) & 1, false);
}

/* ---- What must hold of a mesh at rest -------------------------------------------------------- */

static void check_views(void)
{
	for (int l = 0; l < LINKS; l++) {
		const struct conn *c = link_conn(l);

		CHECK(far_end[l].up == (c != NULL));
		for (int w = 0; w < BED_WORKERS; w++) {
			const struct link_view *v = &g->b.worker[w]->region.link[l];

			CHECK(!v->untold && !v->gate_untold && v->purge == MAP64_NONE);
			CHECK(v->up == (c != NULL));
			if (!c)
				continue;
			CHECK(v->epoch == g->b.mesh->link[l].epoch);
			CHECK(v->worker == c->worker->self);
			CHECK(key_equal(&v->server, &g->key[KEY_SERVER + far_end[l].server]));
			CHECK(c->mesh->traffic == &g->b.mesh->link[l].traffic);
		}
	}
}

struct reach {
	uint64_t local, remote, multi, keys;
	uint64_t by_link[LINKS];
};

static void add_reach(struct reach *r, const struct worker *w, const struct peer *p)
{
	uint32_t n = 0;

	for (const struct conn *c = p->conns; c; c = c->next_of_peer)
		n++;
	CHECK(n == p->nconns && p->active == p->conns);
	r->local += n > 0;
	r->remote += n == 0 && p->nforwarders > 0;
	r->keys += p->nforwarders > 0;
	r->multi += p->nforwarders > 1;
	for (int i = 0; i < p->nforwarders; i++) {
		const struct link_view *v = &w->region.link[p->forwarder[i].link];

		CHECK(v->up && v->epoch == p->forwarder[i].epoch);
		r->by_link[p->forwarder[i].link]++;
	}
}

/* Gauges are what a walk finds. */
static void check_gauges(void)
{
	struct counters n = bed_counters(&g->b);
	uint64_t watching = 0, multi = 0;

	for (int i = 0; i < BED_WORKERS; i++) {
		const struct worker *w = g->b.worker[i];
		struct reach r = {0};

		for (uint32_t s = 0; s < w->peers.nslots; s++)
			if (w->peers.slot[s].peer)
				add_reach(&r, w, w->peers.slot[s].peer);
		for (uint32_t s = 0; s < w->nconns; s++)
			if (w->conn[s].conn && w->conn[s].conn->mesh_peer)
				watching += w->conn[s].conn->mesh->watching;
		CHECK(w->counters.v[C_CLIENTS_LOCAL] == r.local);
		CHECK(w->counters.v[C_CLIENTS_REMOTE] == r.remote);
		CHECK(w->counters.v[C_CLIENTS] == r.local + r.remote);
		CHECK(w->region.keys == r.keys);
		for (int l = 0; l < LINKS; l++)
			CHECK(g->b.mesh->peers[i][l] == r.by_link[l]);
		multi += r.multi;
	}
	CHECK(n.v[C_WATCHERS] == watching);
	CHECK(n.v[C_MULTI_CREATED] - n.v[C_MULTI_DELETED] == multi);
}

static void check_traffic(void)
{
	struct counters n = bed_counters(&g->b);
	struct mesh_traffic sum = {0};

	for (int l = 0; l < LINKS; l++) {
		const struct mesh_traffic *t = &g->b.mesh->link[l].traffic;

		sum.tx_packets += t->tx_packets;
		sum.tx_bytes += t->tx_bytes;
		sum.rx_packets += t->rx_packets;
		sum.rx_bytes += t->rx_bytes;
	}
	CHECK(sum.tx_packets == n.v[C_FORWARDED_OUT]);
	CHECK(sum.tx_bytes == n.v[C_FORWARDED_OUT_BYTES]);
	CHECK(sum.rx_packets <= n.v[C_FORWARDED_IN]);
	CHECK(sum.rx_bytes <= n.v[C_FORWARDED_IN_BYTES]);
}

static const struct peer *peer_of(int key)
{
	uint64_t hash = key_hash(&g->key[key]);

	return peer_find(&g->b.worker[key_owner(hash, BED_WORKERS)]->peers, &g->key[key], hash);
}

static bool is_reached(const struct peer *p, int link)
{
	for (int i = 0; p && i < p->nforwarders; i++)
		if (p->forwarder[i].link == link)
			return true;
	return false;
}

/* Who watches has been told who is here; what links have told is known. */
static void check_knowledge(void)
{
	for (int who = KEYS + 2; who < CLIENTS; who++) {
		const struct client *c = &g->client[who];
		const struct conn *conn = conn_of(who);

		if (!conn || c->ended || (is_link(who) && c->rubbish))
			continue;
		CHECK(c->out_len == 0);
		for (int key = 0; key < KEYS_ALL; key++) {
			const struct peer *p = peer_of(key);

			if (is_link(who))
				CHECK(is_reached(p, link_of(who)) == c->present[key]);
			else if (conn->mesh->watching)
				CHECK((p && p->nconns > 0) == c->present[key]);
		}
	}
}

static void check_mesh(void)
{
	read_parts();
	turns(3, 2);
	read_parts();
	check_views();
	check_gauges();
	check_traffic();
	check_knowledge();
}

/* ---- The program ----------------------------------------------------------------------------- */

/* The ring from a worker to the gate is full. */
static void crowd_gate(int from)
{
	int gate = mail_gate(g->b.mail);
	struct link_ended_letter *l;

	while ((l = mail_reserve(g->b.mail, from, gate, LETTER_LINK_ENDED, sizeof(*l), true))) {
		*l = (struct link_ended_letter){.link = MESH_LINK_NONE};
		mail_commit(g->b.mail, from, gate);
	}
}

static void link_step(int who, uint8_t what)
{
	static const uint8_t payload[2048];

	switch (what & 7) {
	case 5: /* as nodes may, too; many of them */
		for (int n = what >> 3; n > 0; n--)
			say_frame(who, FRAME_PING, payload, PING_LEN);
		break;
	case 6:
		say_frame(who, FRAME_HEALTH, payload, (what >> 3) * 64u);
		break;
	default:
		/* Also a Pong that nobody asked for. */
		say_frame(who, what & 0x80 ? FRAME_PONG : FRAME_PING, payload,
		    PING_LEN + (what >> 3 & 15));
		break;
	}
	push_out(&g->client[who]);
}

static void mesh_step(int who, uint8_t what)
{
	if ((what & 7) == 6)
		say_frame(who, FRAME_WATCH_CONNS, NULL, 0);
	else
		say_frame(who, FRAME_CLOSE_PEER, g->key[what >> 3 & 7].b, KEY_LEN);
	push_out(&g->client[who]);
}

/* What happens now and then, besides what does everywhere. */
static void mesh_rare_step(int who, uint8_t what)
{
	if (is_link(who))
		link_step(who, what);
	else if (is_mesh_peer(who))
		mesh_step(who, what);
	else
		crowd_gate(what >> 3 & 1);
}

/* It goes, or comes, with bytes that came along. Links may come again before they went. */
static void toggle(int who, uint8_t arg, struct input *in)
{
	struct input early;

	if (g->client[who].fd >= 0 && !(is_link(who) && arg & 2)) {
		leave(who);
		return;
	}
	early = take_bytes(in, is_link(who) ? arg >> 2 : arg);
	if (is_link(who))
		link_come(who, arg & 1, early.p, (uint32_t)early.len);
	else
		login(who, early.p, (uint32_t)early.len);
}

/* Packets, of as many senders as `src` says: who forwards does so for others, too. Or presence. */
static void flood(int who, uint8_t arg, uint8_t what, uint8_t src)
{
	int n = arg & 0x80 ? (arg & 63) * 32 : arg & 63;

	if (is_link(who)) {
		say_much(who, what, n);
	} else {
		for (int i = 0; i < n; i++)
			send_packet(who, what,
			    is_mesh_peer(who) ? (src + (src & 8 ? i : 0)) & 7 : key_of_client(who));
	}
	push_out(&g->client[who]);
}

static void step(uint8_t what, int who, uint8_t arg, struct input *in)
{
	uint8_t packet;

	switch (what) {
	case 1: /* a packet, or who is at the other end of a link */
		if (is_link(who)) {
			say_presence(who, arg & 7, !(arg & 8), arg & 16);
			push_out(&g->client[who]);
			break;
		}
		flood(who, 1, arg, is_mesh_peer(who) ? take(in) : 0);
		break;
	case 4:
		toggle(who, arg, in);
		break;
	case 5:
		packet = take(in);
		flood(who, arg, packet, is_mesh_peer(who) ? take(in) : 0);
		break;
	case 7:
		mesh_rare_step(who, arg);
		break;
	}
}

/* Limits: see ground_begin; 4, 8: small sockets of even and odd clients; 16: of links; 32: the
 * first server is this very one; 64: links don't answer; 128: nobody is there to begin with. */
static void begin(uint8_t limits)
{
	ground_begin(limits, LINKS);
	memset(far_end, 0, sizeof(far_end));
	g->silent = limits & 64;
	if (limits & 32)
		g->b.config.server_key = g->key[KEY_SERVER];
	for (int who = 0; who < CLIENTS && !(limits & 128); who++) {
		if (is_link(who))
			link_come(who, link_of(who), NULL, 0);
		else if (who < KEYS || who == KEYS + 2 || who == KEYS + 3)
			login(who, NULL, 0);
		if (limits & (is_link(who) ? 16 : 4 << (who & 1)))
			make_small(who);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	begin(take(&in));
	run_steps(&in);
	check_mesh();
	check_snapshot();
	ground_end();
	return 0;
}
