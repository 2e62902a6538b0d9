/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * counter.h: everything that is counted, in one place.
 *
 * Each thread has one struct counters and is its only writer; readers add the threads' up. A
 * counter may run some increments behind in the reader's eyes, never backwards. Gauges are kept the
 * same way, as ups and downs: only the sum over the threads means something.
 *
 * The tables feed the code and /debug/varz (names as derper's where derper has them).
 */
#ifndef SLUICE_BASE_COUNTER_H
#define SLUICE_BASE_COUNTER_H

#include <stdint.h>

#include "base/delay.h"

/* Why a packet was not delivered. Labels of derp_packets_dropped and derp_bytes_dropped. */
#define DROP_REASONS(X)                                    \
	X(DROP_UNKNOWN_DEST, "unknown_dest")               \
	X(DROP_UNKNOWN_DEST_ON_FWD, "unknown_dest_on_fwd") \
	X(DROP_GONE_DISCONNECTED, "gone_disconnected")     \
	X(DROP_QUEUE_HEAD, "queue_head")                   \
	X(DROP_QUEUE_TAIL, "queue_tail")                   \
	X(DROP_WRITE_ERROR, "write_error")                 \
	X(DROP_DUP_CLIENT, "dup_client")                   \
	X(DROP_UPLINK_FULL, "uplink_full")

enum drop_reason {
#define X(id, label) id,
	DROP_REASONS(X)
#undef X
	    DROP_REASON_COUNT
};

enum packet_kind { KIND_OTHER, KIND_DISCO, KIND_COUNT };

/* Why a connection ended. Each connection ends for exactly one of these. */
#define CLOSE_REASONS(X)                                                                       \
	X(CLOSE_CLIENT, "client_closed", "the client closed or reset it")                      \
	X(CLOSE_SHUTDOWN, "shutdown", "the relay stopped")                                     \
	X(CLOSE_TLS_FAILED, "tls_failed", "TLS handshake or record error")                     \
	X(CLOSE_HANDSHAKE_TIMEOUT, "handshake_timeout", "TLS, request or login took too long") \
	X(CLOSE_HTTP_ERROR, "http_error", "malformed or oversized HTTP request")               \
	X(CLOSE_HTTP_DONE, "http_done", "ordinary end of a web request")                       \
	X(CLOSE_HTTP_IDLE, "http_idle", "no further request in time")                          \
	X(CLOSE_LOGIN_FAILED, "login_failed", "ClientInfo was not acceptable")                 \
	X(CLOSE_PROTOCOL_ERROR, "protocol_error", "a frame of a forbidden length")             \
	X(CLOSE_PACKET_TOO_LARGE, "packet_too_large", "a packet of over 65,536 bytes")         \
	X(CLOSE_NOT_MESH_PEER, "not_mesh_peer", "a mesh frame from an ordinary client")        \
	X(CLOSE_WRITE_TIMEOUT, "write_timeout", "it took no bytes for too long")               \
	X(CLOSE_SLOW_CONTROL, "slow_control", "too many unsent control frames")                \
	X(CLOSE_WS_ERROR, "ws_error", "WebSocket protocol error")                              \
	X(CLOSE_PRE_LOGIN_CAP, "pre_login_cap", "too many connections before login")           \
	X(CLOSE_NO_MEMORY, "no_memory", "no buffer was left for it")                           \
	X(CLOSE_MESH_ASKED, "mesh_asked", "a mesh peer asked for it (ClosePeer)")              \
	X(CLOSE_MESH_BEHIND, "mesh_behind", "it could not keep up with who comes and goes")    \
	X(CLOSE_LINK_SILENT, "link_silent", "the other node did not answer pings")

enum close_reason {
#define X(id, label, text) id,
	CLOSE_REASONS(X)
#undef X
	    CLOSE_REASON_COUNT
};

extern const char *const drop_reason_label[DROP_REASON_COUNT];
extern const char *const close_reason_label[CLOSE_REASON_COUNT];
extern const char *const packet_kind_label[KIND_COUNT];

/* Id, type, metric name, labels or NULL, help. Rows of one name stand together. */
#define COUNTERS(X)                                                                               \
	X(C_ACCEPTS, "counter", "derp_accepts", NULL, "Connections accepted for DERP login")      \
	X(C_CONNECTIONS, "gauge", "derp_current_connections", NULL, "DERP connections now")       \
	X(C_HOME_CONNECTIONS, "gauge", "derp_current_home_connections", NULL,                     \
	    "Connections of clients whose home this node is")                                     \
	X(C_NOTIDEAL_CONNECTIONS, "gauge", "derp_current_notideal_connections", NULL,             \
	    "Connections of clients that would rather be on another node")                        \
	X(C_DUP_KEYS, "gauge", "derp_current_dup_client_keys", NULL,                              \
	    "Keys that are connected more than once")                                             \
	X(C_DUP_CONNS, "gauge", "derp_current_dup_client_conns", NULL,                            \
	    "Connections of keys that are connected more than once")                              \
	X(C_DUP_TOTAL, "counter", "derp_total_dup_client_conns", NULL,                            \
	    "Connections that came when their key was connected already")                         \
	X(C_CLIENTS, "gauge", "derp_clients_total", NULL, "Keys reachable, here or by the mesh")  \
	X(C_CLIENTS_LOCAL, "gauge", "derp_clients_local", NULL, "Keys connected here")            \
	X(C_CLIENTS_REMOTE, "gauge", "derp_clients_remote", NULL,                                 \
	    "Keys reachable by the mesh and not connected here")                                  \
	X(C_WATCHERS, "gauge", "derp_watchers", NULL,                                             \
	    "Mesh peers that are told who comes and goes")                                        \
	X(C_BYTES_RECV, "counter", "derp_bytes_received", NULL,                                   \
	    "Payload bytes of packets received")                                                  \
	X(C_BYTES_SENT, "counter", "derp_bytes_sent", NULL, "Payload bytes of packets sent")      \
	X(C_PACKETS_RECV, "counter", "derp_packets_received", NULL,                               \
	    "Packets received from clients")                                                      \
	X(C_PACKETS_SENT, "counter", "derp_packets_sent", NULL, "Packets sent to clients")        \
	X(C_KIND_DISCO, "counter", "derp_packets_received_kind", "kind=\"disco\"",                \
	    "Packets received, by kind")                                                          \
	X(C_KIND_OTHER, "counter", "derp_packets_received_kind", "kind=\"other\"",                \
	    "Packets received, by kind")                                                          \
	X(C_FORWARDED_IN, "counter", "derp_packets_forwarded_in", NULL,                           \
	    "Packets that mesh peers forwarded to us")                                            \
	X(C_FORWARDED_OUT, "counter", "derp_packets_forwarded_out", NULL,                         \
	    "Packets forwarded to mesh peers")                                                    \
	X(C_FORWARDED_IN_BYTES, "counter", "sluice_bytes_forwarded_in", NULL,                     \
	    "Payload bytes of packets that mesh peers forwarded to us")                           \
	X(C_FORWARDED_OUT_BYTES, "counter", "sluice_bytes_forwarded_out", NULL,                   \
	    "Payload bytes of packets forwarded to mesh peers")                                   \
	X(C_MULTI_CREATED, "counter", "derp_multiforwarder_created", NULL,                        \
	    "Keys that became reachable by a second mesh link")                                   \
	X(C_MULTI_DELETED, "counter", "derp_multiforwarder_deleted", NULL,                        \
	    "Keys that are reachable by a single mesh link again")                                \
	X(C_FORWARDER_OTHER, "counter", "derp_packet_forwarder_delete_other_value", NULL,         \
	    "Keys said to be gone by a mesh link that did not reach them")                        \
	X(C_MESH_LINKS, "gauge", "sluice_mesh_links", NULL, "Mesh links that are up")             \
	X(C_MESH_KEYS_REFUSED, "counter", "sluice_mesh_keys_refused", NULL,                       \
	    "Keys at other nodes that were not learnt because there are too many")                \
	X(C_HOME_IN, "counter", "derp_home_moves_in", NULL,                                       \
	    "Clients that made this node their home")                                             \
	X(C_HOME_OUT, "counter", "derp_home_moves_out", NULL,                                     \
	    "Clients that moved their home away")                                                 \
	X(C_GOT_PING, "counter", "derp_got_ping", NULL, "Ping frames received")                   \
	X(C_SENT_PONG, "counter", "derp_sent_pong", NULL, "Pong frames sent")                     \
	X(C_GONE_DISCONNECTED, "counter", "derp_peer_gone_disconnected_frames", NULL,             \
	    "PeerGone frames for peers that left")                                                \
	X(C_GONE_NOT_HERE, "counter", "derp_peer_gone_not_here_frames", NULL,                     \
	    "PeerGone frames for peers that are not here")                                        \
	X(C_UNKNOWN_FRAMES, "counter", "derp_unknown_frames", NULL, "Frames of unknown types")    \
	X(C_WRITE_TIMEOUTS, "counter", "derp_sclient_write_timeouts", NULL,                       \
	    "Connections closed because a write did not finish")                                  \
	X(C_WEBSOCKET_ACCEPTS, "counter", "derp_websocket_accepts", NULL, "WebSocket upgrades")   \
	X(C_RTT_10, "counter", "derp_tcp_rtt", "le=\"10ms\"",                                     \
	    "Round-trip times of clients, sampled")                                               \
	X(C_RTT_20, "counter", "derp_tcp_rtt", "le=\"20ms\"",                                     \
	    "Round-trip times of clients, sampled")                                               \
	X(C_RTT_50, "counter", "derp_tcp_rtt", "le=\"50ms\"",                                     \
	    "Round-trip times of clients, sampled")                                               \
	X(C_RTT_100, "counter", "derp_tcp_rtt", "le=\"100ms\"",                                   \
	    "Round-trip times of clients, sampled")                                               \
	X(C_RTT_150, "counter", "derp_tcp_rtt", "le=\"150ms\"",                                   \
	    "Round-trip times of clients, sampled")                                               \
	X(C_RTT_250, "counter", "derp_tcp_rtt", "le=\"250ms\"",                                   \
	    "Round-trip times of clients, sampled")                                               \
	X(C_RTT_500, "counter", "derp_tcp_rtt", "le=\"500ms\"",                                   \
	    "Round-trip times of clients, sampled")                                               \
	X(C_RTT_INF, "counter", "derp_tcp_rtt", "le=\"inf\"",                                     \
	    "Round-trip times of clients, sampled")                                               \
	X(C_RTT_NONE, "counter", "derp_tcp_rtt", "le=\"non-tcp\"",                                \
	    "Round-trip times of clients, sampled")                                               \
	X(C_TLS_ACCEPTED, "counter", "tls_listener_accepted_connections", NULL,                   \
	    "Connections accepted on the TLS port")                                               \
	X(C_TLS_REJECTED, "counter", "tls_listener_rejected_connections", NULL,                   \
	    "Connections closed because too many waited for login")                               \
	X(C_TLS12_REQUESTS, "counter", "derper_tls_request_version", "version=\"1.2\"",           \
	    "Requests, by TLS version")                                                           \
	X(C_TLS13_REQUESTS, "counter", "derper_tls_request_version", "version=\"1.3\"",           \
	    "Requests, by TLS version")                                                           \
	X(C_TLS12_ACTIVE, "gauge", "derper_tls_active_version", "version=\"1.2\"",                \
	    "TLS connections now, by version")                                                    \
	X(C_TLS13_ACTIVE, "gauge", "derper_tls_active_version", "version=\"1.3\"",                \
	    "TLS connections now, by version")                                                    \
	X(C_VISITORS, "gauge", "sluice_pre_login_connections", NULL,                              \
	    "Connections that have not logged in: handshakes and web requests")                   \
	X(C_HTTP_REQUESTS, "counter", "sluice_http_requests", NULL, "HTTP requests answered")     \
	X(C_FD_EXHAUSTED, "counter", "sluice_accept_pauses", NULL,                                \
	    "Times that accepting paused because no file descriptor was left")                    \
	X(C_FLOWS, "gauge", "sluice_flows", NULL, "Flows in the tables")                          \
	X(C_FLOWS_CREATED, "counter", "sluice_flows_created", NULL, "Flows ever begun")           \
	X(C_FLOWS_EVICTED, "counter", "sluice_flows_evicted", NULL,                               \
	    "Flows folded into \"other\" because a table or a connection's share was full")       \
	X(C_SIGHTINGS_FORGOTTEN, "counter", "sluice_peer_gone_forgotten", NULL,                   \
	    "Senders forgotten at the cap, whose going will not be told")                         \
	X(C_READ_PAUSES, "counter", "sluice_read_pauses", NULL,                                   \
	    "Times that reading from a connection paused because another worker was behind")      \
	X(C_LONG_TURNS, "counter", "sluice_long_turns", NULL,                                     \
	    "Turns of busy workers that took over 5 ms: packets wait for the CPU")                \
	X(C_MAIL_LOST, "counter", "sluice_control_mail_lost", NULL,                               \
	    "Control letters that found no room (not-here answers only)")                         \
	X(C_PATHS_LOSSY, "counter", "sluice_congestion_changes", "to=\"lossy\"",                  \
	    "Connections that got the congestion control for paths that lose packets or after a " \
	    "pause, or the other again")                                                          \
	X(C_PATHS_RESUMED, "counter", "sluice_congestion_changes", "to=\"resumed\"",              \
	    "Connections that got the congestion control for paths that lose packets or after a " \
	    "pause, or the other again")                                                          \
	X(C_PATHS_CLEAN, "counter", "sluice_congestion_changes", "to=\"clean\"",                  \
	    "Connections that got the congestion control for paths that lose packets or after a " \
	    "pause, or the other again")                                                          \
	X(C_QUEUE_BYTES, "gauge", "sluice_queue_bytes", NULL, "Bytes that wait for slow sockets") \
	X(C_CYCLES_RECV, "counter", "sluice_cycles", "stage=\"receive\"", "CPU cycles, by stage") \
	X(C_CYCLES_OPEN, "counter", "sluice_cycles", "stage=\"open\"", "CPU cycles, by stage")    \
	X(C_CYCLES_ROUTE, "counter", "sluice_cycles", "stage=\"route\"", "CPU cycles, by stage")  \
	X(C_CYCLES_SEAL, "counter", "sluice_cycles", "stage=\"seal\"", "CPU cycles, by stage")    \
	X(C_CYCLES_SEND, "counter", "sluice_cycles", "stage=\"send\"", "CPU cycles, by stage")    \
	X(C_PRICED_FIND, "counter", "sluice_flow_find_cycles", NULL,                              \
	    "CPU cycles of finding the flow, which is also the route, of packets that were "      \
	    "priced")                                                                             \
	X(C_PRICED_COUNT, "counter", "sluice_flow_count_cycles", NULL,                            \
	    "CPU cycles of counting, of packets that were priced")                                \
	X(C_PRICED_PACKETS, "counter", "sluice_flow_priced_packets", NULL,                        \
	    "Packets that were priced")

enum counter {
#define X(id, type, name, labels, help) id,
	COUNTERS(X)
#undef X
	    COUNTER_COUNT
};

/* Id, metric name, help, bounds: how many observations were at most so much. */
#define HISTOGRAMS(X)                                                                             \
	X(H_WRITE_FRAMES, "derp_buffered_write_frames", "Frames that went out in one send", 0, 1, \
	    2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 25, 50, 100)                                      \
	X(H_QUEUE_DELAY, "sluice_queue_delay_ms",                                                 \
	    "How long packets waited to be sent, 0 when the socket took them at once", 0,         \
	    DELAY_BOUNDS)                                                                         \
	X(H_MESH_BATCH, "derp_mesh_update_batch_size",                                            \
	    "Comings and goings that a mesh peer was told of at once", 0, 1, 2, 5, 10, 20, 50,    \
	    100, 200, 500, 1000)                                                                  \
	X(H_MESH_LOOPS, "derp_mesh_update_loop_count",                                            \
	    "Rounds that it took to tell a mesh peer all there was to tell", 0, 1, 2, 5, 10, 20,  \
	    50, 100)

enum histogram {
#define X(id, ...) id,
	HISTOGRAMS(X)
#undef X
	    HISTOGRAM_COUNT
};

#define HISTOGRAM_BOUNDS_MAX 16

struct histogram_info {
	const char *name, *help;
	uint32_t n; /* bounds */
	uint32_t bound[HISTOGRAM_BOUNDS_MAX];
};

extern const struct histogram_info histogram_info[HISTOGRAM_COUNT];

struct histogram_counts {
	uint64_t bucket[HISTOGRAM_BOUNDS_MAX + 1]; /* not cumulative; the n-th: beyond the bounds */
	uint64_t sum;
};

/* Numbers of 64 bits and nothing else: counters_add takes it for an array. */
struct counters {
	_Alignas(64) uint64_t v[COUNTER_COUNT];
	struct histogram_counts histogram[HISTOGRAM_COUNT];
	uint64_t drop_packets[DROP_REASON_COUNT][KIND_COUNT];
	uint64_t drop_bytes[DROP_REASON_COUNT][KIND_COUNT];
	uint64_t closed[CLOSE_REASON_COUNT];
};

/* The writer's: the store is atomic so that a reader never sees half a number. */
static inline void tally(uint64_t *v, uint64_t n)
{
	__atomic_store_n(v, *v + n, __ATOMIC_RELAXED);
}

static inline void count(struct counters *c, enum counter id, uint64_t n)
{
	tally(&c->v[id], n);
}

/* For gauges: the sum over the threads is taken modulo 2^64. */
static inline void count_down(struct counters *c, enum counter id, uint64_t n)
{
	tally(&c->v[id], 0 - n);
}

/* For what is no sum: the last value. */
static inline void tally_set(uint64_t *v, uint64_t n)
{
	__atomic_store_n(v, n, __ATOMIC_RELAXED);
}

static inline uint64_t tally_read(const uint64_t *v)
{
	return __atomic_load_n(v, __ATOMIC_RELAXED);
}

/* Counts `times` observations of n in a histogram. */
void counters_observe(struct counters *c, enum histogram h, uint32_t n, uint64_t times);
/* A send of n frames. */
static inline void counters_write(struct counters *c, uint32_t n)
{
	counters_observe(c, H_WRITE_FRAMES, n, 1);
}
/* A client's round-trip time in µs. */
void counters_rtt(struct counters *c, uint32_t us);
/* sum += c, number by number. */
void counters_add(struct counters *sum, const struct counters *c);

#endif
