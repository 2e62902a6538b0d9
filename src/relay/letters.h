/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * letters.h: what threads write to each other (see base/mail.h for how).
 *
 * A letter that holds a pointer hands over what it points to; letters that were never read are
 * freed by relay_letter_free.
 */
#ifndef SLUICE_RELAY_LETTERS_H
#define SLUICE_RELAY_LETTERS_H

#include <netinet/in.h>

#include "base/counter.h"
#include "base/key.h"
#include "base/mail.h"
#include "flow/table.h"
#include "io/loop.h"
#include "relay/mesh.h"
#include "relay/path.h"
#include "wire/login.h"

struct tls;
struct websocket;

enum letter_kind {
	LETTER_ADMIT = 1, /* gate → worker: struct admit *, a client that has logged in */
	LETTER_RUN,       /* worker → worker: struct run_letter, packets for a key that it owns */
	LETTER_FORWARD,   /* worker → worker: struct run_letter, packets for a link that it has */
	LETTER_WATCH_GONE, /* worker → worker: struct key_letter, tell me when that key goes */
	LETTER_GONE,       /* worker → worker: struct key_letter, it has gone */
	LETTER_NOT_HERE,   /* worker → worker: struct not_here_letter */
	LETTER_REPORTS,    /* worker → worker: struct flow_report[], for flows of the reader */
	LETTER_LINK,       /* worker → worker: struct link_letter, a mesh link has come or gone */
	LETTER_PRESENT,    /* worker → worker: struct present_letter, who is at another node */
	LETTER_WATCH,      /* worker → worker: struct watch_letter, a mesh peer wants to know */
	LETTER_UNWATCH,    /* the same: it has gone */
	LETTER_PRESENCE,   /* worker → worker: struct presence_letter, who is here */
	LETTER_WATCH_ACK,  /* worker → worker: struct watch_letter, it was sent */
	LETTER_CLOSE_PEER, /* worker → worker: struct key_letter, a mesh peer wants it closed */
	LETTER_ASK_FLOWS,  /* gate → worker: empty */
	LETTER_FLOWS,      /* worker → gate: struct flow_part * */
	LETTER_ASK_CLIENTS, /* gate → worker: empty */
	LETTER_CLIENTS,     /* worker → gate: struct client_part * */
	LETTER_CTX,         /* main → gate: SSL_CTX *, new certificates */
	LETTER_LINK_ENDED, /* worker → gate: struct link_ended_letter, a mesh link's connection */
	LETTER_LOG,        /* anyone → main: a line */
};

/* A connection, across threads and time. */
struct conn_ref {
	uint32_t slot;
	uint32_t gen;
};

/* A client at the moment when its login is accepted; the worker makes a connection of it. */
struct admit {
	int fd;               /* non-blocking, in no epoll */
	struct tls *tls;      /* NULL on plain TCP */
	struct websocket *ws; /* NULL without */
	struct client_info info;
	bool mesh_peer;      /* it knows the mesh key; not set for links */
	bool is_link;        /* the connection of a mesh link that we dialled: info.key is the other
				server's, and there is no ServerInfo to send */
	uint8_t link, epoch; /* which one */
	bool not_ideal;
	uint64_t number;                   /* counts logins of this process */
	struct in6_addr addr;              /* IPv4 as mapped */
	uint16_t port;                     /* host order */
	uint32_t greeting_len;             /* of ServerKey; 0: it has been sent */
	uint8_t greeting[LOGIN_FRAME_MAX]; /* whole frame */
	uint32_t server_info_len;
	uint8_t server_info[LOGIN_FRAME_MAX]; /* whole frame, behind it, before all else */
	uint32_t early_len;
	uint8_t early[]; /* stream bytes that came behind ClientInfo */
};

/* Followed by whole frames of one source for one destination: RecvPacket; in LETTER_FORWARD
 * ForwardPacket. */
struct run_letter {
	struct key dst;
	uint64_t dst_hash;
	uint64_t src_hash;
	struct flow_ref flow; /* in the table of flow_worker */
	struct conn_ref from; /* the sending connection, on the writer; not in LETTER_FORWARD */
	uint32_t packets;
	uint8_t flow_worker;
	bool disco;
	bool by_mesh;        /* a mesh peer forwarded them: they go no further than here */
	uint8_t link, epoch; /* LETTER_FORWARD: which link's connection */
	uint8_t frames[];
};

struct key_letter {
	struct key key;
	uint64_t hash;
	bool by_mesh; /* LETTER_WATCH_GONE: heard from it through the mesh, so it need not be known
		       */
};

struct not_here_letter {
	struct conn_ref to;
	struct key key;
	uint32_t packets; /* disco packets that found nobody */
};

/* What became of packets of one flow, added up over a turn. */
#define REPORT_LINK DROP_REASON_COUNT
#define REPORT_WAITED (REPORT_LINK + MESH_LINKS_MAX)
#define REPORT_KINDS (REPORT_WAITED + DELAY_BUCKETS)
struct flow_report {
	struct flow_ref flow;
	uint32_t what; /* enum drop_reason, or REPORT_LINK + the link that they went to, or
			  REPORT_WAITED + the bucket of their delay */
	uint32_t packets;
	uint64_t bytes; /* of those that waited: ms, added up */
};

/* The connection of a mesh link has ended. */
struct link_ended_letter {
	uint8_t link;
	uint8_t epoch;
	enum close_reason why;
};

struct client_row {
	struct key key;
	uint64_t number; /* 0 for a key that is remembered or reached by the mesh, not connected */
	struct in6_addr addr;
	uint16_t port;
	bool active, home, mesh_peer, prober, not_ideal, tls, websocket, watcher;
	char app_name[APP_NAME_MAX + 1];
	uint32_t flows;
	uint64_t other_flows, other_packets, other_bytes; /* no longer in the table */
	uint64_t since_ms;                                /* monotonic */
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;
	uint32_t queue_bytes;                /* waiting now */
	uint32_t queue_ms;                   /* how long the one has waited that waits longest */
	struct delays delays;                /* of the packets sent to it */
	uint64_t dropped[DROP_REASON_COUNT]; /* packets for it, in its queue */
	struct path_view path;
	uint16_t worker; /* that owns the key */
	/* of the key */
	uint32_t forwarders; /* mesh links that reach it */
	struct key via;      /* server of the one that is used; zero without */
	/* of the key, over all its connections ever seen */
	uint64_t node_logins;
	uint64_t node_rx_packets, node_rx_bytes, node_tx_packets, node_tx_bytes;
};

struct client_part {
	int worker;
	uint32_t next; /* the worker's place */
	uint32_t n, cap;
	struct client_row row[];
};

/* Frees what an unread letter hands over. */
void relay_letter_free(const struct letter *l);

/* Who writes, for letters_log. */
struct letters_post {
	struct mail *mail;
	int self;
};
/* A log sink (log_set_sink, with a struct letters_post): mails the line to main. Main may be behind
 * by a ring of lines; then it is lost. */
void letters_log(void *post, const char *line, size_t len);
/* What a watch on a thread's own bell does: nothing, it is only to be woken. Watch for edges. */
void letters_bell(struct watch *watch, uint32_t events);

#endif
