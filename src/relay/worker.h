/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * worker.h: one of N threads that own keys, and with them connections, flows, queues, counters.
 *
 * A turn: events are read and routed, mail is taken, paused connections are tried again, timers
 * run; then every destination that got something is flushed, mail is published, the dead are freed.
 * What a packet points to (a receive buffer, another worker's ring) stays valid until that flush.
 */
#ifndef SLUICE_RELAY_WORKER_H
#define SLUICE_RELAY_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/counter.h"
#include "base/mail.h"
#include "base/pool.h"
#include "base/span.h"
#include "base/wheel.h"
#include "flow/snapshot.h"
#include "flow/table.h"
#include "io/loop.h"
#include "relay/conn.h"
#include "relay/mesh.h"
#include "relay/overload.h"
#include "relay/peer.h"
#include "relay/presence.h"
#include "relay/region.h"
#include "relay/sighting.h"
#include "wire/frame.h"

/* Bytes asked for in one receive. */
#define READ_MAX (64u << 10)
/* Room for one receive behind the rest of a frame, and what a TLS record may add to it. */
#define SLAB_BYTES (FRAME_MAX + READ_MAX + (20u << 10))
/* Receive buffers of one turn; when they are used up, everything is flushed. */
#define ARENA_BYTES (2u << 20)
/* ForwardPacket frames of one turn, for links of the same worker. */
#define EXPAND_BYTES (2u << 20)
/* Packets to one destination that make it be flushed before the turn's end. */
#define FRESH_MAX (256u << 10)
/* A run of packets is cut here, so that it and one more packet fit a letter and a buffer, also with
 * the longer heads of ForwardPacket. */
#define RUN_BYTES_MAX (48u << 10)
/* Room for what is sealed and sent at once. */
#define BATCH_ROOM (RUN_BYTES_MAX + FRAME_MAX + (8u << 10))
/* The largest letter with packets: such room is made sure of before a run begins. */
#define RUN_LETTER_MAX ((uint32_t)sizeof(struct run_letter) + RUN_BYTES_MAX + FRAME_MAX)
_Static_assert(SLAB_BYTES <= POOL_MAX, "what is left of a receive can be kept");
_Static_assert(BATCH_ROOM <= POOL_MAX, "what a send leaves can be kept");
#define SLICES_MAX 16384
#define REPORTS_MAX 128
_Static_assert(2 * REPORT_KINDS < REPORTS_MAX, "room for those that name no flow");
/* Another worker that takes no mail for so long gets its packets dropped instead. */
#define STUCK_MS 250
/* One read in so many has its flow counting priced with the cycle counter. */
#define PRICE_EVERY 64

struct batch;

/* What the relay needs to know of the options. */
struct relay_config {
	int workers;
	struct mesh *mesh;     /* NULL: there is no mesh */
	struct key server_key; /* public */
	uint32_t flow_limit;
	bool queue_fifo;           /* what waits for a client stands in one line */
	bool shed_uploads;         /* of clients that fill their own line */
	bool congestion_changes;   /* by how the path to a client behaves */
	uint32_t queue_packets;    /* cap on waiting packets by number, 0 none */
	uint64_t write_timeout_ms; /* 0 none */
	size_t queue_memory;       /* bytes a worker */
};

/* A run of packets of one flow, contiguous, to be sent in this turn. */
struct slice {
	const uint8_t *p;
	uint32_t len;
	uint32_t packets;
	struct flow_ref flow;
	uint32_t flow_worker;
	struct slice *next;
};

/* What is to be reported to the worker that keeps the flows. */
struct report_box {
	uint32_t n;
	struct flow_report report[REPORTS_MAX];
};

/* How a worker sees another one to which it mails. */
struct neighbour {
	struct conn *paused, *paused_last; /* connections that wait for room in its ring */
	uint64_t seen_tail;                /* progress of that ring */
	uint64_t progress_ms;
	bool stuck;
	bool awaited; /* mail that has to go on there was put back */
	struct report_box reports;
};

/* It is to be looked at each turn: something waits for room in its ring, or goes by it as lost. */
static inline bool neighbour_waited_for(const struct neighbour *n)
{
	return n->paused || n->stuck || n->awaited;
}

struct conn_slot {
	struct conn *conn;
	uint32_t gen;
	uint32_t next_free;
};

struct worker {
	struct counters counters; /* first: aligned */
	int self;
	const struct relay_config *config;
	struct mail *mail;
	struct letters_post post; /* where its log lines go */
	_Atomic bool stop;
	bool busy; /* there is more to do: the next turn does not sleep */
	struct overload overload;

	struct loop loop;
	struct watch bell;
	struct wheel wheel;
	struct timer tick; /* once a second: sweeps */
	uint64_t start_ms, now_ms;
	uint32_t now_ds;

	struct pool pool;
	struct queue_set queues;
	struct queue_limits client_limits, link_limits; /* of what waits for one */
	struct peer_table peers;
	struct sightings sightings;
	struct flow_table flows;
	struct region region;
	struct presence presence;
	struct conn_slot *conn;
	uint32_t nconns, free_conn;
	struct peer *gone_pending;
	struct neighbour *neighbour; /* one a worker */

	struct conn *dirty, *dead;
	struct path *held;      /* of connections whose path has enough for now */
	uint64_t held_ms;       /* when the first of them is to be looked at */
	struct pool_buf *spent; /* buffers whose frames are being sent */
	uint8_t *arena;         /* receive buffers of this turn */
	uint32_t arena_used;
	uint8_t *expand; /* packets with the heads that links want */
	uint32_t expand_used;
	uint8_t *cipher;     /* READ_MAX: what TLS or WebSocket has still to open */
	uint8_t *plain;      /* SLAB_BYTES: between TLS and WebSocket */
	uint8_t *record;     /* TLS_RECORD_MAX: small slices gathered for one record */
	uint8_t *batch;      /* BATCH_ROOM + a little: what is sealed for one send */
	uint8_t *framed;     /* the same: between WebSocket and TLS */
	struct slice *slice; /* SLICES_MAX */
	uint32_t slices;

	uint32_t reads;
	bool pricing;
	uint64_t price_overhead;

	uint32_t log_lines, log_connects, log_disconnects, log_asked;

	struct flow_part *flow_part; /* snapshot under way, NULL */
	struct client_part *client_part;
	uint64_t queue_delay_us; /* moving average; read by others */
};

struct worker *worker_new(
    int self, const struct relay_config *config, struct mail *mail, uint64_t start_ms);
void worker_free(struct worker *w);
/* The thread's body: until worker_stop. */
void *worker_run(void *worker);
/* One turn of it, and its end; tests go step by step. */
void worker_turn(struct worker *w, bool may_sleep);
void worker_close_all(struct worker *w);
/* Any thread's. */
void worker_stop(struct worker *w);

static inline int key_owner(uint64_t hash, int workers)
{
	return (int)((hash >> 32) % (uint32_t)workers);
}

/* Within relay/ */

/* NULL when the reference is void. */
struct conn *worker_conn(const struct worker *w, struct conn_ref ref);
struct conn_ref worker_conn_ref(const struct conn *c);
/* The flows of the connection in a slot, for the flow table. */
struct flow_set *worker_flow_set(void *worker, uint32_t conn);
void worker_conn_add(struct worker *w, struct conn *c);
/* A connection's last record of its key: tells all who heard from it. */
void worker_peer_gone(struct worker *w, struct peer *p);
/* Closes all connections of a key that this worker owns: a mesh peer asked for it. */
void worker_close_key(struct worker *w, const struct key *k, uint64_t hash);
/* Notes on a flow, wherever that is kept, that packets of it went to a mesh link. */
void worker_forwarded(struct worker *w, struct flow_ref flow, uint32_t flow_worker, uint8_t link,
    uint32_t packets, uint64_t bytes);
/* Books dropped packets, on the counters and on their flow wherever that is kept. */
void worker_drop(struct worker *w, struct flow_ref flow, uint32_t flow_worker, enum drop_reason why,
    bool disco, uint32_t packets, uint64_t bytes);
/* Notes that a packet of a flow, wherever that is kept, was sent after so many ms, which fall into
 * that bucket (base/delay.h). */
void worker_waited(
    struct worker *w, struct flow_ref flow, uint32_t flow_worker, uint32_t bucket, uint32_t ms);
/* A line on a connect or disconnect, unless there were too many in this second. */
bool worker_may_log(struct worker *w, uint32_t *folded);

/* Payload bytes of packets in len bytes of RecvPacket frames. */
static inline uint64_t frames_payload(uint32_t len, uint32_t packets)
{
	return len - (uint64_t)packets * FRAME_PACKET_HEAD;
}

/* The same of what goes to that connection. */
static inline uint64_t conn_payload(const struct conn *c, uint32_t len, uint32_t packets)
{
	return len - (uint64_t)packets * conn_packet_head(c);
}

/* stream.c */
/* Puts what was kept of an unfinished frame at base; returns its length. */
uint32_t stream_restore(struct conn *c, uint8_t *base);
/* Keeps an unfinished frame for the next receive. */
void stream_keep(struct conn *c, const uint8_t *p, size_t len);
/* Opens n bytes of w->cipher, appends stream bytes to `to`; answers go out at once. Returns
 * CLOSE_REASON_COUNT while all is well, else why the connection ends after these bytes. */
enum close_reason stream_open(struct conn *c, size_t n, struct sink *to);
/* WebSocket messages of these bytes, into w->framed; returns their length. */
size_t stream_frame(struct conn *c, const struct iovec *iov, int n);

/* Seals a batch into records of up to 16 KiB. */
bool stream_seal(struct conn *c, const struct batch *b, struct sink *out);

/* stall.c */
/* The worker's queues: none yet, and their limits. */
void stall_init(struct worker *w);
/* The socket took `sent` bytes of these: the others are kept, and packets wait from now on. */
void stall_block(struct conn *c, const struct iovec *iov, int n, size_t sent);
/* The socket has enough for now: packets wait until it has sent some. */
void stall_wait(struct conn *c);
/* Copies the packets of this turn behind those that wait. */
void stall_fresh(struct conn *c);
/* The socket takes bytes again. */
void stall_unblock(struct conn *c);
/* The write deadline is due: whether it is put off, as the client took bytes since it was set or is
 * out of reach for a while. */
bool stall_still_moves(struct conn *c);
/* Bytes for the wire ahead of everything else: TLS and WebSocket answers. */
void stall_send_raw(struct conn *c, const uint8_t *p, size_t len);
/* Whether a run to that worker may begin; if not, the connection is paused. */
bool stall_has_room(struct conn *c, uint32_t owner);
/* The same for mail that has to go on to that worker; if not, it is to be put back. */
bool stall_may_go_on(struct worker *w, uint32_t to);
void stall_retry_paused(struct worker *w);
/* Nothing waits any more: the queue goes. */
void stall_queue_done(struct conn *c);
/* A queue of the worker dropped a packet; owner is the connection. */
void stall_dropped(void *owner, const struct queue_packet *p, enum drop_reason why, bool disco);
/* The connection ends: drops what waits, leaves the lists. */
void stall_drop_all(struct conn *c);

/* snapshot.c */
void snapshot_ask_flows(struct worker *w);
void snapshot_ask_clients(struct worker *w);
/* Goes on with those under way; true when some are. */
bool snapshot_step(struct worker *w);

#endif
