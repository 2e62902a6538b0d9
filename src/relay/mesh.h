/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mesh.h: the other nodes of this region, as all threads see them.
 *
 * Each entry of -mesh-with is a link: the gate dials it, logs in with the server's own key, and
 * hands the connection to the worker that owns the remote server's key (LETTER_ADMIT with `link`
 * set). When it ends there, the worker tells the gate (LETTER_LINK_ENDED), which dials again.
 *
 * Everything has one writer: main before the other threads start, then what is marked. Others read
 * numbers with tally_read. A link's epoch tells apart its successive connections.
 */
#ifndef SLUICE_RELAY_MESH_H
#define SLUICE_RELAY_MESH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/key.h"
#include "io/addr.h"
#include "wire/login.h"

/* Entries of -mesh-with. */
#define MESH_LINKS_MAX 32
#define MESH_LINK_NONE 0xff
#define MESH_PIN_LEN 32
/* Port of an entry that names none. */
#define MESH_PORT 443
/* A host with brackets and port, with its NUL. */
#define MESH_TARGET_LEN (ADDR_HOST_LEN + 8)
/* An end or an error as /debug/mesh shows it, with its NUL. */
#define MESH_ERROR_LEN 200

/* What a link is doing; the gate's to change. */
#define MESH_STATES(X)                     \
	X(MESH_WAITING, "waiting to dial") \
	X(MESH_RESOLVING, "resolving")     \
	X(MESH_CONNECTING, "connecting")   \
	X(MESH_HANDSHAKE, "TLS handshake") \
	X(MESH_LOGIN, "logging in")        \
	X(MESH_UP, "up")                   \
	X(MESH_SELF, "this very server")

enum mesh_state {
#define X(id, text) id,
	MESH_STATES(X)
#undef X
	    MESH_STATE_COUNT
};

extern const char *const mesh_state_text[MESH_STATE_COUNT];

/* What its connections have carried; the worker's that has the link. */
struct mesh_traffic {
	uint64_t tx_packets, tx_bytes; /* forwarded to that node */
	uint64_t rx_packets, rx_bytes; /* forwarded by it to us, on its own connections */
	uint64_t rtt_us;               /* of the last ping; 0: none yet */
};

struct mesh_link {
	/* from the options */
	char *host; /* name or IP address without brackets: SNI, certificate, Host field */
	char *dial; /* name or IP address that is dialled for it; equal to host if none was given */
	uint16_t port; /* MESH_PORT unless given */
	bool has_pin;
	uint8_t pin[MESH_PIN_LEN]; /* SHA-256 of the only certificate that will do */

	/* the gate's */
	enum mesh_state state;
	uint64_t since_ms;          /* of the state, monotonic; of MESH_UP: since when it is up */
	uint64_t dials, logins;     /* attempts, and those that got through */
	char error[MESH_ERROR_LEN]; /* why the last attempt or connection ended; "" never */
	uint64_t error_wall_ms;
	char address[64];  /* that was dialled last, with its port; "" none yet */
	struct key server; /* zero until it has answered once */
	uint8_t epoch;     /* of the last connection that was handed over */

	_Alignas(64) struct mesh_traffic traffic;
};

struct mesh {
	bool has_key;
	uint8_t key[MESH_KEY_LEN];
	int n; /* links */
	struct mesh_link link[MESH_LINKS_MAX];
	/* How many keys each link reaches, as each worker knows it: [worker][link]. */
	uint64_t (*peers)[MESH_LINKS_MAX];
};

/* "name:port" or "[ip]:port"; without the port if that is the usual one (0: always with it). */
void mesh_target(const char *host, uint16_t port, uint16_t usual, char out[MESH_TARGET_LEN]);

#endif
