/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/conn.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "io/tcpinfo.h"
#include "io/tls.h"
#include "relay/link.h"
#include "relay/forward.h"
#include "relay/path.h"
#include "relay/uplink.h"
#include "relay/worker.h"
#include "wire/websocket.h"

static void log_life(struct conn *c, const char *what, const char *rest)
{
	char key[KEY_TEXT_LEN], addr[INET6_ADDRSTRLEN];
	bool v4 = IN6_IS_ADDR_V4MAPPED(&c->addr);

	key_text(&c->peer->key, key);
	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? &c->addr.s6_addr[12] : &c->addr.s6_addr[0], addr,
	    sizeof(addr));
	log_info("%s %s addr=%s%s%s:%u conn=%" PRIu64 "%s", what, key, v4 ? "" : "[", addr,
	    v4 ? "" : "]", c->port, c->number, rest);
}

static void log_connect(struct conn *c)
{
	char rest[64];

	if (!worker_may_log(c->worker, &c->worker->log_connects))
		return;
	snprintf(rest, sizeof(rest), " by=%s%s%s",
	    !c->tls                           ? "tcp"
	    : tls_minor_version(c->tls) == 13 ? "tls1.3"
					      : "tls1.2",
	    c->ws ? "+websocket" : "", c->mesh_peer ? " mesh-peer" : "");
	log_life(c, "connect", rest);
}

static void log_disconnect(struct conn *c, enum close_reason why)
{
	char rest[160];

	if (!worker_may_log(c->worker, &c->worker->log_disconnects))
		return;
	snprintf(rest, sizeof(rest),
	    " reason=%s received=%" PRIu64 " sent=%" PRIu64 " seconds=%" PRIu64,
	    close_reason_label[why], c->totals.rx_bytes, c->totals.tx_bytes,
	    (c->worker->now_ms - c->since_ms) / 1000);
	log_life(c, "disconnect", rest);
}

struct conn *conn_new(struct worker *w, struct admit *a)
{
	struct conn *c = must_alloc_lines(sizeof(*c));

	c->watch = (struct watch){.ready = forward_ready, .fd = a->fd};
	c->worker = w;
	c->tls = a->tls;
	c->ws = a->ws;
	c->number = a->number;
	c->mesh_peer = a->mesh_peer;
	c->prober = a->info.is_prober;
	c->not_ideal = a->not_ideal;
	c->addr = a->addr;
	c->port = a->port;
	memcpy(c->app_name, a->info.app_name, sizeof(c->app_name));
	c->since_ms = w->now_ms;
	c->end = CLOSE_REASON_COUNT;
	c->uplink_look = w->config->shed_uploads && !a->mesh_peer && !a->is_link
			     ? UPLINK_QUIET_BYTES
			     : UINT64_MAX;
	c->not_here_tokens = NOT_HERE_BURST;
	c->not_here_at = w->now_ms;
	c->keepalive_every_ms = KEEPALIVE_MS + randombytes_uniform(KEEPALIVE_JITTER_MS);
	c->keepalive_at = w->now_ms + c->keepalive_every_ms;
	flow_set_init(&c->flows);
	sighting_set_init(&c->sightings);
	worker_conn_add(w, c);
	return c;
}

/* Gauges that a connection changes when it comes (up) and when it goes. */
static void gauges(struct conn *c, bool up)
{
	struct counters *n = &c->worker->counters;
	void (*move)(struct counters *, enum counter, uint64_t) = up ? count : count_down;
	uint32_t others = c->peer->nconns - 1;

	move(n, C_CONNECTIONS, 1);
	if (c->not_ideal)
		move(n, C_NOTIDEAL_CONNECTIONS, 1);
	if (c->home)
		move(n, C_HOME_CONNECTIONS, 1);
	if (c->tls)
		move(n, tls_minor_version(c->tls) == 13 ? C_TLS13_ACTIVE : C_TLS12_ACTIVE, 1);
	if (others == 1)
		move(n, C_DUP_KEYS, 1);
	if (others > 0)
		move(n, C_DUP_CONNS, others == 1 ? 2 : 1);
}

void conn_admit(struct worker *w, struct admit *a)
{
	struct peer *p;
	struct conn *c;

	if (a->is_link) {
		link_admit(w, a);
		return;
	}
	c = conn_new(w, a);
	p = peer_get(&w->peers, &a->info.key, key_hash(&a->info.key));
	region_count_peer(w, p, false);
	peer_add(&w->peers, p, c);
	region_count_peer(w, p, true);
	gauges(c, true);
	if (p->nconns > 1)
		count(&w->counters, C_DUP_TOTAL, 1);
	if (c->mesh_peer)
		link_peer_admit(c);
	presence_changed(w, p);
	log_connect(c);
	conn_arm(c);
	/* ServerInfo first: nothing else can be queued before it, as nobody knew of this
	 * connection. */
	if (a->greeting_len > 0)
		conn_put_frames(c, a->greeting, a->greeting_len, 1);
	conn_put_frames(c, a->server_info, a->server_info_len, 1);
	if (!c->dead && loop_add(&w->loop, &c->watch, EPOLLIN) < 0)
		conn_close(c, CLOSE_NO_MEMORY);
	if (!c->dead)
		forward_early(c, a->early, a->early_len);
	sodium_memzero(a->info.mesh_key, sizeof(a->info.mesh_key));
	free(a);
}

/* Says good-bye to the TLS peer as far as the socket takes it at once. */
static void send_close_notify(struct conn *c, enum close_reason why)
{
	uint8_t bye[256];
	struct sink out = {.p = bye, .cap = sizeof(bye)};

	if (!c->tls || c->sealed)
		return;
	/* Who has closed for good hears nothing any more. */
	if (why == CLOSE_CLIENT && recv(c->watch.fd, bye, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
		return;
	tls_close(c->tls, &out);
	if (out.len > 0 && send(c->watch.fd, bye, out.len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_debug("conn=%" PRIu64 ": close_notify was not taken", c->number);
}

/* The key's record loses the connection, and whoever must know hears of it. */
static void leave_peer(struct conn *c)
{
	struct worker *w = c->worker;
	struct peer *p = c->peer;

	gauges(c, false);
	region_count_peer(w, p, false);
	peer_remove(&w->peers, p, c);
	region_count_peer(w, p, true);
	if (p->nconns == 0)
		presence_changed(w, p);
	if (!peer_reachable(p))
		worker_peer_gone(w, p);
}

void conn_close(struct conn *c, enum close_reason why)
{
	struct worker *w = c->worker;

	if (c->dead)
		return;
	c->dead = true;
	if (!c->is_link)
		log_disconnect(c, why);
	tally(&w->counters.closed[why], 1);
	if (why == CLOSE_WRITE_TIMEOUT)
		count(&w->counters, C_WRITE_TIMEOUTS, 1);
	stall_drop_all(c);
	path_free(c);
	if (why != CLOSE_TLS_FAILED)
		send_close_notify(c, why);
	loop_forget(&c->watch); /* closed when it is reaped, in this turn */
	wheel_clear(&w->wheel, &c->timer);
	flow_set_fini(&w->flows, &c->flows);
	sighting_set_fini(&w->sightings, &c->sightings);
	if (c->mesh_peer)
		presence_end(c);
	if (c->is_link)
		link_end(c, why);
	else
		leave_peer(c);
	c->next_dead = w->dead;
	w->dead = c;
}

void conn_free(struct conn *c)
{
	struct worker *w = c->worker;

	CHECK(c->dead);
	pool_put(&w->pool, c->rest);
	pool_put(&w->pool, c->sealed);
	pool_put(&w->pool, c->control);
	tls_free(c->tls);
	ws_free(c->ws);
	free(c->mesh);
	free(c->uplink);
	close(c->watch.fd);
	free(c);
}

void conn_arm(struct conn *c)
{
	uint64_t at = c->keepalive_at;

	if (c->write_deadline && c->write_deadline < at)
		at = c->write_deadline;
	if (!timer_is_set(&c->timer) || c->timer.at_ms != at)
		wheel_set(&c->worker->wheel, &c->timer, at);
}

/* How far away the client is, as the kernel has it. */
static void sample_rtt(struct conn *c)
{
	struct tcp_info info;

	if (tcp_info_get(c->watch.fd, &info))
		counters_rtt(&c->worker->counters, info.tcpi_rtt);
	else
		count(&c->worker->counters, C_RTT_NONE, 1);
}

void conn_tick(struct conn *c)
{
	struct worker *w = c->worker;

	if (c->write_deadline && c->write_deadline <= w->now_ms && !stall_still_moves(c)) {
		conn_close(c, CLOSE_WRITE_TIMEOUT);
		return;
	}
	if (c->is_link) {
		link_tick(c);
	} else if (c->keepalive_at <= w->now_ms) {
		c->keepalive_at = w->now_ms + c->keepalive_every_ms;
		sample_rtt(c);
		conn_put_control(c, FRAME_KEEP_ALIVE, NULL, 0);
	}
	if (!c->dead)
		conn_arm(c);
}

/* Room for len more bytes of control frames, in a buffer that is large enough. */
static bool control_room(struct conn *c, uint32_t len)
{
	struct pool *pool = &c->worker->pool;
	struct pool_buf *b;

	if (c->control && c->control->cap - c->control_len >= len)
		return true;
	/* Many at once for a socket that takes them: they can go first. */
	if (c->control_len + len > CONTROL_MAX && !c->sealed) {
		forward_flush(c);
		return !c->dead && control_room(c, len);
	}
	if (c->control_len + len > CONTROL_MAX) {
		conn_close(c, CLOSE_SLOW_CONTROL);
		return false;
	}
	b = pool_get(pool, MIN(MAX(c->control_len * 4, c->control_len + len), CONTROL_MAX));
	if (!b) {
		conn_close(c, CLOSE_NO_MEMORY);
		return false;
	}
	if (c->control) {
		memcpy(b->data, c->control->data, c->control_len);
		pool_put(pool, c->control);
	}
	c->control = b;
	return true;
}

void conn_put_frames(struct conn *c, const uint8_t *frames, uint32_t len, uint32_t n)
{
	if (c->dead || !control_room(c, len))
		return;
	memcpy(c->control->data + c->control_len, frames, len);
	c->control_len += len;
	c->controls += n;
	forward_mark_dirty(c);
}

void conn_put_control(struct conn *c, enum frame_type type, const void *payload, uint32_t len)
{
	uint8_t *p;

	if (c->dead || !control_room(c, FRAME_HEADER_LEN + len))
		return;
	p = c->control->data + c->control_len;
	frame_put_header(p, type, len);
	if (len)
		memcpy(p + FRAME_HEADER_LEN, payload, len);
	c->control_len += FRAME_HEADER_LEN + len;
	c->controls++;
	forward_mark_dirty(c);
}

void conn_put_peer_gone(struct conn *c, const struct key *k, enum peer_gone_reason why)
{
	uint8_t payload[PEER_GONE_LEN];

	memcpy(payload, k->b, KEY_LEN);
	payload[KEY_LEN] = (uint8_t)why;
	conn_put_control(c, FRAME_PEER_GONE, payload, sizeof(payload));
	count(&c->worker->counters,
	    why == PEER_GONE_NOT_HERE ? C_GONE_NOT_HERE : C_GONE_DISCONNECTED, 1);
}

void conn_not_here(struct conn *c, const struct key *k, uint32_t packets)
{
	uint64_t now = c->worker->now_ms;
	uint64_t earned = (now - c->not_here_at) / NOT_HERE_EVERY_MS;

	if (earned > 0) {
		c->not_here_tokens =
		    (uint32_t)MIN((uint64_t)NOT_HERE_BURST, c->not_here_tokens + earned);
		c->not_here_at += earned * NOT_HERE_EVERY_MS;
	}
	for (; packets > 0 && c->not_here_tokens > 0; packets--) {
		c->not_here_tokens--;
		conn_put_peer_gone(c, k, PEER_GONE_NOT_HERE);
	}
}

static void note_preferred(struct conn *c, bool home)
{
	struct counters *n = &c->worker->counters;
	bool moved = c->worker->now_ms - c->since_ms > HOME_MOVE_AFTER_MS;

	if (home == c->home)
		return;
	c->home = home;
	if (home)
		count(n, C_HOME_CONNECTIONS, 1);
	else
		count_down(n, C_HOME_CONNECTIONS, 1);
	if (moved)
		count(n, home ? C_HOME_IN : C_HOME_OUT, 1);
}

/* One Pong is outstanding at most: faster pings are ignored. */
static void got_ping(struct conn *c, const uint8_t *p)
{
	struct counters *n = &c->worker->counters;

	count(n, C_GOT_PING, 1);
	if (c->pong_waits)
		return;
	c->pong_waits = true;
	count(n, C_SENT_PONG, 1);
	conn_put_control(c, FRAME_PONG, p, PING_LEN);
}

static int64_t refuse(struct conn *c, enum close_reason why)
{
	conn_close(c, why);
	return -1;
}

int64_t conn_frame(struct conn *c, uint8_t type, uint32_t len, const uint8_t *p, size_t avail)
{
	switch (type) {
	case FRAME_NOTE_PREFERRED:
		if (len != 1)
			return refuse(c, CLOSE_PROTOCOL_ERROR);
		if (avail < 1)
			return -1;
		note_preferred(c, p[0] != 0);
		return 1;
	case FRAME_PING:
		if (len < PING_LEN || len > PING_BODY_MAX)
			return refuse(c, CLOSE_PROTOCOL_ERROR);
		if (avail < len)
			return -1;
		got_ping(c, p);
		return len;
	case FRAME_WATCH_CONNS:
	case FRAME_CLOSE_PEER:
	case FRAME_FORWARD_PACKET:
		if (!c->mesh_peer)
			return refuse(c, CLOSE_NOT_MESH_PEER);
		return link_peer_frame(c, type, len, p, avail);
	case FRAME_PONG:
		break;
	default:
		count(&c->worker->counters, C_UNKNOWN_FRAMES, 1);
	}
	/* Not for us: what of it is still to come is skipped as it comes. */
	if (len > avail)
		c->skip = len - avail;
	return (int64_t)MIN((size_t)len, avail);
}
