/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/forward.h"
#include "relay/worker.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/log.h"
#include "io/tls.h"
#include "relay/path.h"

/* Letters taken of each writer in a turn. */
#define MAIL_BUDGET 1024
/* Lines on connects, disconnects and ClosePeer in a second; further ones are counted in one line.
 */
#define LOG_LINES_A_SECOND 20
/* While a connection is paused nobody wakes us when there is room: look this often. */
#define PAUSED_POLL_MS 1
#define SWEEP_EVERY_MS 1000
/* At the end clients are asked to come back within the first, and to try for the second. */
#define RESTART_SPREAD_MS 2000
#define RESTART_TRY_MS 30000

/* ---- Connections by reference ---------------------------------------------------------------- */

struct conn *worker_conn(const struct worker *w, struct conn_ref ref)
{
	if (ref.slot >= w->nconns || w->conn[ref.slot].gen != ref.gen)
		return NULL;
	return w->conn[ref.slot].conn;
}

struct conn_ref worker_conn_ref(const struct conn *c)
{
	return (struct conn_ref){.slot = c->slot, .gen = c->gen};
}

void worker_conn_add(struct worker *w, struct conn *c)
{
	uint32_t s = w->free_conn;

	if (s == MAP64_NONE) {
		uint32_t n = w->nconns ? w->nconns * 2 : 64;

		w->conn = realloc(w->conn, n * sizeof(*w->conn));
		CHECK(w->conn);
		for (uint32_t i = n; i-- > w->nconns;) {
			w->conn[i] = (struct conn_slot){.next_free = w->free_conn};
			w->free_conn = i;
		}
		w->nconns = n;
		s = w->free_conn;
	}
	w->free_conn = w->conn[s].next_free;
	w->conn[s].conn = c;
	c->slot = s;
	c->gen = w->conn[s].gen;
}

struct flow_set *worker_flow_set(void *worker, uint32_t conn)
{
	return &((struct worker *)worker)->conn[conn].conn->flows;
}

static void conn_remove(struct worker *w, struct conn *c)
{
	struct conn_slot *s = &w->conn[c->slot];

	s->conn = NULL;
	s->gen++;
	s->next_free = w->free_conn;
	w->free_conn = c->slot;
}

/* Those that ended in this turn; nothing of the turn names them any more. */
static void reap(struct worker *w)
{
	while (w->dead) {
		struct conn *c = w->dead;

		w->dead = c->next_dead;
		conn_remove(w, c);
		conn_free(c);
	}
}

/* ---- What became of packets ------------------------------------------------------------------ */

static bool send_reports(struct worker *w, int to)
{
	struct report_box *box = &w->neighbour[to].reports;
	uint32_t bytes = box->n * (uint32_t)sizeof(box->report[0]);

	if (!mail_post(w->mail, w->self, to, LETTER_REPORTS, box->report, bytes, true))
		return false; /* they go on adding up */
	box->n = 0;
	return true;
}

static void send_all_reports(struct worker *w)
{
	for (int to = 0; to < w->config->workers; to++)
		if (w->neighbour[to].reports.n > 0)
			(void)!send_reports(w, to);
}

/* Room in the box for a report, one on the same flow if there is. When all is taken and cannot be
 * sent, one that names no flow, so that the sums stay right. */
static struct flow_report *report_for(struct worker *w, int to, struct flow_ref flow, uint32_t what)
{
	struct report_box *box = &w->neighbour[to].reports;
	struct flow_report *r;

	for (uint32_t i = box->n; i-- > 0;) {
		r = &box->report[i];
		if (r->flow.slot == flow.slot && r->flow.gen == flow.gen && r->what == what)
			return r;
	}
	if (box->n >= REPORTS_MAX - REPORT_KINDS && flow.slot != FLOW_NONE && !send_reports(w, to))
		return report_for(w, to, (struct flow_ref){.slot = FLOW_NONE}, what);
	CHECK(box->n < REPORTS_MAX);
	r = &box->report[box->n++];
	*r = (struct flow_report){.flow = flow, .what = what};
	return r;
}

static void report(
    struct worker *w, int to, struct flow_ref flow, uint32_t what, uint32_t packets, uint64_t bytes)
{
	struct flow_report *r = report_for(w, to, flow, what);

	r->packets += packets;
	r->bytes += bytes;
}

void worker_drop(struct worker *w, struct flow_ref flow, uint32_t flow_worker, enum drop_reason why,
    bool disco, uint32_t packets, uint64_t bytes)
{
	tally(&w->counters.drop_packets[why][disco], packets);
	tally(&w->counters.drop_bytes[why][disco], bytes);
	if (flow_worker == (uint32_t)w->self)
		flow_drop(&w->flows, flow, why, packets, bytes);
	else
		report(w, (int)flow_worker, flow, why, packets, bytes);
}

void worker_forwarded(struct worker *w, struct flow_ref flow, uint32_t flow_worker, uint8_t link,
    uint32_t packets, uint64_t bytes)
{
	if (flow_worker == (uint32_t)w->self)
		flow_forwarded(&w->flows, flow, link, packets, bytes);
	else
		report(w, (int)flow_worker, flow, REPORT_LINK + link, packets, bytes);
}

void worker_waited(
    struct worker *w, struct flow_ref flow, uint32_t flow_worker, uint32_t bucket, uint32_t ms)
{
	if (flow_worker == (uint32_t)w->self)
		flow_waited(&w->flows, flow, bucket, 1, ms);
	else
		report(w, (int)flow_worker, flow, REPORT_WAITED + bucket, 1, ms);
}

static void take_reports(struct worker *w, const struct flow_report *r, uint32_t n)
{
	for (; n > 0; n--, r++) {
		if (r->what < DROP_REASON_COUNT)
			flow_drop(
			    &w->flows, r->flow, (enum drop_reason)r->what, r->packets, r->bytes);
		else if (r->what < REPORT_WAITED)
			flow_forwarded(&w->flows, r->flow, (uint8_t)(r->what - REPORT_LINK),
			    r->packets, r->bytes);
		else
			flow_waited(
			    &w->flows, r->flow, r->what - REPORT_WAITED, r->packets, r->bytes);
	}
}

/* ---- Who has gone ---------------------------------------------------------------------------- */

struct gone {
	const struct key *key;
};

static void tell_gone(void *arg, struct conn *c)
{
	const struct gone *g = arg;

	conn_put_peer_gone(c, g->key, PEER_GONE_DISCONNECTED);
}

static void gone_here(struct worker *w, const struct key *k, uint64_t hash)
{
	struct gone g = {.key = k};

	sightings_gone(&w->sightings, k, hash, tell_gone, &g);
}

static bool mail_key(
    struct worker *w, int to, uint32_t kind, const struct key *k, uint64_t hash, bool by_mesh)
{
	struct key_letter l = {.key = *k, .hash = hash, .by_mesh = by_mesh};

	return mail_post(w->mail, w->self, to, kind, &l, sizeof(l), true);
}

/* Tells the watchers of a key that has gone; true when all know. */
static bool tell_watchers(struct worker *w, struct peer *p)
{
	for (uint64_t left = p->gone_watchers; left; left &= left - 1) {
		int to = __builtin_ctzll(left);

		if (to == w->self)
			gone_here(w, &p->key, p->hash);
		else if (!mail_key(w, to, LETTER_GONE, &p->key, p->hash, false))
			return false;
		p->gone_watchers &= ~(1ull << to);
	}
	return true;
}

void worker_peer_gone(struct worker *w, struct peer *p)
{
	/* When the relay stops everybody goes, and nobody needs to be told of the others. */
	if (atomic_load_explicit(&w->stop, memory_order_relaxed))
		return;
	if (tell_watchers(w, p) || p->gone_pending)
		return;
	p->gone_pending = true;
	p->next_pending = w->gone_pending;
	w->gone_pending = p;
}

static void retry_gone(struct worker *w)
{
	struct peer *p;

	while ((p = w->gone_pending)) {
		/* Off the list first: telling may end connections, whose keys are put there. */
		w->gone_pending = p->next_pending;
		p->gone_pending = false;
		/* It may be back: then those who wait are told when it goes again. */
		if (!peer_reachable(p))
			worker_peer_gone(w, p);
		if (p->gone_pending)
			return; /* the ring is full: none of the others would get through */
	}
}

void worker_close_key(struct worker *w, const struct key *k, uint64_t hash)
{
	struct peer *p = peer_find(&w->peers, k, hash);
	char text[KEY_TEXT_LEN];

	key_text(k, text);
	if (!worker_may_log(w, &w->log_asked))
		; /* there were enough lines */
	else if (p && p->active)
		log_info("closing %s (%u connections): a mesh peer asked for it", text, p->nconns);
	else
		log_info("a mesh peer wants %s closed, which is not connected", text);
	while (p && p->conns)
		conn_close(p->conns, CLOSE_MESH_ASKED);
}

static void watch_gone(struct worker *w, int from, const struct key *k, uint64_t hash, bool by_mesh)
{
	struct peer *p = peer_get(&w->peers, k, hash);

	p->gone_watchers |= 1ull << from;
	/* It may have gone while the question was on its way. Of one at another node we may only
	 * not have heard yet: packets and presence come by different connections. */
	if (!peer_reachable(p) && !by_mesh)
		worker_peer_gone(w, p);
}

/* Asks the owners of keys heard from for the first time to tell when they go. */
static void ask_owners(struct worker *w)
{
	struct source *s;

	while ((s = sightings_untold(&w->sightings))) {
		/* Copied, as watch_gone may forget the source at once. */
		struct key k = s->key;
		bool by_mesh = s->by_mesh;

		if (s->owner != w->self &&
		    !mail_key(w, s->owner, LETTER_WATCH_GONE, &k, s->hash, by_mesh))
			return;
		sightings_told(&w->sightings);
		if (s->owner == w->self)
			watch_gone(w, w->self, &k, s->hash, by_mesh);
	}
}

/* ---- Mail ------------------------------------------------------------------------------------ */

static void read_letter(void *arg, int from, const struct letter *l)
{
	struct worker *w = arg;
	const void *body = l->body;
	const struct key_letter *k = body;
	const struct not_here_letter *n = body;
	const struct watch_letter *watcher = body;
	struct conn *c;

	switch ((enum letter_kind)l->kind) {
	case LETTER_ADMIT:
		conn_admit(w, *(struct admit *const *)body);
		break;
	case LETTER_RUN:
		cross_take_run(w, from, body, l->len);
		break;
	case LETTER_FORWARD:
		cross_take_forward(w, body, l->len);
		break;
	case LETTER_WATCH_GONE:
		watch_gone(w, from, &k->key, k->hash, k->by_mesh);
		break;
	case LETTER_GONE:
		gone_here(w, &k->key, k->hash);
		break;
	case LETTER_NOT_HERE:
		c = worker_conn(w, n->to);
		if (c && !c->dead)
			conn_not_here(c, &n->key, n->packets);
		break;
	case LETTER_REPORTS:
		take_reports(w, body, l->len / (uint32_t)sizeof(struct flow_report));
		break;
	case LETTER_LINK:
		region_take_link(w, body);
		break;
	case LETTER_PRESENT:
		region_take_present(w, body);
		break;
	case LETTER_WATCH:
		presence_take_watch(w, from, watcher->ref);
		break;
	case LETTER_UNWATCH:
		presence_take_unwatch(w, from, watcher->ref);
		break;
	case LETTER_PRESENCE:
		presence_take_frames(w, from, body, l->len);
		break;
	case LETTER_WATCH_ACK:
		presence_take_ack(w, from, watcher->ref);
		break;
	case LETTER_CLOSE_PEER:
		worker_close_key(w, &k->key, k->hash);
		break;
	case LETTER_ASK_FLOWS:
		snapshot_ask_flows(w);
		break;
	case LETTER_ASK_CLIENTS:
		snapshot_ask_clients(w);
		break;
	case LETTER_FLOWS:
	case LETTER_CLIENTS:
	case LETTER_CTX:
	case LETTER_LOG:
	case LETTER_LINK_ENDED:
		CHECK(!"a letter for somebody else");
	}
}

/* ---- Log ------------------------------------------------------------------------------------- */

bool worker_may_log(struct worker *w, uint32_t *folded)
{
	if (w->log_lines++ < LOG_LINES_A_SECOND)
		return true;
	(*folded)++;
	return false;
}

static void log_folded(struct worker *w)
{
	if (w->log_connects || w->log_disconnects)
		log_info("%u more connects and %u more disconnects in this second", w->log_connects,
		    w->log_disconnects);
	if (w->log_asked)
		log_info("%u more ClosePeer of mesh peers in this second", w->log_asked);
	w->log_lines = w->log_connects = w->log_disconnects = w->log_asked = 0;
}

/* ---- The turn -------------------------------------------------------------------------------- */

static void timer_due(void *arg, struct timer *t)
{
	struct worker *w = arg;

	if (t == &w->tick) {
		/* Each flow is looked at every five minutes or so. */
		flow_sweep(&w->flows, w->flows.touched / 300 + 16, w->now_ds, worker_flow_set, w);
		log_folded(w);
		wheel_set(&w->wheel, &w->tick, w->now_ms + SWEEP_EVERY_MS);
		return;
	}
	conn_tick(container_of(t, struct conn, timer));
}

static void set_clock(struct worker *w)
{
	w->now_ms = clock_ms();
	w->now_ds = (uint32_t)((w->now_ms - w->start_ms) / 100);
}

static bool any_paused(const struct worker *w)
{
	for (int to = 0; to < w->config->workers; to++)
		if (neighbour_waited_for(&w->neighbour[to]))
			return true;
	return w->gone_pending || w->sightings.untold != MAP64_NONE || region_waits(w) ||
	       presence_waits(w);
}

static bool any_awaited(const struct worker *w)
{
	for (int to = 0; to < w->config->workers; to++)
		if (w->neighbour[to].awaited)
			return true;
	return false;
}

static int sleep_ms(struct worker *w)
{
	int ms = wheel_sleep_ms(&w->wheel, w->now_ms);

	if (w->busy)
		return 0;
	if (w->held && (ms < 0 || w->held_ms < w->now_ms + (uint64_t)ms))
		ms = (int)(MAX(w->held_ms, w->now_ms) - w->now_ms);
	/* What was put back is no reason to stay awake. */
	if (!mail_may_sleep(w->mail, w->self))
		return any_awaited(w) ? PAUSED_POLL_MS : 0;
	return any_paused(w) ? PAUSED_POLL_MS : ms;
}

/* A clock is read only behind a turn that was busy. */
static void note_length(struct worker *w)
{
	const uint64_t *v = w->counters.v;

	if (overload_busy(&w->overload, v[C_PACKETS_RECV] + v[C_PACKETS_SENT]) &&
	    overload_turn(&w->overload, w->now_ms, clock_ms()))
		count(&w->counters, C_LONG_TURNS, 1);
	w->queues.overloaded = w->now_ms < w->overload.until_ms;
}

void worker_turn(struct worker *w, bool may_sleep)
{
	loop_wait(&w->loop, may_sleep ? sleep_ms(w) : 0);
	mail_awake(w->mail, w->self);
	set_clock(w);
	loop_dispatch(&w->loop);
	w->busy = mail_drain(w->mail, w->self, MAIL_BUDGET, read_letter, w);
	stall_retry_paused(w);
	path_run_held(w);
	wheel_run(&w->wheel, w->now_ms, timer_due, w);
	forward_flush_all(w);
	ask_owners(w);
	retry_gone(w);
	w->busy |= region_step(w);
	w->busy |= presence_step(w);
	/* These may have written control frames. */
	forward_flush_all(w);
	w->busy |= snapshot_step(w);
	send_all_reports(w);
	mail_publish(w->mail, w->self);
	mail_release(w->mail, w->self);
	reap(w);
	peer_trim(&w->peers);
	note_length(w);
}

/* Says that the relay restarts, and when to come back: not all at once. */
static void say_restarting(struct conn *c)
{
	uint8_t payload[RESTARTING_LEN];

	be32_put(payload, randombytes_uniform(RESTART_SPREAD_MS));
	be32_put(payload + 4, RESTART_TRY_MS);
	conn_put_control(c, FRAME_RESTARTING, payload, sizeof(payload));
}

void worker_close_all(struct worker *w)
{
	atomic_store(&w->stop, true);
	for (uint32_t i = 0; i < w->nconns; i++)
		if (w->conn[i].conn)
			say_restarting(w->conn[i].conn);
	forward_flush_all(w);
	for (uint32_t i = 0; i < w->nconns; i++)
		if (w->conn[i].conn)
			conn_close(w->conn[i].conn, CLOSE_SHUTDOWN);
	reap(w);
}

void *worker_run(void *worker)
{
	struct worker *w = worker;

	log_set_sink(letters_log, &w->post);
	while (!atomic_load_explicit(&w->stop, memory_order_relaxed))
		worker_turn(w, true);
	worker_close_all(w);
	log_folded(w);
	mail_publish(w->mail, w->self);
	log_set_sink(NULL, NULL);
	return NULL;
}

void worker_stop(struct worker *w)
{
	atomic_store(&w->stop, true);
	mail_ring_bell(w->mail, w->self);
}

/* ---- Beginning and end ----------------------------------------------------------------------- */

struct worker *worker_new(
    int self, const struct relay_config *config, struct mail *mail, uint64_t start_ms)
{
	struct worker *w;
	void *p;

	CHECK(posix_memalign(&p, 64, sizeof(*w)) == 0);
	w = memset(p, 0, sizeof(*w));
	w->self = self;
	w->config = config;
	w->mail = mail;
	w->post = (struct letters_post){.mail = mail, .self = self};
	w->start_ms = start_ms;
	w->free_conn = MAP64_NONE;
	w->price_overhead = clock_cycles_overhead();
	set_clock(w);
	loop_init(&w->loop);
	w->bell = (struct watch){.ready = letters_bell, .fd = mail_bell_fd(mail, self)};
	CHECK(loop_add(&w->loop, &w->bell, EPOLLIN | EPOLLET) == 0);
	wheel_init(&w->wheel, w->now_ms);
	wheel_set(&w->wheel, &w->tick, w->now_ms + SWEEP_EVERY_MS);
	pool_init(&w->pool, config->queue_memory);
	stall_init(w);
	peer_table_init(&w->peers);
	sightings_init(&w->sightings);
	region_init(&w->region);
	presence_init(w);
	flow_table_init(&w->flows, config->flow_limit, &w->counters);
	w->neighbour = must_calloc((size_t)config->workers, sizeof(*w->neighbour));
	w->arena = must_map(ARENA_BYTES);
	w->expand = must_map(EXPAND_BYTES);
	w->cipher = must_map(READ_MAX);
	w->plain = must_map(SLAB_BYTES);
	w->record = must_map(TLS_RECORD_MAX);
	w->batch = must_map(BATCH_ROOM);
	w->framed = must_map(BATCH_ROOM);
	w->slice = must_calloc(SLICES_MAX, sizeof(*w->slice));
	return w;
}

void worker_free(struct worker *w)
{
	free(w->flow_part);
	free(w->client_part);
	munmap(w->arena, ARENA_BYTES);
	munmap(w->expand, EXPAND_BYTES);
	munmap(w->cipher, READ_MAX);
	munmap(w->plain, SLAB_BYTES);
	munmap(w->record, TLS_RECORD_MAX);
	munmap(w->batch, BATCH_ROOM);
	munmap(w->framed, BATCH_ROOM);
	free(w->slice);
	free(w->neighbour);
	free(w->conn);
	flow_table_fini(&w->flows);
	presence_fini(w);
	sightings_fini(&w->sightings);
	peer_table_fini(&w->peers);
	pool_fini(&w->pool);
	loop_fini(&w->loop);
	free(w);
}
